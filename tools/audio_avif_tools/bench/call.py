"""The rows on calls: delay in both directions, and the processor time of an end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from audio_avif.errors import AudioAvifError
from audio_avif_tools.bench.rows import Row
from audio_avif_tools.latency.call import SINKS
from audio_avif_tools.shared.sound_servers import PulseAudio
from audio_avif_tools.shared.virtual_sound_card import VirtualSoundCard

_MORE_MS = 10.0
_MAX_SHARE = 0.15


def bench_call(seconds: int) -> list[Row]:
    """Measure a call between two ends with virtual sound cards, beside one direction in the same run."""
    if (reason := VirtualSoundCard.missing()) is not None:
        return [Row(reason, "")]
    command = [sys.executable, "-P", "-m", "audio_avif_tools.latency.call", "--seconds", str(seconds)]
    with VirtualSoundCard(PulseAudio(SINKS)) as card:
        done = subprocess.run(command, capture_output=True, text=True, env=card.env, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise AudioAvifError(f"the call failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return list(call_rows(json.loads(done.stdout)))


def call_rows(result: dict[str, Any]) -> Iterator[Row]:
    """The rows of what ``audio_avif_tools.latency.call`` measured."""
    one = result["one_direction"]
    yield Row("one direction, `--latency low`, 4-frame tiles, ms, p50 / p95", _delay(one))
    for processing, call in result["calls"].items():
        ways = call["to_caller"], call["from_caller"]
        is_met = all(way[key] <= one[key] + _MORE_MS for way in ways for key in ("p50_ms", "p95_ms"))
        target = f"<= one direction + {_MORE_MS:.0f}"
        yield Row(f"call, `--process {processing}`, both directions", "; ".join(map(_delay, ways)), target, is_met)
    faults = [f"{call['underruns']}; {call['lost_tiles']}" for call in result["calls"].values()]
    yield Row("underruns; tiles lost in these calls", ", ".join(faults))
    caller, host = result["shares"]["caller"], result["shares"]["host"]
    what = "processor time of the end that calls / that listens, share of a core"
    yield Row(what, f"{caller:.3f} / {host:.3f}", f"<= {_MAX_SHARE} (calls)", caller <= _MAX_SHARE)


def _delay(delay: dict[str, float]) -> str:
    return f"{delay['p50_ms']:.0f} / {delay['p95_ms']:.0f}"
