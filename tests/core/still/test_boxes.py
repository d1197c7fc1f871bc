"""The template gives every still back byte for byte, and ``inspect_still`` lets no other bytes pass."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from audio_avif.config import EncoderConfig
from audio_avif.errors import TileError
from audio_avif.still.avif import encode_still
from audio_avif.still.boxes import StillLayout, inspect_still
from audio_avif.still.template import StillTemplate
from support.stills import FAST, obu, real_still, saved, sequence_header, speech_tiles, still_of

TEMPORAL_DELIMITER = obu(2, b"")
HEADER = obu(1, sequence_header(8, 80))
FRAME = obu(6, b"\x10\x20\x30")
GRAY = Image.fromarray(speech_tiles(8)[3])


@pytest.mark.parametrize("frames", [2, 3, 4, 8, 16, 33, 64])
def test_template_gives_hundreds_of_real_tiles_back(frames: int) -> None:
    """Some 800 stills in all, at lossless, usual and the lowest quality."""
    for quality in (0, 30, 60, 90, 100):
        config = EncoderConfig(quality, speed=10)
        template = StillTemplate.of(encode_still(np.zeros((80, frames), np.uint8), config))
        for pixels in speech_tiles(frames)[-44:]:
            still = encode_still(pixels, config)
            frame_body = template.strip(still)
            assert frame_body is not None
            assert template.rebuild(frame_body) == still
            assert len(still) - len(frame_body) > 250


@pytest.mark.parametrize("speed", range(11))
def test_template_holds_at_every_speed(speed: int) -> None:
    config = EncoderConfig(60, speed)
    template = StillTemplate.of(encode_still(np.zeros((80, 8), np.uint8), config))
    for pixels in speech_tiles(8)[::4]:
        still = encode_still(pixels, config)
        frame_body = template.strip(still)
        assert frame_body is not None
        assert template.rebuild(frame_body) == still


def test_template_is_the_same_whatever_still_it_is_taken_from() -> None:
    templates = {StillTemplate.of(encode_still(pixels, FAST)) for pixels in speech_tiles(8)}
    assert len(templates) == 1


def test_lengths_of_one_two_and_three_bytes_are_rebuilt() -> None:
    """A frame's size is a LEB128 number: its own length changes at 128 and at 16384 bytes."""
    template = StillTemplate.of(real_still())
    for length in (1, 127, 128, 16_383, 16_384, 60_000):
        frame_body = bytes(length)
        still = template.rebuild(frame_body)
        assert inspect_still(still).frame_body_at == len(still) - length
        assert template.strip(still) == frame_body


@pytest.mark.parametrize(
    "other",
    [
        real_still(4),
        saved(GRAY, quality=60, speed=10, subsampling="4:2:0"),
        saved(GRAY, quality=60, speed=10, subsampling="4:0:0", range="limited"),
        saved(GRAY, quality=60, speed=10, subsampling="4:0:0", codec="aom", advanced={"enable-cdef": "0"}),
        still_of(TEMPORAL_DELIMITER + HEADER + FRAME),
    ],
    ids=["width", "subsampling", "range", "tools", "writer"],
)
def test_a_still_of_other_settings_does_not_fit(other: bytes) -> None:
    template = StillTemplate.of(real_still())
    assert inspect_still(other)
    assert template.strip(other) is None


def test_layout_of_a_real_still() -> None:
    still = real_still()
    layout = inspect_still(still)
    assert (layout.width, layout.height, layout.bit_depth, layout.monochrome) == (8, 80, 8, True)
    assert still[layout.frame_at] == 0x32
    assert struct.unpack_from(">I", still, layout.mdat_size_at)[0] == len(still) - layout.mdat_size_at
    assert struct.unpack_from(">I", still, layout.iloc_length_at)[0] == len(still) - layout.mdat_size_at - 8


@pytest.mark.parametrize(("width", "height"), [(2, 80), (64, 80), (8, 256), (65, 33)])
@pytest.mark.parametrize("subsampling", ["4:0:0", "4:2:0"])
def test_size_and_colour_are_read_from_the_bitstream(width: int, height: int, subsampling: str) -> None:
    image = Image.fromarray(np.zeros((height, width), np.uint8))
    layout = inspect_still(saved(image, speed=10, subsampling=subsampling))
    assert (layout.width, layout.height, layout.bit_depth) == (width, height, 8)
    assert layout.monochrome == (subsampling == "4:0:0")


def test_hand_made_stills_are_read() -> None:
    """What the refusals below start from is itself accepted."""
    layout = inspect_still(still_of(TEMPORAL_DELIMITER + HEADER + FRAME))
    assert (layout.width, layout.height, layout.bit_depth, layout.monochrome) == (8, 80, 8, True)
    deep = obu(1, sequence_header(8, 80, high_bit_depth=True))
    assert inspect_still(still_of(deep + FRAME)).bit_depth == 10
    assert not inspect_still(still_of(obu(1, sequence_header(8, 80, monochrome=False)) + FRAME)).monochrome
    huge = obu(1, sequence_header(65_536, 65_536))
    layout = inspect_still(still_of(huge + FRAME, 65_536, 65_536))
    assert (layout.width, layout.height) == (65_536, 65_536)


