"""The features are librosa's, for any chunking, as soon as the samples they need are there."""

from __future__ import annotations

import subprocess
import sys

import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.config import MelConfig
from audio_avif.signal.features import LogMelStream, frame_count, hann, log_mel, mel_basis
from support.speech import FloatArray, chunked, speech_like

MEL = MelConfig()
SPEECH = speech_like(1.0)
CONFIGS = [
    MEL,
    MelConfig(rate_hz=22_050, n_fft=1024, hop_samples=256, fmin_hz=0.0, fmax_hz=8000.0),
    MelConfig(rate_hz=8000, n_fft=256, hop_samples=64, n_mels=20, fmin_hz=0.0, fmax_hz=4000.0),
    MelConfig(fmin_hz=1500.0),
]
SIGNALS = {
    "speech": SPEECH,
    "loud": np.clip(SPEECH * 20, -1, 1),
    "quiet": SPEECH * np.float32(1e-4),
    "silent": np.zeros(5000, np.float32),
    "tone beside silence": np.sin(np.arange(8000, dtype=np.float32) * 0.3),
    "one sample": np.array([0.5], np.float32),
    "less than a hop": SPEECH[:255],
    "one hop": SPEECH[:256],
    "less than a window": SPEECH[4000:4900],
}


def librosa_log_mel(samples: FloatArray, config: MelConfig) -> np.ndarray:
    """The definition, in librosa's own words and in float64."""
    spectrum = librosa.stft(
        samples.astype(np.float64),
        n_fft=config.n_fft,
        hop_length=config.hop_samples,
        window="hann",
        pad_mode="constant",
    )
    basis = librosa_basis(config)
    return np.asarray(np.log10(np.maximum(basis @ np.abs(spectrum), config.floor)))


def librosa_basis(config: MelConfig) -> np.ndarray:
    return librosa.filters.mel(
        sr=config.rate_hz,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.fmin_hz,
        fmax=config.fmax_hz,
        htk=False,
        norm="slaney",
        dtype=np.float64,
    )


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_mel_basis_is_librosas(config: MelConfig) -> None:
    np.testing.assert_allclose(mel_basis(config), librosa_basis(config), rtol=0, atol=1e-12)


def test_hann_is_librosas_periodic_window() -> None:
    np.testing.assert_allclose(hann(1024), librosa.filters.get_window("hann", 1024, fftbins=True), atol=1e-15)


@pytest.mark.filterwarnings("ignore:n_fft=.* is too large:UserWarning")
@pytest.mark.parametrize("name", SIGNALS)
def test_log_mel_is_librosas(name: str) -> None:
    expected = librosa_log_mel(SIGNALS[name], MEL)
    actual = log_mel(SIGNALS[name], MEL)
    assert actual.dtype == np.float32
    assert actual.shape == expected.shape == (80, frame_count(SIGNALS[name].size, MEL))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS[1:], ids=str)
def test_other_definitions_are_librosas_too(config: MelConfig) -> None:
    np.testing.assert_allclose(log_mel(SPEECH, config), librosa_log_mel(SPEECH, config), rtol=0, atol=1e-5)


def test_an_empty_signal_has_no_frames() -> None:
    assert log_mel(np.zeros(0, np.float32)).shape == (80, 0)


@given(sizes=st.lists(st.integers(0, 3000), max_size=12))
def test_any_chunking_gives_the_whole(sizes: list[int]) -> None:
    stream = LogMelStream(MEL)
    pieces = [stream.push(SPEECH[piece]) for piece in chunked(SPEECH.size, sizes)]
    np.testing.assert_allclose(
        np.concatenate([*pieces, stream.flush()], axis=1), log_mel(SPEECH, MEL), rtol=0, atol=1e-6
    )


def test_sample_by_sample_a_frame_comes_when_its_window_is_full_and_not_before() -> None:
    stream = LogMelStream(MEL)
    assert stream.latency_samples == 512
    frames = 0
    for pushed in range(1, 2000):
        frames += stream.push(SPEECH[pushed - 1 : pushed]).shape[1]
        assert frames == max(0, (pushed - 512) // 256 + 1)


def test_later_samples_never_change_earlier_frames() -> None:
    other = SPEECH.copy()
    other[8000:] = np.random.default_rng(1).normal(size=other.size - 8000)
    known = (8000 - 512) // 256 + 1
    before, after = log_mel(SPEECH), log_mel(other)
    np.testing.assert_array_equal(before[:, :known], after[:, :known])
    assert np.abs(before[:, known] - after[:, known]).max() > 0.01


def test_reset_starts_a_new_signal() -> None:
    stream = LogMelStream(MEL)
    stream.push(SPEECH[:3000])
    stream.reset()
    pushed = stream.push(SPEECH)
    np.testing.assert_array_equal(np.concatenate([pushed, stream.flush()], axis=1), log_mel(SPEECH))


def test_stereo_is_refused() -> None:
    with pytest.raises(ValueError, match="mono"):
        LogMelStream(MEL).push(np.zeros((2, 100), np.float32))


def test_librosa_is_not_imported() -> None:
    code = "import sys, audio_avif.signal.features; sys.exit('librosa' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
