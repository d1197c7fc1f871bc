"""The echo of a loudspeaker at the microphone, found by its likeness to what was played."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audio_avif.types import FloatArray

_START_VARIANCE = np.float32(0.01)  # of each weight, before anything was heard
_START_POWER = np.float32(1e-6)
_PATH_KEEPS = np.float32(0.9995**2)  # the power of a weight from frame to frame: rooms change slowly
_SMOOTHING = np.float32(0.9)
_LONG_SMOOTHING = np.float32(0.95)
# What is left is weaker than the microphone's sound by the power that was subtracted, or stronger by as much where the
# path has become another one. This holds beside near speech too.
_WRONG = 0.5
_INAUDIBLE_POWER = 1e-6


class EchoCanceller:
    """Learns the linear path from loudspeaker to microphone and subtracts what comes through it, without any delay.

    A Kalman filter at each frequency weighs what is learned, so speech beside the echo disturbs the path little. The
    path has ``path_frames`` frames of ``frame_samples``; one that changes at once is learned anew.

    Source: Kuech, Mabande and Enzner, State-space architecture of the partitioned-block-based acoustic echo
    controller, ICASSP 2014.
    """

    def __init__(self, frame_samples: int, path_frames: int) -> None:
        self._frame_samples = frame_samples
        self._shape = (path_frames, frame_samples + 1)
        self.reset()

    def reset(self) -> None:
        """Forget the path and all sound."""
        self._played: FloatArray = np.zeros(2 * self._frame_samples, np.float32)
        self._spectra = np.zeros(self._shape, np.complex64)  # of what was played, the newest first
        self._rest_power: FloatArray = np.full(self._shape[1], _START_POWER, np.float32)
        self._forget_path()

    def _forget_path(self) -> None:
        self._weights = np.zeros(self._shape, np.complex64)
        self._variances: FloatArray = np.full(self._shape, _START_VARIANCE, np.float32)
        self._excess_power = self._echo_power = np.float32(0)  # smoothed

    def process(self, near: FloatArray, far: FloatArray) -> FloatArray:
        """Take a frame of the microphone and what was played meanwhile; return the first without its echo.

        All are ``[frame_samples] float32``.
        """
        size = self._frame_samples
        self._played = np.concatenate([self._played[size:], far])
        self._spectra = np.roll(self._spectra, 1, axis=0)
        self._spectra[0] = np.fft.rfft(self._played)
        echo = np.fft.irfft((self._spectra * self._weights).sum(axis=0))[size:]
        rest: FloatArray = (near - echo).astype(np.float32)
        self._learn(rest)
        excess_power = np.mean(rest**2) - np.mean(near**2)
        self._excess_power += (1 - _LONG_SMOOTHING) * (excess_power - self._excess_power)
        self._echo_power += (1 - _LONG_SMOOTHING) * (np.mean(echo**2) - self._echo_power)
        if self._excess_power > _WRONG * self._echo_power + _INAUDIBLE_POWER:
            self._forget_path()
        return rest if excess_power < 0 else near

    def _learn(self, rest: FloatArray) -> None:
        size = self._frame_samples
        error = np.fft.rfft(np.concatenate([np.zeros(size, np.float32), rest])).astype(np.complex64)
        played_power = _power(self._spectra)
        self._rest_power *= _SMOOTHING
        self._rest_power += (1 - _SMOOTHING) * _power(error)
        uncertain_power = (self._variances * played_power).sum(axis=0) / 2  # half of each window is the present frame
        gain = self._variances / (uncertain_power + self._rest_power + _START_POWER)
        steps = np.fft.irfft(self._spectra.conj() * (gain * error))
        steps[:, size:] = 0  # what would come before its cause
        self._weights += np.fft.rfft(steps)
        self._variances *= _PATH_KEEPS * (1 - np.minimum(gain * played_power / 2, 1))
        self._variances += (1 - _PATH_KEEPS) * _power(self._weights)


def _power(spectrum: npt.NDArray[np.complex64]) -> FloatArray:
    power: FloatArray = spectrum.real**2 + spectrum.imag**2
    return power
