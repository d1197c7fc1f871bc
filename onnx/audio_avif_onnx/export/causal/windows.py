"""Short windows: the spectra of a pulse train in them, the envelope of the prior, and the inverse STFT."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from audio_avif.signal.features import hann
from audio_avif_onnx.export.causal.config import CausalConfig
from audio_avif_onnx.export.causal.pitch import PITCH_HZ
from audio_avif_onnx.export.precision import without_autocast
from audio_avif_onnx.export.recurrent.prior import LOG_FLOOR

_HIGHEST_HZ = 7800.0
_TICKS = 2**24  # of a cycle: whole numbers that single precision holds, so that no chunking turns the phase


class ShortInverse(nn.Module):
    """Spectra ``[batch, steps, bins]``, real and imaginary, to ``[batch, steps * hop]`` by overlap-add."""

    table: Tensor

    def __init__(self, window_samples: int, hop_samples: int) -> None:
        super().__init__()
        self._hop = hop_samples
        self.past_shape = (window_samples // hop_samples - 1, window_samples)
        window = torch.tensor(hann(window_samples), dtype=torch.float64)
        gain = window.square().sum() / hop_samples
        # Rows: what one real, then one imaginary part adds to a window.
        parts = torch.eye(window_samples // 2 + 1, dtype=torch.complex128)
        rows = torch.fft.irfft(torch.cat([parts, 1j * parts]), n=window_samples)
        self.register_buffer("table", (rows * window / gain).float(), persistent=False)

    def forward(self, real: Tensor, imaginary: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """``past`` holds the previous windows, as returned by the previous call."""
        windows = torch.cat([past, torch.cat([real, imaginary], dim=2) @ self.table], dim=1)
        before = self.past_shape[0]
        samples = windows[:, before:, : self._hop]
        for age in range(1, before + 1):
            samples = samples + windows[:, before - age : -age, age * self._hop : (age + 1) * self._hop]
        return samples.flatten(1), windows[:, -before:]


class Pulses(nn.Module):
    """The spectra of short windows of a pulse train with continuous phase.

    Pitch is in octaves above the lowest, interpolated linearly from frame to frame.

    Shape: pitch ``[batch, frames, 1]`` -> real and imaginary parts ``[batch, frames * steps, bins]``.
    """

    table: Tensor
    ramp: Tensor
    ahead: Tensor

    def __init__(self, config: CausalConfig) -> None:
        super().__init__()
        self._rate_hz = config.mel.rate_hz
        self._hop = config.hop_samples
        window = torch.tensor(hann(config.window_samples), dtype=torch.float64)
        spectrum = torch.fft.rfft(torch.eye(config.window_samples, dtype=torch.float64)) * window[:, None]
        # White noise of power one would have the power one in every bin.
        table = torch.cat([spectrum.real, spectrum.imag], dim=1) / window.square().sum().sqrt()
        self.register_buffer("table", table.float(), persistent=False)
        self.register_buffer("ramp", (torch.arange(config.steps) + 1.0) / config.steps, persistent=False)
        self.register_buffer("ahead", torch.arange(float(config.window_samples)), persistent=False)

    @without_autocast
    def forward(self, pitch: Tensor, past_pitch: Tensor, past_phase: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Also return the ``past`` of the next call."""
        whole = torch.cat([past_pitch, pitch.float()], dim=1)
        before, now = whole[:, :-1], whole[:, 1:]
        pitch_hz = PITCH_HZ[0] * torch.exp(math.log(2) * (before + (now - before) * self.ramp)).flatten(1)
        advance = (pitch_hz * (self._hop * _TICKS / self._rate_hz)).round().long()
        after = (past_phase.flatten(1).long() + advance.cumsum(dim=1)) % _TICKS
        start = torch.cat([past_phase.flatten(1), after[:, :-1].float()], dim=1) / _TICKS
        turns = start[:, :, None] + pitch_hz[:, :, None] * (self.ahead / self._rate_hz)
        turns = math.pi * (turns - turns.round())
        # All harmonics below the highest, and a share of the next, so that none comes or goes at once.
        count = _HIGHEST_HZ / pitch_hz[:, :, None]
        whole_count = count.floor()
        sine = torch.sin(turns)
        top = sine.abs() < 1e-6
        kernel = torch.sin((2 * whole_count + 1) * turns) / torch.where(top, torch.ones_like(sine), sine)
        last = (count - whole_count) * torch.cos((2 * whole_count + 2) * turns)
        pulses = torch.where(top, 2 * whole_count + 1, kernel) - 1 + 2 * last
        # As loud for any pitch: a pulse of height one every period, less often at low pitch.
        pulses = pulses * (pitch_hz[:, :, None] / self._rate_hz).sqrt()
        real, imaginary = (pulses @ self.table).chunk(2, dim=2)
        return real, imaginary, whole[:, -1:], after[:, -1:, None].float()


class ShortEnvelope(nn.Module):
    """Expected log-magnitudes of short windows, interpolated linearly from frame to frame.

    Shape: prior ``[batch, frames, bins of the mel]`` -> ``[batch, frames * steps, bins]``.
    """

    pool: Tensor
    ramp: Tensor

    def __init__(self, config: CausalConfig) -> None:
        super().__init__()
        self.past_shape = (1, config.bins)
        # Power in a short window's bin: what its triangle of the long window's bins holds, as the windows' energies.
        mel_bins = config.mel.n_fft // 2 + 1
        centres = torch.arange(config.bins) * ((mel_bins - 1) // (config.bins - 1))
        distance = (torch.arange(mel_bins)[:, None] - centres).abs() / centres[1]
        triangles = (1 - distance).clamp(min=0)
        share = config.window_samples / config.mel.n_fft
        self.register_buffer("pool", triangles / triangles.sum(dim=0) * share, persistent=False)
        self._silent = math.log(LOG_FLOOR) + 0.5 * math.log(share)
        # How far the middle of each step's window is from the frame before to this one.
        middles = torch.arange(config.steps) * config.hop_samples + config.window_samples // 2
        self.register_buffer("ramp", (middles / config.mel.hop_samples).clamp(max=1.0), persistent=False)

    @without_autocast
    def forward(self, prior: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """``past`` holds the last frame's levels relative to silence, as returned by the previous call."""
        levels = 0.5 * ((2 * prior).exp() @ self.pool).log() - self._silent
        whole = torch.cat([past, levels], dim=1)
        before, now = whole[:, :-1, None], whole[:, 1:, None]
        between = before + (now - before) * self.ramp[:, None]
        return between.flatten(1, 2) + self._silent, whole[:, -1:]
