"""The project's mel analysis in torch, batched and differentiable."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audio_avif.config import MelConfig
from audio_avif.signal.features import hann, mel_basis


class Analysis(nn.Module):
    """Spectra and mel of ``[batch, window + hop * (frames - 1)]`` samples; frame k is window k, without padding.

    The mel equals the codec's only for windows of ``mel.n_fft``.
    """

    window: Tensor
    basis: Tensor

    def __init__(self, mel: MelConfig, window_samples: int) -> None:
        super().__init__()
        self._mel = mel
        self._length = window_samples
        self.register_buffer("window", torch.tensor(hann(window_samples), dtype=torch.float32), persistent=False)
        self.register_buffer("basis", torch.tensor(mel_basis(mel).T, dtype=torch.float32), persistent=False)

    def spectrum(self, samples: Tensor) -> Tensor:
        """``[batch, frames, window // 2 + 1] complex``."""
        spectrum: Tensor = torch.fft.rfft(samples.unfold(-1, self._length, self._mel.hop_samples) * self.window)
        return spectrum

    def magnitude(self, samples: Tensor) -> Tensor:
        """``[batch, frames, window // 2 + 1]``."""
        return self.spectrum(samples).abs()

    def log_mel(self, magnitude: Tensor) -> Tensor:
        """``[batch, frames, n_mels]``, log10."""
        return (magnitude @ self.basis).clamp(min=self._mel.floor).log10()
