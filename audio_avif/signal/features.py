"""Samples to log-mel frames, for a whole signal and for a stream, with identical output.

The definition is librosa's: ``log10(max(mel(slaney) @ abs(stft(center=True, zero padding)), floor))``. The mel basis is
built here because importing ``librosa.filters`` costs a second and 144 MB; the tests hold it against librosa.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from audio_avif.config import MelConfig
from audio_avif.types import DoubleArray, FloatArray

# Slaney's Auditory Toolbox (1998): linear below 1 kHz, 27 logarithmic steps per factor 6.4 above.
_HZ_PER_MEL = 200.0 / 3
_LOG_START_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _LOG_START_HZ:
        return hz / _HZ_PER_MEL
    return float(_LOG_START_HZ / _HZ_PER_MEL + np.log(hz / _LOG_START_HZ) / _LOG_STEP)


def _mel_to_hz(mel: DoubleArray) -> DoubleArray:
    log_start = _LOG_START_HZ / _HZ_PER_MEL
    return np.where(
        mel < log_start, mel * _HZ_PER_MEL, _LOG_START_HZ * np.exp(_LOG_STEP * (np.maximum(mel, log_start) - log_start))
    )


@lru_cache(maxsize=8)
def mel_basis(config: MelConfig) -> DoubleArray:
    """The mel filter bank ``[n_mels, n_fft // 2 + 1]``: triangles on the Slaney scale, each of unit area."""
    edges = _mel_to_hz(np.linspace(_hz_to_mel(config.fmin_hz), _hz_to_mel(config.fmax_hz), config.n_mels + 2))
    bins = np.fft.rfftfreq(config.n_fft, 1 / config.rate_hz)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.maximum(0, np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)))
    basis = triangles * (2.0 / (upper - lower))
    basis.setflags(write=False)
    return basis


@lru_cache(maxsize=8)
def hann(length: int) -> DoubleArray:
    """The periodic Hann window ``[length]``."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    window.setflags(write=False)
    return window


def frame_count(samples: int, config: MelConfig) -> int:
    """How many frames a signal of so many samples has."""
    return 1 + samples // config.hop_samples if samples else 0


def _frames_to_log_mel(padded: DoubleArray, frames: int, config: MelConfig) -> FloatArray:
    """Log-mel ``[n_mels, frames]`` of the windows that start at ``hop_samples * k`` of ``padded``.

    In float64: single precision would miss quiet bands beside loud ones by more than a pixel step.
    """
    windows = np.lib.stride_tricks.sliding_window_view(padded, config.n_fft)[:: config.hop_samples][:frames]
    magnitudes = np.abs(np.fft.rfft(windows * hann(config.n_fft), axis=1))
    mel = mel_basis(config) @ magnitudes.T
    return np.log10(np.maximum(mel, config.floor)).astype(np.float32)


def log_mel(samples: FloatArray, config: MelConfig | None = None) -> FloatArray:
    """Log-mel of a whole mono signal.

    Shape: ``[samples]`` in -1..1 -> ``[n_mels, frame_count] float32, log10 magnitude``; frame k is centred on sample
    ``hop_samples * k``. An empty signal has no frames.
    """
    stream = LogMelStream(config)
    return np.concatenate([stream.push(samples), stream.flush()], axis=1)


class LogMelStream:
    """Log-mel frames of a signal that arrives in pieces; any chunking gives what ``log_mel`` gives."""

    def __init__(self, config: MelConfig | None = None) -> None:
        self.config = config or MelConfig()
        self.latency_samples = self.config.lookahead_samples
        self.reset()

    def reset(self) -> None:
        """Start a new signal."""
        self._pending = np.zeros(self.config.n_fft // 2)
        self._samples_in = 0

    def push(self, samples: FloatArray) -> FloatArray:
        """Take ``[samples]`` of any length; return the frames ``[n_mels, frames]`` now complete."""
        if samples.ndim != 1:
            raise ValueError(f"samples must be mono [samples], not of shape {samples.shape}")
        self._samples_in += samples.size
        self._pending = np.concatenate([self._pending, samples])
        return self._take((self._pending.size - self.config.n_fft) // self.config.hop_samples + 1)

    def missing_samples(self, frames: int) -> int:
        """How many more samples complete so many frames."""
        return self.config.n_fft + (frames - 1) * self.config.hop_samples - self._pending.size

    def flush(self) -> FloatArray:
        """Return the last frames, whose windows reach beyond the end into silence."""
        if not self._samples_in:
            return self._take(0)
        self._pending = np.concatenate([self._pending, np.zeros(self.config.n_fft // 2)])
        return self._take((self._pending.size - self.config.n_fft) // self.config.hop_samples + 1)

    def _take(self, frames: int) -> FloatArray:
        if frames <= 0:
            return np.zeros((self.config.n_mels, 0), np.float32)
        out = _frames_to_log_mel(self._pending, frames, self.config)
        self._pending = self._pending[frames * self.config.hop_samples :]
        return out
