"""A causal generator of the HiFi-GAN family: mel frames in, samples out, one frame of lookahead.

Frame-rate ConvNeXt blocks take the mel and its pseudo-inverse (Lv et al., FreeV, 2024); two causal transposed
convolutions, each followed by HiFi-GAN's sum of residual branches (Kong, Kim and Bae 2020), bring that to one step a
millisecond; each step is the spectrum of a short window, which an inverse STFT adds up (Kaneko et al., iSTFTNet, 2022).
Magnitudes are predicted as factors of the pseudo-inverse's. Phases start from a pulse train at the predicted
pitch (Wang, Takaki and Yamagishi 2019; with an inverse STFT: Li et al., HiFTNet, 2023): its phase is the one state of
unlimited length, which convolutions cannot keep.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from audio_avif_onnx.export.causal.config import CausalConfig
from audio_avif_onnx.export.causal.convolutions import SLOPE, CausalConv, CausalUpsampling, ResidualBranches
from audio_avif_onnx.export.causal.pitch import PitchHead
from audio_avif_onnx.export.causal.windows import Pulses, ShortEnvelope, ShortInverse
from audio_avif_onnx.export.members import members
from audio_avif_onnx.export.recurrent.magnitude import ConvNeXtBlock
from audio_avif_onnx.export.recurrent.prior import MagnitudePrior

SILENT_LOG10_MEL = -10.0
_LOG10_CEILING = 3.0
_LOG_CEILING = 4.0  # a full-scale tone has 2.8 in a window of 64 samples


class CausalGenerator(nn.Module):
    """Received log-mel to samples. Output sample 0 lies ``latency_samples`` before the centre of frame 0."""

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
        self.envelope = ShortEnvelope(config)

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
        shapes += [self.leave.past_shape, self.envelope.past_shape, self.inverse.past_shape]
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
            hidden, past = upsampling(functional.leaky_relu(hidden, SLOPE), next(pasts))
            next_pasts.append(past)
            if residual is self.residuals[-1]:
                hidden = hidden + told
            hidden = residual(hidden, pasts, next_pasts)
        hidden, past = self.leave(functional.leaky_relu(hidden, SLOPE), next(pasts))
        next_pasts.append(past)
        factor, real, imaginary, keep, turn = hidden.float().transpose(1, 2).chunk(5, dim=2)
        real = real + keep * pulse_real - turn * pulse_imaginary
        imaginary = imaginary + keep * pulse_imaginary + turn * pulse_real
        envelope, past = self.envelope(prior, next(pasts))
        next_pasts.append(past)
        size = (envelope + factor).clamp(max=_LOG_CEILING).exp()
        samples, past = self.inverse(size * real, size * imaginary, next(pasts))
        return samples, likely, [*next_pasts, past]

    def forward(self, log_mel: Tensor, known_pitch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A segment after silence: ``[batch, frames, n_mels]`` -> the samples and pitch logits of ``stream``."""
        samples, likely, _ = self.stream(log_mel, self.zero_state(log_mel.shape[0]), known_pitch)
        return samples, likely

    def synthesize(self, log_mel: Tensor) -> Tensor:
        """Synthesize a whole signal as a stream does: ``[batch, frames, n_mels]`` -> ``[batch, frames * hop]``."""
        tail = functional.pad(log_mel, (0, 0, 0, self.config.lookahead_frames), value=SILENT_LOG10_MEL)
        samples: Tensor = self(tail)[0]
        return samples[:, self.config.latency_samples :]
