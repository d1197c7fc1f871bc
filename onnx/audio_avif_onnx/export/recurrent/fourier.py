"""Fourier transforms for ONNX as matrix products that fit in the CPU's cache."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from audio_avif_onnx.export.recurrent.phase import Frames

FINE = 32  # samples that the second stage takes together
TABLES = 5  # how many ``FourierTables`` makes
_NEGLIGIBLE = 1e-8


class StagedFrames(Frames):
    """``Frames`` with two stages of matrix products for a Fourier transform (Cooley and Tukey, 1965).

    Sample ``FINE * a + b`` meets bin ``c + length / FINE * d``: ``coarse`` sums over a, ``twiddle`` turns by b and c,
    ``fine`` sums over b; their transposes invert it. In between every number is stored twice, so that the product of
    complex numbers is a product of real ones.
    """

    share: Tensor

    def __init__(self, window_samples: int, hop_samples: int) -> None:
        super().__init__(window_samples, hop_samples)
        self.rows = window_samples // FINE
        share = torch.full((window_samples // 2,), 2.0 / window_samples)  # the other half of all bins but the first
        share[0] /= 2
        self.register_buffer("share", share)

    def use(self, tables: tuple[Tensor, ...]) -> None:
        """Use the tables of ``FourierTables``."""
        self._coarse, self._twiddle, self._fine, self._coarse_back, self._fine_back = tables

    def analyse(self, windows: Tensor) -> Tensor:
        """``[rows, window]`` -> ``[rows, 2, bins]``."""
        coarse = self._coarse @ (windows * self.window).reshape(-1, self.rows, FINE)
        fine = (coarse.reshape(-1, self.rows, 4 * FINE) * self._twiddle) @ self._fine
        return fine.transpose(1, 2).reshape(-1, 2, self.length // 2)

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """``[rows, 2, bins]`` -> ``[rows, window]``, ready for overlap-add."""
        fine = (spectrum * self.share).reshape(-1, FINE, self.rows).transpose(1, 2) @ self._fine_back
        coarse = self._coarse_back @ (fine * self._twiddle).reshape(-1, 4 * self.rows, FINE)
        return coarse.reshape(-1, self.length) * self.synthesis


class Echo(nn.Module):
    """The analysis of a spectrum's synthesis, computed without samples.

    Applying the window twice is a convolution with the transform of the squared window, a few bins wide. Beyond either
    end a spectrum continues as its own conjugate; bin zero is real and the Nyquist bin is zero.
    """

    taps: Tensor
    signs: Tensor
    left: Tensor
    right: Tensor

    def __init__(self, frames: Frames) -> None:
        super().__init__()
        bins = frames.length // 2
        share = torch.fft.ifftshift((frames.window * frames.synthesis).double())
        taps = torch.fft.rfft(share).real / frames.length
        reach = int((taps.abs() > _NEGLIGIBLE).nonzero().max())
        taps = torch.cat([taps[1 : reach + 1].flip(0), taps[: reach + 1]]).float()
        signs = torch.ones(2, bins + 2 * reach)
        signs[1, :reach] = signs[1, -reach:] = -1
        signs[1, reach] = signs[0, -reach] = signs[1, -reach] = 0
        self.register_buffer("taps", taps.expand(2, 1, -1).clone())
        self.register_buffer("signs", signs)
        self.register_buffer("left", torch.arange(reach, 0, -1))
        self.register_buffer("right", bins - torch.arange(reach).clamp(min=1))

    def forward(self, spectrum: Tensor) -> Tensor:
        """``[rows, 2, bins]`` -> the same."""
        mirrored = torch.cat([spectrum[..., self.left], spectrum, spectrum[..., self.right]], dim=-1)
        return functional.conv1d(mirrored * self.signs, self.taps, groups=2)


def fourier_indices(length: int) -> tuple[Tensor, Tensor]:
    """Indices for ``FourierTables``: rows of samples, and samples within a row."""
    return torch.arange(length // FINE, dtype=torch.float32), torch.arange(FINE, dtype=torch.float32)


class FourierTables(nn.Module):
    """Compute ``coarse``, ``twiddle``, ``fine`` and their inverses for ``StagedFrames`` from indices."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length, self.rows = length, length // FINE

    def forward(self, row: Tensor, sample: Tensor) -> tuple[Tensor, ...]:
        real, imag = self._turn(row[:, None] * row, self.rows)
        coarse = torch.stack([real, real, imag, imag], dim=1).reshape(4 * self.rows, self.rows)
        centred = sample + self.length // 2
        twiddle = torch.cat(self._turn(row[:, None] * centred, self.length) * 2, dim=1)
        real, imag = self._turn(sample[:, None] * sample[: FINE // 2], FINE)
        one, imaginary = torch.cat([real, imag], dim=1), torch.cat([-imag, real], dim=1)
        fine = torch.cat([one, imaginary, imaginary, -one], dim=0)
        return coarse, twiddle, fine, coarse.T, fine.T

    @staticmethod
    def _turn(steps: Tensor, whole: int) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of a transform's twiddle factor."""
        angle = torch.remainder(steps, whole) * (-2 * torch.pi / whole)
        return angle.cos(), angle.sin()
