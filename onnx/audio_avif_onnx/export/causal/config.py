"""The sizes of a causal generator, and what follows from them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from audio_avif.config import MelConfig


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
