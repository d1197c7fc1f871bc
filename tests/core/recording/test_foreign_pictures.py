"""Pictures that other programs have written or saved again are heard, or refused in a sentence."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import audio_avif
from audio_avif.errors import FileError
from audio_avif.recording.codec import decode, encode
from audio_avif.recording.layout import PictureInfo, from_pixels
from audio_avif.recording.picture_reader import PictureReader
from audio_avif_tools.shared.signals import demo_clip
from support.pictures import EXACT, RATE_HZ, STEP, TELLER, described, description, original, read, voice
from support.stills import saved
from support.turned import ORIENTATIONS, turned

SAVED_AGAIN: dict[str, tuple[str, str, dict[str, Any], float]] = {
    "AVIF in colour": ("RGB", "AVIF", {"quality": 100}, 2 * STEP),
    "AVIF with alpha": ("RGBA", "AVIF", {"quality": 100, "subsampling": "4:4:4"}, 2 * STEP),
    "AVIF in gray": ("L", "AVIF", {"quality": 100, "subsampling": "4:0:0"}, 0),
    "PNG": ("L", "PNG", {}, 0),
    "PNG in colour": ("RGB", "PNG", {}, 0),
    "PNG with alpha": ("RGBA", "PNG", {}, 0),
    "PNG with a palette": ("P", "PNG", {}, 0),
    "PNG of 16 bits": ("I;16", "PNG", {}, 0),
    "WebP": ("RGB", "WEBP", {"lossless": True}, 0),
    "JPEG": ("L", "JPEG", {"quality": 100}, 2 * STEP),
    "TIFF": ("L", "TIFF", {}, 0),
    "TIFF in colour": ("RGB", "TIFF", {}, 0),
    "TIFF of 16 bits": ("I;16", "TIFF", {}, 0),
}
"""Pillow's mode and format, options, and how far the log-mel may then differ."""


def saved_again(picture: bytes, mode: str, kind: str, **options: Any) -> bytes:
    """The picture as an image program saves it that keeps the Exif data."""
    with Image.open(io.BytesIO(picture)) as image:
        exif, gray = image.getexif(), image.convert("L")
    if mode == "I;16":
        return saved(Image.fromarray(np.asarray(gray).astype(np.uint16) * 257), kind, exif=exif, **options)
    return saved(gray.convert(mode), kind, exif=exif, **options)


@pytest.mark.parametrize("name", SAVED_AGAIN)
@pytest.mark.parametrize(("seconds", "channels"), [(1.0, 1), (11.0, 2), (61.0, 1)])
def test_a_picture_that_was_saved_again_is_heard(name: str, seconds: float, channels: int) -> None:
    """One cell; a row of two whose channels are mid and side; two rows."""
    mode, kind, options, tolerance = SAVED_AGAIN[name]
    picture = original(seconds, channels)
    again = saved_again(picture, mode, kind, **options)
    assert again != picture
    reader = PictureReader(io.BytesIO(again))
    assert reader.info == picture.info and ("1" in picture.info.side_cells) == (channels == 2)
    np.testing.assert_allclose(read(again), read(picture), atol=tolerance * 1.5 + 1e-6)
    audio, _ = decode(again, TELLER)
    assert audio.shape[0] == seconds * RATE_HZ


def test_a_picture_of_colours_that_was_saved_again_is_heard() -> None:
    picture = encode(voice(11.0, 2), RATE_HZ, replace(EXACT, layout="planes"))
    with Image.open(io.BytesIO(picture)) as image:
        again = saved(image, "PNG", exif=image.getexif())
    np.testing.assert_allclose(read(again), read(picture), atol=1e-6)


def test_a_gray_picture_that_was_given_colours_is_refused() -> None:
    with Image.open(io.BytesIO(original(1.0, 1))) as image:
        shades, exif = np.asarray(image.convert("L")), image.getexif()
    coloured = np.stack([shades, shades // 2, 255 - shades], axis=2)
    with pytest.raises(FileError, match="is in colour, but its metadata describe a gray one"):
        decode(saved(Image.fromarray(coloured), "PNG", exif=exif), TELLER)
    inked = np.repeat(shades[..., None], 3, axis=2)
    inked[:4, :, 0] = 255
    assert decode(saved(Image.fromarray(inked), "PNG", exif=exif), TELLER)[0].size == RATE_HZ


@pytest.mark.parametrize("layout", ["stacked", "planes"])
def test_a_deep_picture_that_was_saved_again_with_8_bits_is_heard(layout: str) -> None:
    text = description(depth=10, layout=layout)
    picture = described(text, Image.new("L", (30, 80), 51))
    np.testing.assert_allclose(read(picture), -5.5 + 6.5 / 5, atol=1e-6)


def test_pictures_of_the_first_functions_are_heard_with_their_range() -> None:
    clip = demo_clip()[: 3 * RATE_HZ]
    frames = audio_avif.wav_to_logmel(clip)
    image = audio_avif.logmel_to_image(frames)
    info = PictureInfo(log10_min=-11.0, log10_max=4.0)
    for kind, options in (("AVIF", {"quality": 100, "subsampling": "4:0:0"}), ("AVIF", {"quality": 90}), ("PNG", {})):
        picture = saved(image, kind, **options)
        reader = PictureReader(io.BytesIO(picture), info)
        assert reader.frames == frames.shape[0]
        assert abs(reader.info.samples - clip.size) <= 256
        error = np.abs(read(picture, info)[0].T - np.clip(frames, -11, 4))
        assert error.max() <= 0.5 * 15 / 255 + 1e-5 if options.get("quality") != 90 else error.mean() < 0.1
        if kind == "AVIF":
            with pytest.raises(FileError, match="give its value range"):
                PictureReader(io.BytesIO(picture))


def test_a_foreign_picture_of_16_bits_is_not_blown_out() -> None:
    shades = np.random.default_rng(1).integers(0, 256, (80, 40)).astype(np.uint16) * 257
    picture = saved(Image.fromarray(shades), "PNG")
    found = read(picture, PictureInfo(depth=12))
    wanted = read(saved(Image.fromarray((shades // 257).astype(np.uint8)), "PNG"), PictureInfo())
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("kind", ["PNG", "AVIF"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_foreign_pictures_are_turned_as_viewers_turn_them(kind: str, orientation: int) -> None:
    pixels = np.zeros((80, 50), np.uint8)
    pixels[:30, :20] = 255
    info = PictureInfo(log10_min=-5.0, log10_max=0.0)
    found = read(turned(Image.fromarray(pixels), kind, orientation), info)
    assert np.abs(found - from_pixels(pixels, info)).mean() < 0.1


def test_foreign_pictures_that_cannot_be_log_mels_are_refused() -> None:
    with pytest.raises(FileError, match=r"is 64 pixels tall, not 80 \(80 per channel\)"):
        read(saved(Image.new("L", (64, 64)), "PNG"), PictureInfo())
    with pytest.raises(FileError, match="not a readable picture"):
        read(b"RIFF" * 10, PictureInfo())
    huge = io.BytesIO()
    Image.new("1", (1_000_000, 80)).save(huge, "PNG")
    with pytest.raises(FileError, match="too large: 1000000x80"):
        read(huge.getvalue(), PictureInfo())
