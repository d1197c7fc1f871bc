"""The whole embedded vocoder: magnitudes from the mel, then phases frame by frame from what was already produced."""

from __future__ import annotations

import torch
from networks import LOG_CEILING, MagnitudeConfig, MagnitudeNet
from phase import Frames, PhaseConfig, PhaseNet
from torch import Tensor, nn
from torch.nn import functional

from audio_avif.config import MelConfig

SILENT_LOG = -9.0


class Vocoder(nn.Module):
    """Received log-mel to samples, one frame of mel lookahead, causal in everything else."""

    lookahead_frames = MagnitudeNet.lookahead_frames

    def __init__(self, mel: MelConfig, magnitude: MagnitudeConfig, phase: PhaseConfig) -> None:
        super().__init__()
        self.magnitude = MagnitudeNet(mel, magnitude)
        self.phase = PhaseNet(mel, magnitude.channels, phase)
        self.frames = Frames(mel)

    @staticmethod
    def spectrum(phase: Tensor, log_size: Tensor) -> Tensor:
        """Phases of modulus one ``[..., 2, bins]`` and log-magnitude ``[..., bins]`` in one."""
        return phase * log_size.clamp(max=LOG_CEILING).exp().unsqueeze(-2)

    def guided(self, samples: Tensor, log_magnitude: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict every frame but the first from the true past, all at once.

        Shape: ``samples`` ``[batch, n_fft + hop * (frames - 1)]``, ``log_magnitude`` ``[batch, frames, bins + 1]``,
        ``hidden`` ``[batch, frames, channels]``. Returns phase ``[batch, frames - 1, 2, bins]``, log-magnitude and the
        true spectrum.
        """
        windows = samples.unfold(-1, self.frames.length, self.frames.hop)
        true = self.frames.analyse(windows)
        guess = self.frames.analyse(windows[:, 1:] * self.frames.past_share)
        phase, log_size = self._all_frames(guess, true[:, :-1], log_magnitude, hidden)
        return phase, log_size, true[:, 1:]

    def free(self, past: Tensor, before: Tensor, log_magnitude: Tensor, hidden: Tensor) -> Tensor:
        """Produce every frame but the first from the network's own output.

        The recursion runs without gradients; then all frames are computed once more, together, from the pasts it met.
        So a frame learns from all sound it is overlapped with, and nothing is propagated through the recursion, which
        would explode.

        Shape: ``past`` ``[batch, n_fft]``, the overlap-add under the second window so far; ``before``
        ``[batch, 2, bins]``, the first frame's spectrum; the others as in ``guided``. Returns ``[batch, n_fft + hop * (frames - 2)]``.
        """
        with torch.no_grad():
            guess, befores = self._recursion(past, before, log_magnitude, hidden)
        phase, log_size = self._all_frames(guess, befores, log_magnitude, hidden)
        pieces = self.frames.synthesise(self.spectrum(phase, log_size))
        produced = self.frames.overlap_add(pieces)
        return torch.cat([produced[:, : self.frames.length] + past, produced[:, self.frames.length :]], dim=1)

    def synthesize(self, log_mel: Tensor) -> Tensor:
        """A whole signal as a stream makes it: ``[batch, frames, n_mels]`` -> ``[batch, frames * hop]``."""
        batch, frames, _ = log_mel.shape
        log_magnitude, hidden = self.magnitude(functional.pad(log_mel, (0, 0, 0, 1), value=-10.0))
        log_magnitude = functional.pad(log_magnitude, (0, 0, 1, 1), value=SILENT_LOG)
        hidden = functional.pad(hidden, (0, 0, 1, 1))
        past = log_mel.new_zeros(batch, self.frames.length)
        guess, befores = self._recursion(past, self.frames.analyse(past), log_magnitude, hidden)
        phase, log_size = self._all_frames(guess, befores, log_magnitude, hidden)
        produced = self.frames.overlap_add(self.frames.synthesise(self.spectrum(phase, log_size)))
        return produced[:, self.frames.length // 2 :][:, : frames * self.frames.hop]

    def _recursion(self, past: Tensor, before: Tensor, log_magnitude: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """What the phase step meets at each frame but the first: its guesses and the spectra before them."""
        hop = self.frames.hop
        guesses, befores = [], []
        for frame in range(1, log_magnitude.shape[1]):
            guesses.append(self.frames.analyse(past))
            befores.append(before)
            log_before, log_now = log_magnitude[:, frame - 1, :-1], log_magnitude[:, frame, :-1]
            phase, log_size = self.phase(guesses[-1], before, log_now, log_before, hidden[:, frame])
            before = self.spectrum(phase, log_size)
            past = functional.pad((past + self.frames.synthesise(before))[:, hop:], (0, hop))
        return torch.stack(guesses, dim=1), torch.stack(befores, dim=1)

    def _all_frames(
        self, guess: Tensor, before: Tensor, log_magnitude: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        batch = guess.shape[0]
        inputs = (guess, before, log_magnitude[:, 1:, :-1], log_magnitude[:, :-1, :-1], hidden[:, 1:])
        phase, log_size = self.phase(*(each.flatten(0, 1) for each in inputs))
        return phase.unflatten(0, (batch, -1)), log_size.unflatten(0, (batch, -1))
