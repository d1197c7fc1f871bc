"""The virtual sound card carries sound from a loudspeaker to the microphone beside it, on either sound server."""

from __future__ import annotations

import subprocess
import sys

import pytest

from audio_avif_tools.shared.sound_servers import PipeWire, PulseAudio, SoundServer
from audio_avif_tools.shared.virtual_sound_card import VirtualSoundCard

pytestmark = [pytest.mark.device, pytest.mark.slow]

# PortAudio reads its environment when it starts, so that only a new process sees the card.
PLAY_AND_RECORD = """
import sys, time
import numpy as np
from audio_avif.edge.devices import Microphone, Speaker

loudest = 0.0
with Speaker(sys.argv[1]) as speaker, Microphone(sys.argv[2]) as microphone:
    microphone.start()
    deadline_s = time.monotonic() + 20
    while loudest < 0.3 and time.monotonic() < deadline_s:
        if speaker.buffered_s < 0.2:
            speaker.write((0.5 * np.sin(np.arange(1600) * 0.3)).astype(np.float32))
        samples, _ = microphone.read()
        loudest = max(loudest, float(np.abs(samples).max(initial=0.0)))
        time.sleep(0.01)
print(loudest)
"""


def loudest(card: VirtualSoundCard, speaker: str, microphone: str) -> float:
    """Play a tone of amplitude 0.5 on one device, and return the loudest sample that the other one recorded."""
    command = [sys.executable, "-c", PLAY_AND_RECORD, speaker, microphone]
    return float(subprocess.run(command, env=card.env, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("server", [PulseAudio(), PipeWire()], ids=lambda server: server.name)
def test_what_a_sink_plays_its_microphone_records(server: SoundServer) -> None:
    if reason := VirtualSoundCard.missing(server):
        pytest.skip(reason)
    with VirtualSoundCard(server) as card:
        assert loudest(card, "ear", "ear_mic") > 0.3
        card.kill()
        card.start()
        assert loudest(card, "mouth", "mouth_mic") > 0.3
