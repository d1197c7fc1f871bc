"""What several test modules share."""

from collections.abc import Iterator

import pytest
from audio_avif.tools.virtual_sound_card import VirtualSoundCard


@pytest.fixture(scope="session")
def sound_card() -> Iterator[VirtualSoundCard]:
    """A microphone and a speaker without hardware; a test is skipped, with the reason, where it can't be."""
    if reason := VirtualSoundCard.missing():
        pytest.skip(reason)
    with VirtualSoundCard() as card:
        yield card
