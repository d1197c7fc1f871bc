"""The frame headers that a hello tells are those of the stills that follow."""

from __future__ import annotations

import numpy as np
import pytest

from audio_avif.config import EncoderConfig, TileConfig
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import encode_still
from audio_avif.still.frame_headers import FRAME_HEADER_BYTES, make_template
from audio_avif.still.template import MAX_FRAME_HEADERS, StillTemplate
from audio_avif.still.tiles import to_pixels
from audio_avif.types import Pixels
from support.speech import speech_like

MEL = log_mel(speech_like(2.0))


def tiles(frames: int) -> list[Pixels]:
    return [to_pixels(MEL[:, at : at + frames], TileConfig(frames)) for at in range(0, 60, 20)]


@pytest.mark.parametrize("frames", [2, 16])
@pytest.mark.parametrize("quality", [0, 45, 99])
def test_speech_begins_with_one_of_them_and_is_rebuilt_byte_for_byte(frames: int, quality: int) -> None:
    template = make_template(80, frames, 6, 100)
    for pixels in tiles(frames):
        still = encode_still(pixels, EncoderConfig(quality))
        body = template.strip(still)
        assert body is not None
        header, payload = template.shorten(body)
        assert header is not None and len(payload) == len(body) - FRAME_HEADER_BYTES
        assert template.rebuild(payload, header) == still


def test_there_are_no_more_than_a_tile_can_name_and_only_those_of_the_qualities_asked_for() -> None:
    every, some = (make_template(80, 16, 6, quality).frame_headers for quality in (100, 45))
    assert len(set(every)) == len(every) <= MAX_FRAME_HEADERS
    assert set(some) < set(every)
    assert {len(header) for header in every} == {FRAME_HEADER_BYTES}


def test_a_body_that_begins_otherwise_stays_whole() -> None:
    template = StillTemplate(b"", 0, 0, (b"abcde", b"abcdf"))
    assert template.shorten(b"abcdf12") == (1, b"12")
    for body in (b"abcdg12", b"abcde", b"abc", b""):
        assert template.shorten(body) == (None, body)
    assert StillTemplate(b"", 0, 0).shorten(b"abcde12") == (None, b"abcde12")


def test_another_encoder_finds_other_ones() -> None:
    """Eight bands need one row of blocks less, and a header a bit less."""
    assert not set(make_template(8, 2, 6, 45).frame_headers) & set(make_template(80, 2, 6, 45).frame_headers)
    still = encode_still(np.zeros((8, 2), np.uint8), EncoderConfig(45))
    body = make_template(8, 2, 6, 45).strip(still)
    assert body is not None and make_template(8, 2, 6, 45).shorten(body)[0] is not None
