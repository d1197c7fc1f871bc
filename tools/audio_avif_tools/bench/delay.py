"""Delay from a virtual microphone to a virtual loudspeaker: on a quiet and on a busy machine, and over ten minutes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio_avif_tools.bench.rows import Row
from audio_avif_tools.shared.programs import run_quietly
from audio_avif_tools.shared.sound_servers import PipeWire, PulseAudio, SoundServer
from audio_avif_tools.shared.virtual_sound_card import VirtualSoundCard

_LONG_S = 600
_START_S = 30  # of a run, beside the stream itself
_BURN = "import sys, time\nend_s = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end_s: pass"
_WITHOUT_REAL_TIME = ["setpriv", "--bounding-set=-sys_nice"]


@dataclass(frozen=True)
class Setting:
    """How a stream is started, and the 95th percentile of its delay that it should keep."""

    latency: str
    tile_frames: int
    target_ms: float

    def __str__(self) -> str:
        return f"{self.tile_frames}-frame tiles, --latency {self.latency}"


SETTINGS = (
    Setting("low", 2, 118),
    Setting("low", 4, 150),
    Setting("balanced", 4, 188),
    Setting("balanced", 8, 256),
)


def bench_delay(seconds: int) -> list[Row]:
    """Measure each setting on a machine that does nothing else, through each sound server; then ten minutes of one."""
    if (reason := VirtualSoundCard.missing()) is not None:
        return [Row(reason, "")]
    rows = []
    for server in (PulseAudio(), PipeWire()):
        if (reason := VirtualSoundCard.missing(server)) is not None:
            rows.append(Row(reason, ""))
            continue
        for setting in SETTINGS:
            result = _measure(setting, seconds, server=server)
            rows += [
                _delay_row(f"{server.name}, {setting}", result, setting.target_ms),
                Row(_losses_title(seconds), _losses(result), "0; 0; 0", result["underruns"] == 0),
            ]
    result = _measure(SETTINGS[1], _LONG_S)
    drift_ms = result["drift_ms"]
    what = f"{SETTINGS[1]}, {_LONG_S // 60} min: delay at the end less delay at the start, ms"
    return [
        *rows,
        Row(what, f"{drift_ms:+.1f}", "within 8", abs(drift_ms) <= 8),
        Row(_losses_title(_LONG_S), _losses(result), "0; 0; 0", result["underruns"] == 0),
    ]


def bench_busy(seconds: int) -> list[Row]:
    """Measure each setting with all cores kept busy by other programs, beside a quiet run of the same minute."""
    if (reason := VirtualSoundCard.missing()) is not None:
        return [Row(reason, "")]
    manners: list[tuple[str, list[str], float]] = [("with real-time scheduling", [], 15.0)]
    if os.geteuid() == 0 and shutil.which(_WITHOUT_REAL_TIME[0]):
        manners.append(("without real-time permission", _WITHOUT_REAL_TIME, 30.0))
    rows = []
    for setting in SETTINGS:
        quiet = _measure(setting, seconds)["mouth_to_ear"]["p95_ms"]
        for manner, prefix, more_ms in manners:
            with _busy_cores(seconds + _START_S):
                result = _measure(setting, seconds, prefix)
            what = f"all cores busy, {setting}, {manner}"
            settled = result["settled_underruns"]
            rows += [
                _delay_row(f"{what} (quiet: p95 {quiet:.0f})", result, quiet + more_ms),
                Row(_losses_title(seconds), _losses(result), "-; 0; 0", settled == 0 and result["lost_tiles"] == 0),
            ]
    return rows


def _losses_title(seconds: int) -> str:
    return f"underruns in those {seconds} s; of them after the first 10 s; tiles lost"


def _losses(result: dict[str, Any]) -> str:
    return f"{result['underruns']}; {result['settled_underruns']}; {result['lost_tiles']}"


def _delay_row(what: str, result: dict[str, Any], target_ms: float) -> Row:
    delay = result["mouth_to_ear"]
    figures = " / ".join(f"{delay[f'p{p}_ms']:.0f}" for p in (50, 95, 99))
    return Row(f"{what}: ms, p50 / p95 / p99", figures, f"p95 <= {target_ms:.0f}", delay["p95_ms"] <= target_ms)


def _measure(
    setting: Setting, seconds: int, prefix: list[str] | None = None, server: SoundServer | None = None
) -> dict[str, Any]:
    """The result of an acoustic ``audio-avif-latency``, run by the command ``prefix``, on a sound card of its own."""
    with VirtualSoundCard(server) as card, tempfile.TemporaryDirectory() as name:
        json_file = Path(name) / "latency.json"
        command = [*(prefix or []), sys.executable, "-P", "-m", "audio_avif_tools.latency.command", "--acoustic"]
        command += ["--play-device", "mouth", "--send-device", "mouth_mic"]
        command += ["--receive-device", "ear", "--record-device", "ear_mic"]
        command += ["--tile-frames", str(setting.tile_frames), "--latency", setting.latency]
        run_quietly([*command, "--seconds", str(seconds), "--json", str(json_file)], card.env)
        result: dict[str, Any] = json.loads(json_file.read_text())
        return result


@contextmanager
def _busy_cores(seconds: float) -> Iterator[None]:
    """Keep every core busy with a program of normal priority, for so long at most."""
    burners = [subprocess.Popen([sys.executable, "-c", _BURN, str(seconds)]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
