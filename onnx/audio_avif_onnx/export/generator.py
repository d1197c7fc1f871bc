"""A causal generator of the HiFi-GAN family: mel frames in, samples out, one frame of lookahead.

Frame-rate ConvNeXt blocks take the mel and its pseudo-inverse (Lv et al., FreeV, 2024); two causal transposed
convolutions, each followed by HiFi-GAN's sum of residual branches (Kong, Kim and Bae 2020), bring that to one step a
millisecond; each step is the spectrum of a short window, which an inverse STFT adds up (Kaneko et al., iSTFTNet, 2022).
Magnitudes are predicted as factors of the pseudo-inverse's. Phases start from a pulse train at the predicted
pitch (Wang, Takaki and Yamagishi 2019; with an inverse STFT: Li et al., HiFTNet, 2023): its phase is the one state of
unlimited length, which convolutions cannot keep.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from audio_avif.config import MelConfig
from audio_avif.signal.features import hann
from audio_avif_onnx.export.members import members
from audio_avif_onnx.export.precision import without_autocast
from audio_avif_onnx.export.recurrent.magnitude import ConvNeXtBlock
from audio_avif_onnx.export.recurrent.prior import LOG_FLOOR, MagnitudePrior

SILENT_LOG10_MEL = -10.0
_LOG10_CEILING = 3.0
_LOG_CEILING = 4.0  # a full-scale tone has 2.8 in a window of 64 samples
_SLOPE = 0.1
PITCH_HZ = (60, 400)
_HIGHEST_HZ = 7800.0
_CORRELATED_HZ = (62.5, 2000.0)  # above, mel bands are wider than harmonics are apart
_SHARPNESS = 40.0
_PITCH_STEPS = 96  # an octave
_TICKS = 2**24  # of a cycle: whole numbers that single precision holds, so that no chunking turns the phase


@dataclass(frozen=True)
class CausalConfig:
    """Sizes of a causal generator; hop and window of its inverse STFT follow from the mel's hop and ``rates``."""

    mel: MelConfig = field(default_factory=MelConfig)
    channels: int = 256
    blocks: int = 4
    expansion: int = 2
    kernel: int = 5
    rates: tuple[int, ...] = (4, 4)
    widths: tuple[int, ...] = (128, 64)
    branch_kernels: tuple[int, ...] = (3, 7)
    branch_dilations: tuple[int, ...] = (1, 3)
    windows_overlapping: int = 4

    def __post_init__(self) -> None:
        if not self.rates or len(self.rates) != len(self.widths):
            raise ValueError("a generator needs one width for each of its rates")
        if self.mel.hop_samples % math.prod(self.rates):
            raise ValueError(f"rates {self.rates} do not divide a hop of {self.mel.hop_samples} samples")
        if self.windows_overlapping < 2 or self.kernel < 2 or min(self.branch_kernels) < 2:
            raise ValueError("windows must overlap, and kernels reach back: both need 2 or more")

    @property
    def steps(self) -> int:
        """Short windows a frame."""
        return math.prod(self.rates)

    @property
    def hop_samples(self) -> int:
        """Hop of the inverse STFT."""
        return self.mel.hop_samples // self.steps

    @property
    def window_samples(self) -> int:
        """Window of the inverse STFT."""
        return self.hop_samples * self.windows_overlapping

    @property
    def bins(self) -> int:
        """Frequency bins of that window, from zero to the Nyquist frequency."""
        return self.window_samples // 2 + 1

    @property
    def lookahead_frames(self) -> int:
        """Mel frames that a sample waits for after its own."""
        return 1

    @property
    def latency_samples(self) -> int:
        """Delay from a frame's centre to the output of its sample.

        The windows of a frame's steps begin with the samples that the frame completes, so their overlap adds no
        delay: only the lookahead does.
        """
        return self.lookahead_frames * self.mel.hop_samples

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CausalConfig:
        """Inverse of ``to_dict``. Raises KeyError, TypeError or ValueError for other values."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**(plain | {"mel": MelConfig(**values["mel"])}))


class CausalConv(nn.Module):
    """Convolution over present and past steps of ``[batch, channels, steps]``, zero before the first."""

    def __init__(self, channels: int, out_channels: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.past_shape = (channels, (kernel - 1) * dilation)
        self.conv = nn.Conv1d(channels, out_channels, kernel, dilation=dilation)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and the last steps, the ``past`` of the next call."""
        whole = torch.cat([past.to(x.dtype), x], dim=2)
        return self.conv(whole), whole[:, :, -self.past_shape[1] :]


