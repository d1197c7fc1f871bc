"""The Python interface of the file codec: recordings to pictures and back, whole and in pieces."""

from __future__ import annotations

import io
import json
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import islice, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import audio_avif
from audio_avif.config import MelConfig
from audio_avif.errors import AudioAvifError, FileError, ModelError
from audio_avif.metrics import stoi
from audio_avif.recording import codec as files
from audio_avif.recording.codec import SoundPicture, decode, encode
from audio_avif.recording.grid import GridWriter, max_cells
from audio_avif.recording.grid_reader import GridReader
from audio_avif.recording.layout import CELL_FRAMES, PictureInfo, from_pixels
from audio_avif.recording.metadata import from_exif, to_exif
from audio_avif.recording.picture_encoder import (
    FileConfig,
    PictureEncoder,
    encode_cell,
    faded,
    max_seconds,
    write_picture,
)
from audio_avif.recording.picture_reader import PictureReader
from audio_avif.recording.value_range import RangeFinder
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif_tools.shared.signals import demo_clip
from support.speech import chunked, speech_like
from support.stills import saved
from support.turned import ORIENTATIONS, turned

RATE_HZ = 16_000
FAST = FileConfig(quality=60, speed=10)
EXACT = FileConfig(quality=100, speed=10)
STEP = 6.5 / 255


class Teller:
    """A vocoder that makes of each frame 256 samples of its loudness."""

    name = "teller"
    mel = MelConfig()

    def synthesize(self, log_mel: FloatArray) -> FloatArray:
        return np.repeat(log_mel.mean(axis=0), self.mel.hop_samples).astype(np.float32)


TELLER = Teller()


@lru_cache
def voice(seconds: float, channels: int = 1) -> FloatArray:
    """Speech-like samples ``[samples, channels]``, other ones in each channel."""
    return np.stack([speech_like(seconds, seed=seed) for seed in range(channels)], axis=1)


def read(picture: bytes, info: PictureInfo | None = None) -> FloatArray:
    """All frames of a picture ``[channels, n_mels, frames]``."""
    return np.concatenate(list(PictureReader(io.BytesIO(picture), info).log_mels()), axis=2)


def mels(samples: FloatArray) -> FloatArray:
    """What a picture of these samples should show, within its range."""
    return np.clip(np.stack([log_mel(channel) for channel in samples.T]), -5.5, 1.0)


def test_a_grid_fades_out_after_its_sound() -> None:
    frames, silence = CELL_FRAMES + 100, PictureInfo().log10_min
    encoder = PictureEncoder(FileConfig(), channels=1)
    log_mel_of_all = np.random.default_rng(0).uniform(-3, 0, (1, 80, frames)).astype(np.float32)
    cells = [*encoder.push_frames(log_mel_of_all), *encoder.flush()]
    after = from_pixels(cells[1], encoder.info)[0][:, 100:]
    assert len(cells) == 2 and after.shape == (80, CELL_FRAMES - 100)
    assert np.allclose(after[:, 0], log_mel_of_all[0, :, -1], atol=0.03)
    assert (np.diff(after[:, :17], axis=1) < 0).all()
    assert np.allclose(after[:, 16:], silence, atol=0.03)
    assert faded(log_mel_of_all, frames, silence).shape == (1, 80, frames)


