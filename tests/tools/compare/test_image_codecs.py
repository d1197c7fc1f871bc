"""The image codecs that are compared: they keep pictures, better at higher quality, and files are counted rightly."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from audio_avif.errors import AudioAvifError, TileError
from audio_avif.still.template import StillTemplate
from audio_avif.types import AnyPixels
from audio_avif_tools.compare import image_codecs as still_codecs
from audio_avif_tools.compare.image_codecs import CODECS, StillCodec, find_codec, jxl_distance, names
from support.stills import speech_tiles

CODEC_NAMES = names()


def picture(codec: StillCodec, seed: int = 0, width: int = 64) -> AnyPixels:
    """A picture of speech at the codec's depth."""
    tiles = speech_tiles(8)
    pixels = np.concatenate([tiles[(seed + at) % 12] for at in range(width // 8)], axis=1)
    if codec.depth == 8:
        return pixels
    return np.rint(pixels * ((2**codec.depth - 1) / 255)).astype(np.uint16)


def error(codec: StillCodec, quality: int) -> float:
    """Root mean square error of a picture at that quality, in steps of 8 bit."""
    pixels = picture(codec)
    decoded = codec.decode(codec.encode(pixels, quality))
    assert decoded.shape == pixels.shape and decoded.dtype == pixels.dtype
    off = (decoded.astype(np.float64) - pixels) * (255 / (2**codec.depth - 1))
    return float(np.sqrt(np.mean(off**2)))


@pytest.mark.parametrize("name", CODEC_NAMES)
def test_higher_qualities_are_larger_and_nearer(name: str) -> None:
    codec = find_codec(name)
    pixels = picture(codec)
    ladder = (codec.qualities[0], codec.qualities[len(codec.qualities) // 2], codec.qualities[-1])
    sizes = [len(codec.encode(pixels, quality)) for quality in ladder]
    errors = [error(codec, quality) for quality in ladder]
    assert sizes == sorted(set(sizes))
    assert errors == sorted(set(errors), reverse=True)
    assert errors[-1] < 2.5


@pytest.mark.parametrize("name", CODEC_NAMES)
def test_ladders_lie_within_the_codecs_qualities(name: str) -> None:
    codec = find_codec(name)
    assert list(codec.qualities) == sorted(set(codec.qualities))
    assert codec.minimum <= codec.qualities[0] and codec.qualities[-1] <= codec.maximum
    for quality in (codec.minimum - 1, codec.maximum + 1):
        with pytest.raises(ValueError, match="has qualities"):
            codec.encode(picture(codec), quality)


def test_a_png_of_all_levels_is_lossless_and_one_of_two_has_two() -> None:
    png = CODECS["png"]
    pixels = picture(png)
    assert (png.decode(png.encode(pixels, 256)) == pixels).all()
    assert set(np.unique(png.decode(png.encode(pixels, 2)))) == {0, 255}


@pytest.mark.parametrize("name", CODEC_NAMES)
@pytest.mark.parametrize("width", [8, 64])
def test_what_is_taken_away_is_the_same_for_all_pictures(name: str, width: int) -> None:
    codec = find_codec(name)
    quality = codec.qualities[len(codec.qualities) // 2]
    first, second, third = (codec.encode(picture(codec, seed, width), quality) for seed in (0, 3, 5))
    payloads = [codec.payload_bytes(still, first) for still in (second, third)]
    taken = [len(still) - payload for still, payload in zip((second, third), payloads, strict=True)]
    assert min(payloads) > 0
    slack = {"avif": 1, "webp": 1, "jxl": 4, "heic": 4, "jpeg": 4096}.get(
        codec.name, 0
    )  # of a length, of padding; starts
    assert min(taken) > 0 and abs(taken[0] - taken[1]) <= slack


def test_the_payload_of_an_avif_is_what_the_stream_sends() -> None:
    codec = CODECS["avif"]
    first, second = (codec.encode(picture(codec, seed, 8), 45) for seed in (0, 3))
    body = StillTemplate.of(first).strip(second)
    assert body is not None and codec.payload_bytes(second, first) == len(body)
    wider = codec.encode(picture(codec, 0, 16), 45)  # another sequence header: the template does not fit
    assert codec.payload_bytes(wider, first) == len(wider)


def test_a_jpeg_counts_only_the_huffman_tables_that_are_its_own() -> None:
    codec = CODECS["jpeg"]
    small, large = (codec.encode(picture(codec, 0, width), 50) for width in (8, 640))
    standard = still_codecs._standard_tables()
    assert all(table in small for table in standard), "a tile does not pay for tables of its own"
    assert not any(table in large for table in standard)
    assert codec.payload_bytes(small, small) < len(small) - 216
    assert codec.payload_bytes(large, large) > len(large) - 200


@pytest.mark.parametrize("name", CODEC_NAMES)
def test_damaged_files_are_tile_errors(name: str) -> None:
    codec = find_codec(name)
    still = codec.encode(picture(codec), codec.qualities[3])
    for data in (b"", b"nonsense", still[:10], still[: len(still) // 3]):
        with pytest.raises(TileError):
            codec.decode(data)
    if codec.name != "jxl":  # of which nothing is parsed
        with pytest.raises(TileError):
            codec.payload_bytes(still[:14], still)


@pytest.mark.parametrize("name", CODEC_NAMES)
def test_pixels_of_another_kind_are_refused(name: str) -> None:
    codec = find_codec(name)
    pixels = picture(codec)
    for wrong in (pixels[..., None].repeat(3, axis=2), pixels.astype(np.float32), pixels.astype(np.int64)):
        with pytest.raises(ValueError, match="takes gray pixels"):
            codec.encode(wrong, codec.qualities[0])


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    reason = "HEIC needs pillow-heif; install with: pip install 'audio-avif[formats]'"
    heic = CODECS["heic"]
    assert heic.missing() == reason
    with pytest.raises(AudioAvifError, match="pillow-heif"):
        heic.encode(picture(heic), 50)
    with pytest.raises(AudioAvifError, match="pillow-heif"):
        heic.decode(b"")
    assert find_codec("avif-10").missing() == reason.replace("HEIC", "AVIF at 10 bit").replace(
        "pillow-heif", "imagecodecs"
    )
    assert [CODECS[name].missing() for name in ("avif", "webp", "jpeg", "png")] == [None] * 4


@pytest.mark.parametrize("name", ["", "avi", "avif-9", "avif-8", "webp-10", "avif-10-10", "AVIF"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown format .*choose from avif, avif-10"):
        find_codec(name)


def test_the_distances_are_libjxls() -> None:
    assert [jxl_distance(quality) for quality in (0, 30, 90, 99)] == pytest.approx([25, 6.4, 1.0, 0.19])
    distances = [jxl_distance(quality) for quality in range(100)]
    assert distances == sorted(distances, reverse=True)