class CausalUpsampling(nn.Module):
    """Transposed convolution whose kernel spans two steps: ``rate`` outputs from a step and the one before it."""

    def __init__(self, channels: int, out_channels: int, rate: int) -> None:
        super().__init__()
        self._rate = rate
        self.conv = CausalConv(channels, out_channels * rate, 2)
        self.past_shape = self.conv.past_shape

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        phases, past = self.conv(x, past)
        return phases.unflatten(1, (-1, self._rate)).transpose(2, 3).flatten(2), past


class ResidualBranches(nn.Module):
    """Mean of residual branches of several kernels, each a chain of dilated convolutions (HiFi-GAN's MRF, type 2)."""

    def __init__(self, channels: int, kernels: tuple[int, ...], dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.ModuleList(CausalConv(channels, channels, kernel, dilation) for dilation in dilations)
            for kernel in kernels
        )

    def forward(self, x: Tensor, pasts: Iterator[Tensor], next_pasts: list[Tensor]) -> Tensor:
        results = []
        for branch in members(self.branches, nn.ModuleList):
            hidden = x
            for conv in branch:
                change, past = conv(functional.leaky_relu(hidden, _SLOPE), next(pasts))
                hidden = hidden + change
                next_pasts.append(past)
            results.append(hidden)
        return torch.stack(results).mean(dim=0)


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