@pytest.mark.parametrize("samples", [1, 255, 256, 257, 10 * RATE_HZ - 1, 10 * RATE_HZ, 10 * RATE_HZ + 1, 61 * RATE_HZ])
def test_as_many_samples_come_back_as_went_in(samples: int) -> None:
    picture = encode(voice(61.0)[:samples, 0], RATE_HZ, FAST)
    audio, rate_hz = decode(picture, TELLER)
    assert (audio.shape, audio.dtype, rate_hz) == ((samples,), np.float32, RATE_HZ)
    frames = 1 + samples // 256
    assert picture.info.samples == samples and read(picture).shape == (1, 80, frames)
    with Image.open(io.BytesIO(picture)) as image:
        rows = -(-frames // (6 * CELL_FRAMES))
        assert image.size == ((frames if rows == 1 else 6 * CELL_FRAMES), 80 * rows)


@pytest.mark.parametrize("layout", ["stacked", "planes"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_channel_comes_back_in_its_place(channels: int, layout: str) -> None:
    if (channels, layout) == (4, "planes"):
        with pytest.raises(ValueError, match="use the layout stacked"):
            encode(voice(1.0, 4), RATE_HZ, replace(FAST, layout=layout))
        return
    samples = voice(11.0, channels)
    picture = encode(samples, RATE_HZ, replace(EXACT, layout=layout))
    found = read(picture)
    # RGB becomes luma and colour differences, which costs a few steps even without compression.
    assert np.abs(found - mels(samples)).max() <= (STEP if layout == "stacked" else 4 * STEP)
    audio, _ = decode(picture, TELLER)
    assert audio.shape == ((samples.shape[0],) if channels == 1 else samples.shape)
    for channel in range(channels):
        heard = audio if channels == 1 else audio[:, channel]
        assert np.corrcoef(heard, np.repeat(mels(samples)[channel].mean(axis=0), 256)[: heard.size])[0, 1] > 0.99


def test_of_two_like_channels_mid_and_side_are_kept() -> None:
    alike = np.repeat(voice(2.0), 2, axis=1)
    assert encode(alike, RATE_HZ, EXACT).info.side_cells == "1"
    one_sided = np.stack([alike[:, 0], np.zeros(alike.shape[0], np.float32)], axis=1)
    picture = encode(one_sided, RATE_HZ, EXACT)
    assert picture.info.side_cells == "0"
    assert np.abs(read(picture) - mels(one_sided)).max() <= STEP / 2 + 1e-6


@pytest.mark.parametrize("depth", [10, 12])
@pytest.mark.parametrize("channels", [1, 2])
def test_deep_pictures_keep_finer_steps(depth: int, channels: int) -> None:
    pytest.importorskip("imagecodecs", reason="deep pictures need imagecodecs; pip install 'audio-avif[formats]'")
    samples = voice(1.0, channels)
    for layout, quality in product(("stacked", "planes"), (95, 100)):
        picture = encode(samples, RATE_HZ, FileConfig(quality=quality, depth=depth, layout=layout))
        assert picture.info.depth == depth
        error = np.abs(read(picture) - mels(samples))
        assert np.sqrt(np.mean(error**2)) < 6 * STEP
        if quality == 100:
            assert error.max() < 0.51 * STEP / 2 ** (depth - 8)
        with Image.open(io.BytesIO(picture)) as image:
            image.load()  # in 8 bits, but it opens


def test_without_the_package_a_deep_picture_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imagecodecs", None)
    with pytest.raises(AudioAvifError, match=r"10 bit need imagecodecs; install it with: pip install"):
        encode(voice(0.2), RATE_HZ, FileConfig(depth=10))


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 44_100, 48_000, 192_000])
def test_any_rate_is_taken_and_remembered(rate_hz: int) -> None:
    samples = speech_like(0.7, rate_hz)
    picture = encode(samples, rate_hz, FAST)
    audio, found_hz = decode(picture, TELLER)
    assert found_hz == RATE_HZ and abs(audio.size - 0.7 * RATE_HZ) <= 2
    assert picture.info.source_rate_hz == rate_hz


def picture_in_pieces(samples: FloatArray, sizes: list[int], config: FileConfig) -> bytes:
    """The picture of a recording that comes in pieces."""
    encoder = PictureEncoder(config, samples.shape[1])
    out = io.BytesIO()
    with GridWriter() as writer:
        for piece in chunked(samples.shape[0], sizes):
            for cell in encoder.push(samples[piece]):
                writer.add(encode_cell(cell, config))
        for cell in encoder.flush():
            writer.add(encode_cell(cell, config))
        write_picture(writer, encoder, config, out)
    return out.getvalue()


@settings(max_examples=25)
@given(sizes=st.lists(st.integers(0, 60_000), max_size=12), channels=st.integers(1, 2))
def test_any_pieces_give_the_same_picture(sizes: list[int], channels: int) -> None:
    samples = voice(11.3, channels)
    assert picture_in_pieces(samples, sizes, FAST) == _whole(channels)


@lru_cache
def _whole(channels: int) -> bytes:
    return encode(voice(11.3, channels), RATE_HZ, FAST)


def test_frames_may_be_pushed_in_place_of_samples() -> None:
    samples = voice(12.0)
    frames = log_mel(samples[:, 0])
    encoder = PictureEncoder(EXACT, 1)
    cells = [
        cell
        for start in range(0, frames.shape[1], 8)
        for cell in encoder.push_frames(frames[None, :, start:][:, :, :8])
    ]
    cells += encoder.flush()
    encoder.info = replace(encoder.info, samples=samples.shape[0])
    out = io.BytesIO()
    with GridWriter() as writer:
        for cell in cells:
            writer.add(encode_cell(cell, EXACT))
        write_picture(writer, encoder, EXACT, out)
    np.testing.assert_array_equal(read(out.getvalue()), read(encode(samples, RATE_HZ, EXACT)))


def test_another_mel_travels_with_its_picture() -> None:
    mel = MelConfig(n_mels=40, fmax_hz=4000.0)
    encoder = PictureEncoder(EXACT, 1, mel=mel)
    samples = voice(1.0)
    out = io.BytesIO()
    with GridWriter() as writer:
        for cell in [*encoder.push(samples), *encoder.flush()]:
            writer.add(encode_cell(cell, EXACT))
        write_picture(writer, encoder, EXACT, out)
    assert PictureReader(out).info.mel == mel
    assert np.abs(read(out.getvalue())[0] - np.clip(log_mel(samples[:, 0], mel), -5.5, 1.0)).max() <= STEP
    with pytest.raises(ModelError, match=r"vocoder teller is for 16000 Hz.*80 bands.*but the picture has.*40 bands"):
        decode(out.getvalue(), TELLER)


def test_a_recording_without_samples_is_refused() -> None:
    for empty in (np.zeros(0, np.float32), np.zeros((0, 2), np.float32)):
        with pytest.raises(FileError, match="the recording is empty"):
            encode(empty, RATE_HZ)
    with pytest.raises(FileError, match="the recording is empty"):
        PictureEncoder(FAST, 2).flush()


@pytest.mark.parametrize(
    ("audio", "rate_hz", "complaint"),
    [
        (np.zeros((5, 5)), RATE_HZ, "1 to 4 channels, not 5"),
        (np.zeros((5, 0)), RATE_HZ, "1 to 4 channels, not 0"),
        (np.zeros((2, 2, 2)), RATE_HZ, r"not of shape \(2, 2, 2\)"),
        (np.float32(1), RATE_HZ, r"not of shape \(\)"),
        (np.zeros(5), 0, "rate_hz must be a whole number"),
        (np.zeros(5), -1, "rate_hz must be a whole number"),
    ],
)
def test_samples_of_another_shape_are_a_mistake(audio: Any, rate_hz: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        encode(audio, rate_hz)


def test_pieces_of_another_shape_are_a_mistake() -> None:
    for samples in (voice(0.1), voice(0.1, 3), voice(0.1)[:, 0]):
        with pytest.raises(ValueError, match=r"samples must be \[samples, 2\]"):
            PictureEncoder(FAST, 2).push(samples)


def test_a_recording_too_long_for_a_grid_is_told_before_it_is_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "max_seconds", lambda channels, layout: 3.0)
    monkeypatch.setattr(files, "encode_cell", None)
    with pytest.raises(FileError, match=r"a picture of 4 channels holds at most 0\.0 h; split the recording"):
        encode(np.zeros((3 * RATE_HZ, 4), np.float32), RATE_HZ)


def test_a_grid_holds_more_than_half_a_day() -> None:
    assert max_seconds(1) > 13.5 * 3600
    assert max_seconds(4) > 3 * 3600 and max_seconds(3, "planes") == max_seconds(1)


@pytest.mark.parametrize("spoil", [np.nan, np.inf, -np.inf, 1e30])
def test_what_is_no_sound_in_a_recording_stays_where_it_is(spoil: float) -> None:
    samples = voice(3.0)[:, 0].copy()
    samples[20_000:20_010] = spoil
    found = read(encode(samples, RATE_HZ, EXACT))
    assert np.isfinite(found).all() and found.max() <= 1.0 + 1e-6
    far = np.abs(np.arange(found.shape[2]) * 256 - 20_005) > 600
    wanted = mels(np.where(np.isfinite(samples), samples, 0)[:, None])
    np.testing.assert_allclose(found[:, :, far], wanted[:, :, far], atol=STEP)
    resampled = read(encode(samples, 22_050, EXACT))
    assert np.isfinite(resampled).all()


def test_silence_is_silent() -> None:
    audio, _ = decode(encode(np.zeros(3 * RATE_HZ, np.float32), RATE_HZ))
    assert np.abs(audio).max() < 0.01


def test_speech_is_understood_again_and_the_same_each_time() -> None:
    clip = demo_clip()
    picture = audio_avif.encode(clip, RATE_HZ)
    assert isinstance(picture, SoundPicture) and len(picture) * 8 < 14_000 * clip.size / RATE_HZ
    audio, rate_hz = audio_avif.decode(picture)
    again, _ = audio_avif.decode(bytes(picture))
    assert rate_hz == RATE_HZ and audio.size == clip.size
    assert stoi(clip, audio) > 0.85
    np.testing.assert_array_equal(audio, again)
    assert encode(clip, RATE_HZ) == picture


def test_quality_costs_bytes_and_is_worth_them() -> None:
    samples = voice(4.0)
    pictures = [encode(samples, RATE_HZ, FileConfig(quality=quality)) for quality in (40, 70, 95, 100)]
    errors = [float(np.mean((read(picture) - mels(samples)) ** 2)) for picture in pictures]
    assert [len(picture) for picture in pictures] == sorted(len(picture) for picture in pictures)
    assert errors == sorted(errors, reverse=True)
    assert np.abs(read(pictures[-1]) - mels(samples)).max() <= STEP / 2 + 1e-6, "100 loses nothing but the rounding"


def test_the_range_of_a_recording_is_found() -> None:
    quiet = 1e-3 * voice(3.0)
    finder = RangeFinder()
    for start in range(0, quiet.shape[0], 5000):
        finder.push(np.stack([log_mel(channel) for channel in quiet[start : start + 5000].T]))
    low, high = finder.range()
    assert -11 <= low < high - 0.99 and high < -1.5
    config = FileConfig(100, 10, log10_min=low, log10_max=high)
    fixed, fitted = (read(encode(quiet, RATE_HZ, choice)) for choice in (EXACT, config))
    wanted = log_mel(quiet[:, 0])
    assert np.mean((fitted - wanted) ** 2) < np.mean((fixed - wanted) ** 2) / 10


def test_digital_silence_has_the_usual_range_and_does_not_widen_another() -> None:
    finder = RangeFinder()
    usual = finder.range()
    finder.push(log_mel(np.zeros(RATE_HZ, np.float32)))
    assert finder.range() == usual == (FileConfig().log10_min, FileConfig().log10_max)
    spoken = log_mel(voice(3.0)[:, 0])
    finder.push(spoken)
    alone = RangeFinder()
    alone.push(spoken)
    assert finder.range() == alone.range()


@pytest.mark.parametrize(
    "changes",
    [{"quality": 101}, {"speed": 11}, {"depth": 16}, {"layout": "x"}, {"log10_min": 2.0}, {"log10_max": 11.0}],
)
def test_a_configuration_that_makes_no_sense_is_a_mistake(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        FileConfig(**changes)


def test_settings_travel_in_exif() -> None:
    info = PictureInfo(samples=99, channels=2, side_cells="1", source_rate_hz=8000)
    assert from_exif(to_exif(info)) == info
    picture = encode(voice(0.3), RATE_HZ, FAST)
    with Image.open(io.BytesIO(picture)) as image:
        exif = image.getexif()
    assert json.loads(exif[0x010E])["samples"] == 4800
    assert exif[0x0131] == "audio-avif"


def exif_of(text: str | None) -> Image.Exif:
    exif = Image.Exif()
    if text is not None:
        exif[0x010E] = text
    return exif


def described(text: str | None, picture: Image.Image | None = None) -> bytes:
    """A gray still of 80 rows with this image description."""
    return saved(picture or Image.new("L", (30, 80)), subsampling="4:0:0", exif=exif_of(text))


def description(**changes: Any) -> str:
    """The description of a picture of 30 frames."""
    return json.dumps({"audio_avif": 1, **PictureInfo(samples=29 * 256).to_dict(), **changes})


@pytest.mark.parametrize(
    ("picture", "complaint"),
    [
        (described(description(audio_avif=2)), "have format 2; this version reads 1"),
        (described(description(audio_avif="x" * 500)), "have format 'x"),
        (described(description(samples="29")), "metadata are damaged: PictureInfo.samples must be"),
        (
            described(description(samples=30 * 256)),
            "describe 31 frames of 80 rows, 31x80 pixels, but it has 30x80",
        ),
        (described(description(samples=2**40)), "describe 4294967297 frames"),
        (described(description(samples=0)), "describe 0 frames"),
        (described(description(channels=2)), "describe 30 frames of 160 rows"),
        (described(description(layout="planes", channels=2)), "is gray, but its metadata describe 2 channels"),
        (
            described(description(mel={**MelConfig().to_dict(), "n_mels": 81})),
            "of 81 rows, 30x81 pixels, but it has 30x80",
        ),
        (described(description(mel=[])), "metadata are damaged: MelConfig needs exactly"),
        (described("a day at the sea"), "has no metadata of audio-avif"),
        (described('{"title": "a day at the sea"}'), "has no metadata of audio-avif"),
        (described("[1]"), "has no metadata of audio-avif"),
        (described("[" * 100_000), "has no metadata of audio-avif"),
        (described(None), "has no metadata of audio-avif"),
        (saved(Image.new("RGB", (64, 64))), "has no metadata of audio-avif"),
        (saved(Image.new("RGBA", (64, 64))), "has no metadata of audio-avif"),
        (described(description(), Image.new("L", (626, 80))), "describe 30 frames"),
        (
            described(description(), Image.new("L", (20, 80))),
            "has 20x80: it was cropped or scaled; --range=-5.5,1 plays",
        ),
        (
            described(description(), Image.new("L", (30, 40))),
            "it was cropped or scaled; use the original picture",
        ),
        (saved(Image.new("L", (64, 64)), "PNG"), "has no metadata of audio-avif"),
        (saved(Image.new("F", (30, 80)), "TIFF", exif=exif_of(description())), "has floating-point pixels"),
        (b"", "not a readable picture"),
        (b"RIFF" * 10, "not a readable picture"),
    ],
)
def test_other_pictures_are_refused_in_a_sentence(picture: bytes, complaint: str) -> None:
    with pytest.raises(FileError, match=complaint) as caught:
        decode(picture, TELLER)
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()


def test_the_smallest_settings_are_taken() -> None:
    assert decode(described(description()), TELLER)[0].size == 29 * 256


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


@lru_cache
def _original(seconds: float, channels: int) -> bytes:
    return encode(np.repeat(voice(seconds), channels, axis=1), RATE_HZ, FAST)


@pytest.mark.parametrize("name", SAVED_AGAIN)
@pytest.mark.parametrize(("seconds", "channels"), [(1.0, 1), (11.0, 2), (61.0, 1)])
def test_a_picture_that_was_saved_again_is_heard(name: str, seconds: float, channels: int) -> None:
    """One cell; a row of two whose channels are mid and side; two rows."""
    mode, kind, options, tolerance = SAVED_AGAIN[name]
    picture = _original(seconds, channels)
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
    with Image.open(io.BytesIO(_original(1.0, 1))) as image:
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


@pytest.mark.parametrize("kind", ["AVIF", "PNG"])
@pytest.mark.parametrize("change", ["cropped", "wider", "longer", "taller", "one row of two"])
def test_a_picture_that_was_cropped_or_scaled_is_refused(kind: str, change: str) -> None:
    picture = _original(61.0 if change == "one row of two" else 3.0, 1)
    with Image.open(io.BytesIO(picture)) as image:
        exif, gray = image.getexif(), image.convert("L")
    width, height = gray.size
    made = {
        "cropped": gray.crop((0, 0, width - 40, height)),
        "wider": gray.resize((2 * width, height)),
        "longer": gray.crop((0, 0, width + 1, height)),
        "taller": gray.resize((width, 2 * height)),
        "one row of two": gray.crop((0, 0, width, height // 2)),
    }[change]
    options = {"subsampling": "4:0:0"} if kind == "AVIF" else {}
    changed = saved(made, kind, exif=exif, **options)
    remedy = "use the original picture" if change == "taller" else "--range=-5.5,1 plays it as it is"
    with pytest.raises(FileError) as caught:
        decode(changed, TELLER)
    assert str(caught.value).endswith(
        f"{width}x{height} pixels, but it has {made.width}x{made.height}: it was cropped or scaled; {remedy}"
    )
    if "--range" in remedy:
        assert read(changed, PictureInfo()).shape == (1, 80, made.width)


@pytest.mark.parametrize("make", [lambda data: data[:-1], lambda data: data[: len(data) // 2]])
def test_a_truncated_recording_is_told_before_or_where_it_ends(make: Callable[[bytes], bytes]) -> None:
    with pytest.raises(FileError, match="truncated"):
        decode(make(_whole(1)), TELLER)


def test_a_cell_that_does_not_decode_says_when_it_would_be_heard() -> None:
    data = bytearray(_whole(1))
    reader = GridReader(io.BytesIO(data))
    offset, length = reader._cells[1]
    data[offset : offset + length] = b"\xff" * length
    pieces = PictureReader(io.BytesIO(data)).log_mels()
    assert next(pieces).shape == (1, 80, CELL_FRAMES)
    with pytest.raises(FileError, match="the picture is damaged after 10 s"):
        next(pieces)


@given(st.data())
def test_damage_never_ends_in_another_error(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([_small(), described(description())])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        change = data.draw(st.binary(min_size=1, max_size=4))
        whole[at : at + len(change)] = change
    try:
        audio, _ = decode(bytes(whole), TELLER)
    except FileError as error:
        assert len(str(error)) < 300
    except ModelError as error:
        assert "but the picture has" in str(error)
    else:
        assert np.isfinite(audio).all()


@lru_cache
def _small() -> bytes:
    return encode(voice(0.2, 2), RATE_HZ, FAST)


def test_half_a_day_is_opened_and_read_in_little_memory() -> None:
    blank = encode_cell(np.zeros((80, CELL_FRAMES), np.uint8), FAST)
    cells = max_cells(CELL_FRAMES, 80)
    info = PictureInfo(samples=cells * CELL_FRAMES * 256 - 1)
    with GridWriter() as writer:
        for _ in range(cells):
            writer.add(blank)
        writer.write(out := io.BytesIO(), 24 * CELL_FRAMES, to_exif(info))
    tracemalloc.start()
    try:
        reader = PictureReader(out)
        pieces = list(islice(reader.log_mels(), 3))
        _, max_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reader.frames == cells * CELL_FRAMES and len(out.getvalue()) < 1_000_000
    assert [piece.shape for piece in pieces] == [(1, 80, CELL_FRAMES)] * 3
    assert max_bytes < 16_000_000, "all of its pixels would be 245 MB"


def test_nothing_is_allotted_to_promises() -> None:
    """A grid of 16384x16384 pixels is refused or read cell by cell, however much it claims."""
    data = described(description(samples=2**40))
    huge = data.replace((30).to_bytes(4, "big") + (80).to_bytes(4, "big"), (16_384).to_bytes(4, "big") * 2)
    assert huge != data
    for picture in (huge, data):
        with pytest.raises(FileError):
            PictureReader(io.BytesIO(picture))


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


def test_a_notebook_shows_the_picture_and_a_player() -> None:
    picture = encode(voice(1.0), RATE_HZ, FAST)
    shown = picture._repr_html_()
    for kind in ("image/avif", "audio/wav"):
        assert len(re.findall(rf'src="data:{kind};base64,[A-Za-z0-9+/=]{{100,}}"', shown)) == 1
    assert "<audio controls" in shown and f"1.0 s, {len(picture)} bytes" in shown


def test_the_names_are_those_of_the_package() -> None:
    assert (audio_avif.encode, audio_avif.decode, audio_avif.FileConfig) == (encode, decode, FileConfig)
