"""Pixels survive the picture codec, and only pictures of the promised kind ever reach a decoder."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from audio_avif.config import EncoderConfig
from audio_avif.errors import TileError
from audio_avif.still import avif as images
from audio_avif.still.avif import decode_still, encode_still, encode_with
from audio_avif.still.boxes import inspect_still
from audio_avif.still.template import StillTemplate
from support.stills import FAST, obu, real_still, saved, sequence_header, speech_tiles, still_of

FRAME = obu(6, b"\x10\x20\x30")
RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 8, 3), np.uint8))


@pytest.mark.parametrize("frames", [2, 3, 8, 33, 64])
def test_stills_are_monochrome_and_open_at_their_size(frames: int) -> None:
    pixels = speech_tiles(frames)[1]
    still = encode_still(pixels, EncoderConfig())
    layout = inspect_still(still)
    assert (layout.width, layout.height, layout.bit_depth, layout.monochrome) == (frames, 80, 8, True)
    decoded = decode_still(still, frames, 80)
    assert decoded.shape == (80, frames)
    assert decoded.dtype == np.uint8
    with Image.open(io.BytesIO(still)) as image:  # as any viewer opens it
        np.testing.assert_array_equal(np.asarray(image.convert("L")), decoded)


def test_quality_100_is_nearly_exact_and_less_is_smaller_and_worse() -> None:
    pixels = speech_tiles(8)[3]
    sizes, errors = [], []
    for quality in (20, 60, 100):
        still = encode_still(pixels, EncoderConfig(quality))
        sizes.append(len(still))
        errors.append(np.abs(decode_still(still, 8, 80).astype(int) - pixels).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1
    assert errors[1] < 10


def rates_and_errors(encode: Callable[[Any, EncoderConfig], bytes], tile_frames: int) -> np.ndarray:
    """The logarithm of the bytes that tiles take beyond their container, and their mean square error, per quality."""
    tiles = speech_tiles(tile_frames, 4.0)[:-4][:30]  # without noise and flat tiles
    points = []
    for quality in range(25, 90, 10):
        stills = [encode(pixels, EncoderConfig(quality)) for pixels in tiles]
        size = sum(len(still) - inspect_still(still).frame_body_at for still in stills)
        decoded = [decode_still(still, tile_frames, 80).astype(float) for still in stills]
        points.append((np.log(size), np.mean(np.square(np.array(decoded) - tiles))))
    return np.array(points)


@pytest.mark.parametrize(("tile_frames", "saved"), [(2, 0.05), (8, 0.1), (64, 0.05)])
def test_the_options_save_bits_at_equal_error(tile_frames: int, saved: float) -> None:
    ours = rates_and_errors(encode_still, tile_frames)
    theirs = rates_and_errors(lambda pixels, config: encode_with(pixels, config, {}), tile_frames)
    common = (ours[:, 1] <= theirs[0, 1]) & (ours[:, 1] >= theirs[-1, 1])
    assert common.sum() >= 4
    needed = np.interp(-ours[common, 1], -theirs[:, 1], theirs[:, 0])
    assert np.exp(np.mean(ours[common, 0] - needed)) < 1 - saved


@pytest.fixture
def unknown_options(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    options = {**images.AOM_OPTIONS, "no-such-option": "1", "sb-size": "no-such-size"}
    monkeypatch.setattr(images, "AOM_OPTIONS", options)
    images._accepted_options.cache_clear()
    yield
    images._accepted_options.cache_clear()


def test_an_option_that_libavif_refuses_is_left_out_with_one_warning(
    unknown_options: None, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = speech_tiles(8)[3]
    known = {name: value for name, value in images.AOM_OPTIONS.items() if name not in ("no-such-option", "sb-size")}
    with pytest.raises(ValueError, match="option"):
        encode_with(pixels, FAST, images.AOM_OPTIONS)
    for _ in range(3):
        assert encode_still(pixels, FAST) == encode_with(pixels, FAST, known)
    told = [record.getMessage() for record in caplog.records]
    assert [text.split(";")[0] for text in told] == [
        "the installed libavif rejects no-such-option=1",
        "the installed libavif rejects sb-size=no-such-size",
    ]


def test_the_full_range_of_values_survives() -> None:
    for value in (0, 1, 128, 254, 255):
        pixels = np.full((80, 8), value, np.uint8)
        assert np.abs(decode_still(encode_still(pixels, FAST), 8, 80).astype(int) - value).max() <= 1


def test_a_rebuilt_still_decodes_like_the_original() -> None:
    template = StillTemplate.of(encode_still(np.zeros((80, 8), np.uint8), FAST))
    still = real_still()
    frame_body = template.strip(still)
    assert frame_body is not None
    np.testing.assert_array_equal(decode_still(template.rebuild(frame_body), 8, 80), decode_still(still, 8, 80))


@pytest.mark.parametrize(
    ("still", "complaint"),
    [
        (real_still(4), "is 4x80 monochrome at 8 bit, not 8x80"),
        (saved(RGB), "is 8x80 colour at 8 bit"),
        (saved(RGB.convert("L"), subsampling="4:2:0"), "is 8x80 colour"),
        (still_of(obu(1, sequence_header(8, 80, high_bit_depth=True)) + FRAME), "at 10 bit"),
        (still_of(obu(1, sequence_header(65_536, 65_536)) + FRAME, 65_536, 65_536), "is 65536x65536"),
        (still_of(obu(1, sequence_header(65_536, 65_536)) + FRAME), "declares"),
        (saved(RGB, "JPEG"), "not an AVIF still|does not fit"),
        (b"", "not an AVIF still"),
    ],
    ids=["width", "RGB", "4:2:0", "10 bit", "huge", "huge inside", "JPEG", "empty"],
)
def test_other_pictures_are_refused_before_any_decoder_runs(
    still: bytes, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def must_not_run(*args: Any, **options: Any) -> None:
        raise AssertionError("a decoder met an unchecked picture")

    monkeypatch.setattr(Image, "open", must_not_run)
    with pytest.raises(TileError, match=complaint):
        decode_still(still, 8, 80)


def test_damage_in_the_frame_is_a_tile_error() -> None:
    template = StillTemplate.of(real_still())
    with pytest.raises(TileError, match="cannot be decoded"):
        decode_still(template.rebuild(b"\xff" * 40), 8, 80)


def test_a_decoder_that_disagrees_with_the_header_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Image.fromarray(np.zeros((9, 7), np.uint8))
    monkeypatch.setattr(Image, "open", lambda *args, **options: other)
    with pytest.raises(TileError, match="decoded to 7x9 pixels, not 8x80"):
        decode_still(real_still(), 8, 80)


def shape_or_refused(data: bytes) -> tuple[int, ...] | None:
    """Anything but pixels or a TileError fails the test."""
    try:
        return decode_still(data, 8, 80).shape
    except TileError:
        return None


def test_single_byte_mutations_decode_to_the_promised_shape_or_are_refused() -> None:
    random = np.random.default_rng(7)
    still = real_still()
    outcomes = set()
    for _ in range(3000):
        mutated = bytearray(still)
        mutated[random.integers(len(still))] ^= random.integers(1, 256)
        outcomes.add(shape_or_refused(bytes(mutated)))
    assert outcomes == {None, (80, 8)}


def test_random_frames_decode_to_the_promised_shape_or_are_refused() -> None:
    random = np.random.default_rng(8)
    template = StillTemplate.of(real_still())
    real_body = template.strip(real_still())
    assert real_body is not None
    outcomes = set()
    for _ in range(1000):
        head = real_body[: random.integers(len(real_body))]
        outcomes.add(shape_or_refused(template.rebuild(head + random.bytes(int(random.integers(1, 80))))))
    assert outcomes == {None, (80, 8)}


def test_every_truncated_frame_decodes_to_the_promised_shape_or_is_refused() -> None:
    template = StillTemplate.of(real_still())
    body = template.strip(real_still())
    assert body is not None
    assert {shape_or_refused(template.rebuild(body[:length])) for length in range(len(body))} <= {None, (80, 8)}
