"""The Python interface of the file codec: recordings to pictures and back."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from PIL import Image

import audio_avif
from audio_avif.config import MelConfig
from audio_avif.errors import AudioAvifError, FileError, ModelError
from audio_avif.metrics import stoi
from audio_avif.recording import codec as files
from audio_avif.recording.codec import SoundPicture, decode, encode
from audio_avif.recording.grid import GridWriter
from audio_avif.recording.layout import CELL_FRAMES
from audio_avif.recording.picture_encoder import FileConfig, PictureEncoder, encode_cell, write_picture
from audio_avif.recording.picture_reader import PictureReader
from audio_avif.signal.features import log_mel
from audio_avif_tools.shared.signals import demo_clip
from support.pictures import EXACT, FAST, RATE_HZ, STEP, TELLER, mels, read, voice
from support.speech import speech_like


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


def test_a_recording_too_long_for_a_grid_is_told_before_it_is_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "max_seconds", lambda channels, layout: 3.0)
    monkeypatch.setattr(files, "encode_cell", None)
    with pytest.raises(FileError, match=r"a picture of 4 channels holds at most 0\.0 h; split the recording"):
        encode(np.zeros((3 * RATE_HZ, 4), np.float32), RATE_HZ)


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


def test_a_notebook_shows_the_picture_and_a_player() -> None:
    picture = encode(voice(1.0), RATE_HZ, FAST)
    shown = picture._repr_html_()
    for kind in ("image/avif", "audio/wav"):
        assert len(re.findall(rf'src="data:{kind};base64,[A-Za-z0-9+/=]{{100,}}"', shown)) == 1
    assert "<audio controls" in shown and f"1.0 s, {len(picture)} bytes" in shown


def test_the_names_are_those_of_the_package() -> None:
    assert (audio_avif.encode, audio_avif.decode, audio_avif.FileConfig) == (encode, decode, FileConfig)
