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

NOTE = "Delay p50 / p95 / p99 in ms; underruns; those after the first 10 s; tiles lost."
"""What the rows hold."""

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
        return f"{self.tile_frames} frames, {self.latency}"


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
            rows.append(_row(f"{server.name}, {setting}", result, setting.target_ms, result["underruns"]))
    setting = SETTINGS[1]
    result = _measure(setting, _LONG_S)
    what = f"{PulseAudio.name}, {setting}, {_LONG_S // 60} min"
    rows.append(_row(what, result, setting.target_ms, result["underruns"]))
    drift_ms = result["drift_ms"]
    return [*rows, Row("delay at its end less at its start, ms", f"{drift_ms:+.1f}", "within 8", abs(drift_ms) <= 8)]


def bench_busy(seconds: int) -> list[Row]:
    """Measure each setting with all cores kept busy by other programs, beside a quiet run of the same minute."""
    if (reason := VirtualSoundCard.missing()) is not None:
        return [Row(reason, "")]
    manners: list[tuple[str, list[str], float]] = [("real-time", [], 15.0)]
    if os.geteuid() == 0 and shutil.which(_WITHOUT_REAL_TIME[0]):
        manners.append(("without real-time", _WITHOUT_REAL_TIME, 30.0))
    rows = []
    for setting in SETTINGS:
        quiet = _measure(setting, seconds)
        quiet_ms = quiet["mouth_to_ear"]["p95_ms"]
        rows.append(Row(f"{setting}, quiet", _figures(quiet)))
        for manner, prefix, more_ms in manners:
            with _busy_cores(seconds + _START_S):
                result = _measure(setting, seconds, prefix)
            rows.append(_row(f"{setting}, {manner}", result, quiet_ms + more_ms, result["settled_underruns"]))
    return rows


def _row(what: str, result: dict[str, Any], target_ms: float, underruns: int) -> Row:
    is_met = result["mouth_to_ear"]["p95_ms"] <= target_ms and underruns == 0 and result["lost_tiles"] == 0
    return Row(what, _figures(result), f"p95 <= {target_ms:.0f}", is_met)


def _figures(result: dict[str, Any]) -> str:
    delays = " / ".join(f"{result['mouth_to_ear'][f'p{p}_ms']:.0f}" for p in (50, 95, 99))
    return f"{delays}; {result['underruns']}; {result['settled_underruns']}; {result['lost_tiles']}"


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
