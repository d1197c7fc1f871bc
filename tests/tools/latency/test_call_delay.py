"""The delay of a call is measured in both directions, between two real ends with virtual sound cards."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from audio_avif_tools.latency.call import SINKS
from audio_avif_tools.shared.sound_servers import PulseAudio
from audio_avif_tools.shared.virtual_sound_card import VirtualSoundCard
from support.timing import best_of_attempts, in_time

pytestmark = [pytest.mark.device, pytest.mark.slow]

MEASURE = """
import json
from dataclasses import asdict
from audio_avif_tools.latency.call import measure_delay
print(json.dumps(asdict(measure_delay(5, "none"))))
"""


@best_of_attempts
def test_both_directions_of_a_call_are_late_by_what_its_buffers_hold() -> None:
    if reason := VirtualSoundCard.missing():
        pytest.skip(reason)
    with VirtualSoundCard(PulseAudio(SINKS)) as card:
        done = subprocess.run([sys.executable, "-c", MEASURE], env=card.env, capture_output=True, text=True)
    in_time(done.returncode == 0, done.stderr)  # a busy machine may lose chirps
    result = json.loads(done.stdout)
    for direction in ("to_caller", "from_caller"):
        assert 100 < result[direction]["p50_ms"] <= result[direction]["p95_ms"]
        in_time(result[direction]["p50_ms"] < 400, result)