UNITS = TEMPORAL_DELIMITER + HEADER + FRAME
ROTATED = {"properties": b"\0\0\0\x09irot\x01"}


@pytest.mark.parametrize(
    ("units", "options", "complaint"),
    [
        (UNITS, {"items": 2}, "not hold exactly one"),
        (UNITS, {"items": 0}, "not hold exactly one"),
        (UNITS, {"item_type": b"grid"}, "not hold exactly one"),
        (UNITS, {"brand": b"avis"}, "brand"),
        (UNITS, ROTATED, "transformation"),
        (UNITS, {"size_box": b""}, "one size"),
        (UNITS, {"properties": b"\0\0\0\x14ispe" + struct.pack(">III", 0, 8, 80)}, "one size"),
        (UNITS, {"width": 9}, "declares"),
        (UNITS, {"iloc": (0, 0x4400, 1, 1, 0, 2)}, "unsupported layout"),
        (UNITS, {"iloc": (0, 0x4400, 2, 1, 0, 1)}, "unsupported layout"),
        (UNITS, {"iloc": (0, 0x8800, 1, 1, 0, 1)}, "unsupported layout"),
        (UNITS, {"extra": b"\0\0\0\x07free"}, "does not fit"),
        (HEADER + HEADER + FRAME, {}, "not hold exactly one sequence header"),
        (TEMPORAL_DELIMITER + FRAME, {}, "not hold exactly one sequence header"),
        (TEMPORAL_DELIMITER + HEADER, {}, "no frame"),
        (b"", {}, "no frame"),
        (HEADER + FRAME + FRAME, {}, "not hold exactly one sequence header"),
        (HEADER + FRAME + b"\0", {}, "not hold exactly one sequence header"),
        (HEADER + obu(5, b"metadata") + FRAME, {}, "not hold exactly one sequence header"),
        (HEADER + obu(2, b"\0") + FRAME, {}, "not hold exactly one sequence header"),
        (HEADER + b"\x30" + FRAME[2:], {}, "no size"),
        (HEADER + b"\x36\x00" + FRAME[1:], {}, "extension"),
        (HEADER + b"\x32\x09\x00", {}, "does not fit"),
        (HEADER + b"\x32\xff\xff\xff\xff\x0f", {}, "too long"),
        (HEADER + b"\x32\x80", {}, "truncated"),
        (obu(1, b"\x00") + FRAME, {}, "not coded as a still"),
        (obu(1, sequence_header(8, 80)[:4]) + FRAME, {}, "truncated"),
        (obu(1, b"") + FRAME, {}, "truncated"),
    ],
)
def test_anything_but_one_plain_picture_is_refused(units: bytes, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TileError, match=complaint):
        inspect_still(still_of(units, **options))


@pytest.mark.parametrize("change", [-1, 1, -30, 2**31])
@pytest.mark.parametrize("field", ["offset", "length"])
def test_an_item_that_is_not_the_whole_mdat_is_refused(field: str, change: int) -> None:
    """A decoder follows these fields; what was checked must be what it reads."""
    still = bytearray(real_still())
    at = inspect_still(real_still()).iloc_length_at - (4 if field == "offset" else 0)
    (value,) = struct.unpack_from(">I", still, at)
    struct.pack_into(">I", still, at, value + change)
    with pytest.raises(TileError, match="does not fill"):
        inspect_still(bytes(still))


RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 8, 3), np.uint8))
WITH_ALPHA = Image.merge("RGBA", [*RGB.split(), GRAY])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        saved(GRAY, "JPEG"),
        saved(GRAY, "PNG"),
        saved(WITH_ALPHA),
        saved(GRAY, save_all=True, append_images=[GRAY, GRAY]),
        real_still() + b"\0",
        real_still() + real_still(),
    ],
    ids=["empty", "one byte", "JPEG", "PNG", "alpha", "sequence", "a byte more", "twice"],
)
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(TileError):
        inspect_still(data)


def test_every_truncation_is_refused() -> None:
    still = real_still()
    for length in range(len(still)):
        with pytest.raises(TileError):
            inspect_still(still[:length])


def inspected_or_refused(data: bytes) -> StillLayout | None:
    """Anything but a layout or a TileError fails the test."""
    try:
        return inspect_still(data)
    except TileError:
        return None


@given(data=st.binary(max_size=400))
def test_any_bytes_are_a_still_or_a_tile_error(data: bytes) -> None:
    assert inspected_or_refused(data) is None


@given(edits=st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)), min_size=1, max_size=5))
def test_any_edit_gives_a_layout_within_the_file_or_a_tile_error(edits: list[tuple[int, bytes]]) -> None:
    still = bytearray(real_still())
    for at, patch in edits:
        at %= len(still)
        still[at : at + len(patch)] = patch
    layout = inspected_or_refused(bytes(still))
    if layout is not None:
        assert 0 < layout.iloc_length_at < layout.mdat_size_at < layout.frame_at < layout.frame_body_at <= len(still)


@given(units=st.binary(max_size=60))
def test_any_bitstream_is_a_still_or_a_tile_error(units: bytes) -> None:
    inspected_or_refused(still_of(units))
    inspected_or_refused(still_of(HEADER + units))
