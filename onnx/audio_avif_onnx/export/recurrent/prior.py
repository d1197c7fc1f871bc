"""Mel to magnitude without training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from audio_avif.config import MelConfig
from audio_avif.signal.features import mel_basis
from audio_avif_onnx.export.precision import without_autocast

LOG_FLOOR = 2e-4
_MEL_LOG10_FLOOR = -6.0
_MEL_LOG10_CEILING = 3.0
_ENVELOPE_SHARE = 0.1
_REFINEMENTS = 4
_OVERRELAXATION = 1.8
_TINY = 1e-12


class MagnitudePrior(nn.Module):
    """Log-mel to a first guess of the natural-log magnitude: the pseudo-inverse, kept above a fraction of the smooth
    envelope where it would be negative (Lv et al., FreeV, 2024), then made to agree with its mel bands again by
    multiplicative updates (Richardson 1972, Lucy 1974; over-relaxed).

    Shape: ``[batch, frames, n_mels]`` log10 -> ``[batch, frames, n_fft // 2 + 1]`` natural log.
    """

    basis: Tensor
    inverse: Tensor
    band_totals: Tensor
    bin_totals: Tensor

    def __init__(self, mel: MelConfig) -> None:
        super().__init__()
        basis = mel_basis(mel)
        for name, values in (
            ("basis", basis),
            ("inverse", np.linalg.pinv(basis).T),
            ("band_totals", basis.sum(axis=1)),
            ("bin_totals", basis.sum(axis=0) + _TINY),
        ):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)

    @without_autocast
    def forward(self, log_mel: Tensor) -> Tensor:
        mel = torch.pow(10.0, log_mel.float().clamp(_MEL_LOG10_FLOOR, _MEL_LOG10_CEILING))
        bins = torch.maximum(mel @ self.inverse, _ENVELOPE_SHARE * self._share_out(mel / self.band_totals))
        for _ in range(_REFINEMENTS):
            bins = bins * self._share_out(mel / (bins @ self.basis.T + _TINY)) ** _OVERRELAXATION
        return bins.clamp(min=LOG_FLOOR).log()

    def _share_out(self, bands: Tensor) -> Tensor:
        """Give every bin the mean of its bands; 0 outside all bands."""
        return (bands @ self.basis) / self.bin_totals