class PitchHead(nn.Module):
    """Scores of all periods: the autocorrelation of the prior's power spectrum plus a learned correction.

    Shape: prior ``[batch, frames, bins]`` and hidden ``[batch, frames, channels]`` -> ``[batch, frames, lags]``,
    the logits of a softmax.
    """

    octaves: Tensor
    table: Tensor
    likelihood: Tensor

    def __init__(self, mel: MelConfig, channels: int) -> None:
        super().__init__()
        lags = torch.arange(mel.rate_hz // PITCH_HZ[1], mel.rate_hz // PITCH_HZ[0] + 1)
        self.register_buffer("octaves", torch.log2(mel.rate_hz / PITCH_HZ[0] / lags), persistent=False)
        low, high = (round(hz * mel.n_fft / mel.rate_hz) for hz in _CORRELATED_HZ)
        self._bins = slice(low, high)
        angle = 2 * math.pi / mel.n_fft * torch.arange(low, high)[:, None] * lags
        self.register_buffer("table", angle.cos(), persistent=False)
        falling = _SHARPNESS * (1 - 0.1 * torch.linspace(0, 1, lags.numel()))  # multiples of a period fit as well
        self.register_buffer("likelihood", falling, persistent=False)
        self.learned = nn.Linear(channels, lags.numel())
        nn.init.zeros_(self.learned.weight)

    def forward(self, prior: Tensor, hidden: Tensor) -> Tensor:
        likely: Tensor = self._correlation(prior) + self.learned(hidden).float()
        return likely

    @without_autocast
    def _correlation(self, prior: Tensor) -> Tensor:
        power = (2 * prior[..., self._bins]).exp()
        return (power @ self.table) / power.sum(dim=-1, keepdim=True) * self.likelihood

    def pitch(self, likely: Tensor) -> Tensor:
        """Expected pitch in octaves above the lowest, ``[batch, frames, 1]``."""
        return (likely.softmax(dim=-1) * self.octaves).sum(dim=-1, keepdim=True)

    def rounded(self, likely: Tensor) -> Tensor:
        """The pitch, rounded to about an eighth of a semitone.

        Matrix products round differently for other numbers of frames. Without rounding the phase would drift with
        every frame, and the output would depend on the chunks of a stream.
        """
        return (self.pitch(likely) * _PITCH_STEPS).round() / _PITCH_STEPS


class CausalGenerator(nn.Module):
    """Received log-mel to samples. Output sample 0 lies ``latency_samples`` before the centre of frame 0."""

    pool: Tensor
    ramp: Tensor

    def __init__(self, config: CausalConfig) -> None:
        super().__init__()
        self.config = config
        mel_bins = config.mel.n_fft // 2 + 1
        self.prior = MagnitudePrior(config.mel)
        self.enter = nn.Linear(config.mel.n_mels + mel_bins, config.channels)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(config.channels, config.expansion, config.kernel) for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.channels)
        widths = (config.channels, *config.widths)
        self.upsamplings = nn.ModuleList(
            CausalUpsampling(wide, narrow, rate)
            for wide, narrow, rate in zip(widths, widths[1:], config.rates, strict=False)
        )
        self.residuals = nn.ModuleList(
            ResidualBranches(width, config.branch_kernels, config.branch_dilations) for width in config.widths
        )
        self.pitch = PitchHead(config.mel, config.channels)
        self.pulses = Pulses(config)
        self.listen = nn.Linear(2 * config.bins, config.widths[-1])
        self.leave = CausalConv(config.widths[-1], 5 * config.bins, config.kernel)
        with torch.no_grad():  # pulses as they are, until something better is learned
            self.leave.conv.weight[3 * config.bins :] *= 0.3
            assert self.leave.conv.bias is not None
            self.leave.conv.bias[3 * config.bins : 4 * config.bins] = 0.7
        self.inverse = ShortInverse(config.window_samples, config.hop_samples)
        # Power in a short window's bin: what its triangle of the long window's bins holds, as the windows' energies.
        centres = torch.arange(config.bins) * ((mel_bins - 1) // (config.bins - 1))
        distance = (torch.arange(mel_bins)[:, None] - centres).abs() / centres[1]
        triangles = (1 - distance).clamp(min=0)
        share = config.window_samples / config.mel.n_fft
        self.register_buffer("pool", triangles / triangles.sum(dim=0) * share, persistent=False)
        self._silent = math.log(LOG_FLOOR) + 0.5 * math.log(share)
        # How far the middle of each step's window is from the frame before to this one.
        middles = torch.arange(config.steps) * config.hop_samples + config.window_samples // 2
        self.register_buffer("ramp", (middles / config.mel.hop_samples).clamp(max=1.0), persistent=False)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes, without the batch, of the state of ``stream``."""
        config = self.config
        shapes: list[tuple[int, ...]] = [(config.kernel - 1, config.channels)] * config.blocks
        names = [*(f"block{number}" for number in range(config.blocks)), "pitch", "phase"]
        shapes += [(1, 1), (1, 1)]
        upsamplings = members(self.upsamplings, CausalUpsampling)
        residuals = members(self.residuals, ResidualBranches)
        for level, (upsampling, residual) in enumerate(zip(upsamplings, residuals, strict=True)):
            branches = members(residual.branches, nn.ModuleList)
            inner = [conv.past_shape for branch in branches for conv in members(branch, CausalConv)]
            names += [f"upsampling{level}", *(f"residual{level}_{number}" for number in range(len(inner)))]
            shapes += [upsampling.past_shape, *inner]
        names += ["leave", "envelope", "windows"]
        shapes += [self.leave.past_shape, (1, config.bins), self.inverse.past_shape]
        return dict(zip(names, shapes, strict=True))

    def zero_state(self, batch: int) -> list[Tensor]:
        """Silence before the first frame."""
        return [self.enter.weight.new_zeros(batch, *shape) for shape in self.state_shapes().values()]

    def stream(
        self, log_mel: Tensor, state: list[Tensor], known_pitch: Tensor | None = None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return samples ``[batch, frames * hop]`` of ``[batch, frames, n_mels]``, pitch logits and the next state.

        ``known_pitch`` ``[batch, frames, 1]``, octaves above the lowest, replaces the predicted pitch except for NaN.
        NaN in the mel counts as silence.
        """
        pasts = iter(state)
        next_pasts: list[Tensor] = []
        log_mel = torch.where(log_mel.isnan(), torch.full_like(log_mel, SILENT_LOG10_MEL), log_mel)
        log_mel = log_mel.clamp(-6.0, _LOG10_CEILING)
        prior = self.prior(log_mel)
        x = self.enter(torch.cat([(log_mel + 3.0) / 1.5, (prior + 2.0) / 3.0], dim=-1))
        for block in self.blocks:
            x, past = block(x, next(pasts))
            next_pasts.append(past)
        x = self.norm(x)
        likely = self.pitch(prior, x)
        taken = self.pitch.rounded(likely).detach()
        if known_pitch is not None:
            taken = torch.where(known_pitch.isnan(), taken, known_pitch)
        pulse_real, pulse_imaginary, *after = self.pulses(taken, next(pasts), next(pasts))
        next_pasts += after
        told = self.listen(torch.cat([pulse_real, pulse_imaginary], dim=2)).transpose(1, 2)
        hidden = x.transpose(1, 2)
        for upsampling, residual in zip(self.upsamplings, self.residuals, strict=True):
            hidden, past = upsampling(functional.leaky_relu(hidden, _SLOPE), next(pasts))
            next_pasts.append(past)
            if residual is self.residuals[-1]:
                hidden = hidden + told
            hidden = residual(hidden, pasts, next_pasts)
        hidden, past = self.leave(functional.leaky_relu(hidden, _SLOPE), next(pasts))
        next_pasts.append(past)
        factor, real, imaginary, keep, turn = hidden.float().transpose(1, 2).chunk(5, dim=2)
        real = real + keep * pulse_real - turn * pulse_imaginary
        imaginary = imaginary + keep * pulse_imaginary + turn * pulse_real
        envelope, past = self._envelope(prior, next(pasts))
        next_pasts.append(past)
        size = (envelope + factor).clamp(max=_LOG_CEILING).exp()
        samples, past = self.inverse(size * real, size * imaginary, next(pasts))
        return samples, likely, [*next_pasts, past]

    @without_autocast
    def _envelope(self, prior: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Expected log-magnitude ``[batch, steps, bins]`` relative to silence, interpolated linearly between frames."""
        levels = 0.5 * ((2 * prior).exp() @ self.pool).log() - self._silent
        whole = torch.cat([past, levels], dim=1)
        before, now = whole[:, :-1, None], whole[:, 1:, None]
        between = before + (now - before) * self.ramp[:, None]
        return between.flatten(1, 2) + self._silent, whole[:, -1:]

    def forward(self, log_mel: Tensor, known_pitch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A segment after silence: ``[batch, frames, n_mels]`` -> the samples and pitch logits of ``stream``."""
        samples, likely, _ = self.stream(log_mel, self.zero_state(log_mel.shape[0]), known_pitch)
        return samples, likely

    def synthesize(self, log_mel: Tensor) -> Tensor:
        """Synthesize a whole signal as a stream does: ``[batch, frames, n_mels]`` -> ``[batch, frames * hop]``."""
        tail = functional.pad(log_mel, (0, 0, 0, self.config.lookahead_frames), value=SILENT_LOG10_MEL)
        samples: Tensor = self(tail)[0]
        return samples[:, self.config.latency_samples :]
