"""Sizes of a recurrent vocoder, as they stand in its checkpoints."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from audio_avif.config import MelConfig


@dataclass(frozen=True)
class MagnitudeConfig:
    """Sizes of the magnitude network."""

    channels: int = 256
    blocks: int = 6
    expansion: int = 2
    kernel: int = 5


@dataclass(frozen=True)
class PhaseConfig:
    """Sizes of the phase network: a token stands for ``stride`` bins and sees twice as many."""

    channels: int = 64
    blocks: int = 3
    expansion: int = 2
    stride: int = 8


@dataclass(frozen=True)
class RecurrentConfig:
    """A whole vocoder. Its windows are centred on the mel's frames, and may be shorter than the mel's own."""

    mel: MelConfig = field(default_factory=MelConfig)
    window_samples: int = 1024
    lookahead_frames: int = 1
    magnitude: MagnitudeConfig = field(default_factory=MagnitudeConfig)
    phase: PhaseConfig = field(default_factory=PhaseConfig)

    def __post_init__(self) -> None:
        if self.lookahead_frames not in (0, 1):
            raise ValueError(f"lookahead_frames must be 0 or 1, not {self.lookahead_frames}")
        if self.mel.n_fft % self.window_samples or self.window_samples < 2 * self.mel.hop_samples:
            raise ValueError(f"window_samples must divide {self.mel.n_fft} and hold two hops: {self.window_samples}")

    @property
    def bins(self) -> int:
        """Frequency bins of a window, from zero to the Nyquist frequency."""
        return self.window_samples // 2 + 1

    @property
    def latency_samples(self) -> int:
        """From a frame's centre to the moment when its sample there is final: mel lookahead and overlap-add."""
        return self.lookahead_frames * self.mel.hop_samples + self.window_samples // 2

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RecurrentConfig:
        """Raises KeyError, TypeError or ValueError for what ``to_dict`` does not give."""
        return cls(
            mel=MelConfig(**values["mel"]),
            window_samples=values["window_samples"],
            lookahead_frames=values["lookahead_frames"],
            magnitude=MagnitudeConfig(**values["magnitude"]),
            phase=PhaseConfig(**values["phase"]),
        )


LOW_DELAY = RecurrentConfig(window_samples=512, lookahead_frames=0, magnitude=MagnitudeConfig(blocks=4))
