"""Sizes of a recurrent vocoder, as stored in its checkpoints."""

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
    """Sizes of the phase network: a token covers ``stride`` bins and takes in twice as many."""

    channels: int = 64
    blocks: int = 3
    expansion: int = 2
    stride: int = 8


@dataclass(frozen=True)
class PassConfig:
    """One pass of the refiner: its window, its hop, and the layout of its network.

    ``lookaheads`` has one number of frames for each block.
    """

    window_samples: int
    hop_samples: int
    lookaheads: tuple[int, ...]
    channels: int = 64
    expansion: int = 2
    kernel: int = 3
    stride: int = 8

    def __post_init__(self) -> None:
        if self.window_samples % self.hop_samples or self.window_samples // 2 % self.stride:
            raise ValueError("hop_samples and twice the stride must divide window_samples")
        if not all(0 <= lookahead < self.kernel for lookahead in self.lookaheads):
            raise ValueError(f"each lookahead must be 0 to {self.kernel - 1} frames, not {self.lookaheads}")

    @property
    def bins(self) -> int:
        """Frequency bins of a window without the Nyquist frequency."""
        return self.window_samples // 2

    @property
    def lookahead_frames(self) -> int:
        """Delay of the output in frames."""
        return sum(self.lookaheads)

    @property
    def latency_samples(self) -> int:
        """Delay of the pass: a whole window and its lookahead."""
        return self.window_samples - self.hop_samples + self.lookahead_frames * self.hop_samples


@dataclass(frozen=True)
class RefinerConfig:
    """The second stage: a network over the magnitude network's features, and passes over the sound.

    ``lookaheads`` are those of the blocks over features, which cost no delay as long as the first pass waits for sound.
    """

    lookaheads: tuple[int, ...] = (2, 1, 0)
    expansion: int = 2
    kernel: int = 7
    passes: tuple[PassConfig, ...] = (
        PassConfig(1024, 256, (1, 1, 0, 0, 0)),
        PassConfig(512, 128, (1, 0, 0)),
    )

    @property
    def latency_samples(self) -> int:
        """Delay of the second stage."""
        return sum(each.latency_samples for each in self.passes)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RefinerConfig:
        """Inverse of ``asdict``. Raises KeyError, TypeError or ValueError for other values."""
        passes = tuple(PassConfig(**each | {"lookaheads": tuple(each["lookaheads"])}) for each in values["passes"])
        return cls(**values | {"lookaheads": tuple(values["lookaheads"]), "passes": passes})


@dataclass(frozen=True)
class RecurrentConfig:
    """A whole vocoder. Its windows are centred on the mel's frames, and may be shorter than the mel's own."""

    mel: MelConfig = field(default_factory=MelConfig)
    window_samples: int = 1024
    lookahead_frames: int = 1
    magnitude: MagnitudeConfig = field(default_factory=MagnitudeConfig)
    phase: PhaseConfig = field(default_factory=PhaseConfig)
    refiner: RefinerConfig | None = None

    def __post_init__(self) -> None:
        if self.lookahead_frames not in (0, 1):
            raise ValueError(f"lookahead_frames must be 0 or 1, not {self.lookahead_frames}")
        if self.mel.n_fft % self.window_samples or self.window_samples < 2 * self.mel.hop_samples:
            raise ValueError(f"window_samples must divide {self.mel.n_fft} and hold two hops: {self.window_samples}")
        _ = self.refiner_delays  # raises ValueError for lookaheads that do not fit

    @property
    def bins(self) -> int:
        """Frequency bins of a window, from zero to the Nyquist frequency."""
        return self.window_samples // 2 + 1

    @property
    def latency_samples(self) -> int:
        """Delay from a frame's centre to the output of its sample: mel lookahead and overlap-add."""
        return self._first_stage_samples + (self.refiner.latency_samples if self.refiner else 0)

    @property
    def refiner_delays(self) -> list[int]:
        """Number of spectra by which each pass of the second stage lags the features, because it waits for sound.

        Raises ValueError where features would be later than the sound.
        """
        if self.refiner is None:
            return []
        hop, delays = self.mel.hop_samples, []
        # where the finished sound ends, from the centre of the newest frame that has features
        end = hop * (1 + self.lookahead_frames + sum(self.refiner.lookaheads)) - self._first_stage_samples
        for each in self.refiner.passes:
            newest = hop - each.hop_samples  # the centre of that frame's last spectrum
            delays.append((newest + each.window_samples // 2 - end) // each.hop_samples)
            end -= each.latency_samples
        if min(delays, default=0) < 0:
            raise ValueError(
                "the second stage's blocks over features look further ahead than its passes wait for sound"
            )
        return delays

    @property
    def _first_stage_samples(self) -> int:
        return self.lookahead_frames * self.mel.hop_samples + self.window_samples // 2

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint."""
        values = asdict(self)
        if self.refiner is None:  # checkpoints without a second stage stay as they were
            del values["refiner"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RecurrentConfig:
        """Inverse of ``to_dict``. Raises KeyError, TypeError or ValueError for other values."""
        return cls(
            mel=MelConfig(**values["mel"]),
            window_samples=values["window_samples"],
            lookahead_frames=values["lookahead_frames"],
            magnitude=MagnitudeConfig(**values["magnitude"]),
            phase=PhaseConfig(**values["phase"]),
            refiner=RefinerConfig.from_dict(values["refiner"]) if values.get("refiner") else None,
        )


LOW_DELAY = RecurrentConfig(window_samples=512, lookahead_frames=0, magnitude=MagnitudeConfig(blocks=4))
HIGH_QUALITY = RecurrentConfig(refiner=RefinerConfig())
