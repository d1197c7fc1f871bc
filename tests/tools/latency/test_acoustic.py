"""The stages that the programs tell add up to what a microphone at the ear hears."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path

import pytest

from audio_avif_tools.shared.virtual_sound_card import VirtualSoundCard
from support.timing import best_of_attempts, in_time

pytestmark = [pytest.mark.device, pytest.mark.slow]

COMMAND = Path(sysconfig.get_path("scripts")) / "audio-avif-latency"
HERE = ["--play-device", "mouth", "--send-device", "mouth_mic"]
THERE = ["--receive-device", "ear", "--record-device", "ear_mic"]
AGREEMENT_MS = 8


@best_of_attempts
def test_what_is_heard_agrees_with_the_sum_of_the_stages(sound_card: VirtualSoundCard, tmp_path: Path) -> None:
    target = tmp_path / "delay.json"
    measured = subprocess.run(
        [COMMAND, "--acoustic", *HERE, *THERE, "--seconds", "8", "--json", target],
        env=sound_card.env,
        capture_output=True,
        text=True,
    )
    in_time(measured.returncode == 0, measured.stderr)  # a busy machine may lose chirps
    result = json.loads(target.read_text())
    heard_ms = result["mouth_to_ear"]["p50_ms"]
    assert f"heard after {heard_ms:.1f} ms; the stages add up to" in measured.stderr
    assert "input device" in measured.stderr and "output device" in measured.stderr
    in_time(abs(heard_ms - result["stages_sum_ms"]) < AGREEMENT_MS, result)
