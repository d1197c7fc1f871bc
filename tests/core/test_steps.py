"""The whole-recording functions in the order in which a user calls them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import audio_avif
from audio_avif import (
    TARGET_SR,
    get_device,
    image_to_logmel,
    load_vocoder,
    logmel_to_image,
    reconstruct_wav,
    wav_to_logmel,
)
from audio_avif.errors import FileError, ModelError
from audio_avif.still.boxes import inspect_still
from support.turned import ORIENTATIONS, turned


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "glide.wav"
    t = np.arange(TARGET_SR) / TARGET_SR
    soundfile.write(path, np.stack([0.3 * np.sin(2 * np.pi * (300 * t + 200 * t**2))] * 2, axis=1), 16_000)
    return path


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_picture_is_turned_as_viewers_turn_it(orientation: int) -> None:
    image = logmel_to_image(np.random.default_rng(0).uniform(-11, 4, (20, 80)).astype(np.float32))
    stored = Image.open(io.BytesIO(turned(image, "PNG", orientation)))
    np.testing.assert_array_equal(image_to_logmel(stored), image_to_logmel(image))


def test_sound_to_avif_and_back(recording: Path, tmp_path: Path) -> None:
    logmel = wav_to_logmel(recording)
    assert logmel.shape == (1 + TARGET_SR // 256, 80)
    assert logmel.dtype == np.float32
    image = logmel_to_image(logmel)
    image.save(tmp_path / "glide.avif", "AVIF", quality=85)
    assert inspect_still((tmp_path / "glide.avif").read_bytes()).monochrome

    opened = image_to_logmel(Image.open(tmp_path / "glide.avif"))
    assert opened.shape == logmel.shape
    assert np.abs(np.clip(opened, -6, 4) - np.clip(logmel, -6, 4)).mean() < 0.15

    device = get_device()
    wav = reconstruct_wav(opened, load_vocoder(device), device)
    assert wav.shape == (logmel.shape[0] * 256,)
    again = wav_to_logmel(wav)[: logmel.shape[0]]
    assert np.abs(np.argmax(again, axis=1) - np.argmax(logmel, axis=1))[4:-4].max() <= 1


def test_the_low_band_is_at_the_bottom_and_time_runs_right(recording: Path) -> None:
    logmel = np.full((7, 80), -11.0, np.float32)
    logmel[2, 0] = 4.0
    image = logmel_to_image(logmel)
    assert image.size == (7, 80)
    assert image.mode == "L"
    assert image.getpixel((2, 79)) == 255


def test_wrong_bands_and_missing_files_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"needs \[frames, 80\]"):
        reconstruct_wav(np.zeros((10, 64), np.float32), load_vocoder())
    with pytest.raises(FileError, match="no sound file"):
        wav_to_logmel(tmp_path / "absent.wav")


def test_every_public_name_can_be_had() -> None:
    for name in audio_avif.__all__:
        assert getattr(audio_avif, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = audio_avif.nonsense
