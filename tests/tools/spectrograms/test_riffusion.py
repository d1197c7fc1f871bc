"""Pictures as Riffusion makes them are heard, in mono, stereo and three rows of bands in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile
import soxr
from PIL import Image

from audio_avif.errors import FileError
from audio_avif.metrics import stoi
from audio_avif.types import FloatArray
from audio_avif_tools.shared.signals import demo_clip
from audio_avif_tools.spectrograms import invert_command as invert
from audio_avif_tools.spectrograms.figures import Box
from audio_avif_tools.spectrograms.picture_files import read_spectrogram
from audio_avif_tools.spectrograms.riffusion import riffusion_settings

RATE_HZ = 44_100
CLIP = soxr.resample(demo_clip()[16_000:48_000], 16_000, RATE_HZ)
TAGS = {
    11000: RATE_HZ, 11005: False, 11007: False, 11010: 10, 11020: 100, 11030: 400, 11040: 512, 11050: 0, 11060: 10_000,
    11070: 0.25,
}  # fmt: skip


def magnitudes(samples: FloatArray) -> FloatArray:
    return np.abs(librosa.stft(32_768 * samples, n_fft=17_640, win_length=4410, hop_length=441))


def save(path: Path, channels: list[FloatArray], tags: dict[int, Any], knows_peak: bool = True) -> None:
    """Draw sounds as Riffusion does."""
    tags = {**TAGS, **tags}
    filters = librosa.filters.mel(
        sr=RATE_HZ, n_fft=17_640, n_mels=tags[11040], fmin=0, fmax=10_000, htk=True, norm=None
    )
    bands = np.stack([filters @ magnitudes(samples) for samples in channels])
    pixels = np.uint8(255 - 255 * (bands / bands.max()) ** 0.25)
    if tags[11005]:
        colours = np.stack([np.zeros_like(pixels[0]), pixels[0], pixels[1]], axis=2)
    elif tags[11007]:
        colours = pixels[0].reshape(tags[11040] // 3, 3, -1).transpose(0, 2, 1)
    else:
        colours = np.repeat(pixels[0][:, :, None], 3, axis=2)
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[tag] = value
    if knows_peak:
        exif[11080] = float(bands.max())
    Image.fromarray(np.ascontiguousarray(colours[::-1])).save(path, exif=exif)


def likeness(heard: FloatArray, original: FloatArray) -> float:
    size = min(heard.size, original.size)
    pair = (soxr.resample(samples[:size], RATE_HZ, 16_000) for samples in (original, heard))
    return float(stoi(*pair))


def test_a_picture_needs_no_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "p.png", [CLIP], {})
    assert invert.main([str(tmp_path / "p.png"), "--iterations", "16"]) == 0
    out = capsys.readouterr().out
    assert "nothing was assumed" in out and "Riffusion's settings were found" in out
    heard, rate_hz = soundfile.read(tmp_path / "p.wav", dtype="float32")
    assert rate_hz == RATE_HZ
    assert likeness(heard, CLIP) > 0.93
    assert 0.7 < np.std(heard) / np.std(CLIP) < 1.4  # as loud as it was


def test_stereo_pictures_have_two_channels(tmp_path: Path) -> None:
    left, right = CLIP[: CLIP.size // 2], CLIP[CLIP.size // 2 :][: CLIP.size // 2]
    save(tmp_path / "p.webp", [left, right[: left.size]], {11005: True})  # WebP is lossy
    assert invert.main([str(tmp_path / "p.webp"), "--iterations", "16"]) == 0
    heard, _ = soundfile.read(tmp_path / "p.wav", dtype="float32")
    assert heard.shape[1] == 2
    assert likeness(heard[:, 0], left) > 0.8 and likeness(heard[:, 1], right) > 0.8
    assert likeness(heard[:, 0], right) < 0.6


@pytest.mark.parametrize("tags", [{}, {11007: True, 11040: 1536}])
def test_bands_become_the_magnitudes_behind_them(tmp_path: Path, tags: dict[int, Any]) -> None:
    save(tmp_path / "p.png", [CLIP], tags)
    (source,) = read_spectrogram(tmp_path / "p.png")
    assert source.values is not None and source.knows_level
    true = magnitudes(CLIP)[:8001:4][:2001] / 32_768  # up to 5 kHz, on the bins of unpadded windows
    found = source.values[: len(true)]
    loud = true > true.max() / 100
    assert np.median(np.abs(np.log(found[loud] / true[loud]))) < 0.5


def test_without_a_peak_the_level_is_unknown(tmp_path: Path) -> None:
    save(tmp_path / "p.jpg", [CLIP[:RATE_HZ]], {}, knows_peak=False)
    (source,) = read_spectrogram(tmp_path / "p.jpg")
    assert not source.knows_level


def test_a_cropped_picture_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "p.png", [CLIP[:RATE_HZ]], {})
    with pytest.raises(FileError, match="100 rows, not the 512"):
        read_spectrogram(tmp_path / "p.png", Box(0, 0, 50, 100))


@pytest.mark.parametrize(
    "tags",
    [{11000: 0}, {11000: "x"}, {11010: 0}, {11020: 900}, {11040: 10**9}, {11050: 20_000}, {11070: 0.0}, {11020: None}],
)
def test_damaged_settings_are_refused(tags: dict[int, Any]) -> None:
    with pytest.raises(FileError, match="Riffusion settings are damaged"):
        riffusion_settings({**TAGS, **tags})


def test_other_exif_data_is_not_riffusions() -> None:
    assert riffusion_settings({0x010E: "a photograph", 11000: 44_100}) is None
