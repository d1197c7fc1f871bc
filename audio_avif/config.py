"""What sender, receiver and model must agree on: the mel definition and the tile format."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

_T = TypeVar("_T")

RATE_HZ = 16_000
"""The rate inside; files and devices of any other are resampled at the edge."""

MAX_RATE_HZ = 10_000_000
"""The highest rate of a recording."""

MIN_TILE_FRAMES = 2
MAX_TILE_FRAMES = 64

MIN_BITRATE_KBPS = 2.0
MAX_BITRATE_KBPS = 24.0
MAX_REDUNDANCY = 8


def whole_rate_hz(rate_hz: float) -> int:
    """Return a caller's rate as an int; sound devices and numpy have rates that are floats.

    Raises TypeError for what is no number, ValueError for a rate that is not a whole number from 1 to MAX_RATE_HZ.
    """
    if isinstance(rate_hz, bool) or not isinstance(rate_hz, numbers.Real):
        raise TypeError(f"rate_hz must be a number, not {type(rate_hz).__name__}")
    if not 1 <= rate_hz <= MAX_RATE_HZ or rate_hz != int(rate_hz):
        raise ValueError(f"rate_hz must be a whole number from 1 to {MAX_RATE_HZ}, not {rate_hz}")
    return int(rate_hz)


def _from_mapping(cls: type[_T], values: Mapping[str, Any]) -> _T:
    """Build a configuration from untrusted JSON: exact keys, numbers where numbers belong."""
    types = {f.name: f.type for f in fields(cls)}  # type: ignore[arg-type]
    if not isinstance(values, Mapping) or set(values) != set(types):
        raise ValueError(f"{cls.__name__} needs exactly the keys {', '.join(sorted(types))}")
    checked: dict[str, Any] = {}
    for name, value in values.items():
        wants_int = types[name] == "int"
        if isinstance(value, bool) or not isinstance(value, int if wants_int else (int, float)):
            raise ValueError(f"{cls.__name__}.{name} must be a number, not {value!r:.40}")
        try:
            checked[name] = value if wants_int else float(value)
        except OverflowError as error:
            raise ValueError(f"{cls.__name__}.{name} is too large a number") from error
    return cls(**checked)


@dataclass(frozen=True)
class MelConfig:
    """The log-mel definition: periodic Hann, centred STFT, Slaney scale and area norm, magnitude, log10.

    The defaults are what microsoft/speecht5_hifigan was trained on. Scale, norm and power are not fields: another
    choice of them is another codec, and a model trained on it must not load.
    """

    rate_hz: int = RATE_HZ
    n_fft: int = 1024
    hop_samples: int = 256
    n_mels: int = 80
    fmin_hz: float = 80.0
    fmax_hz: float = 7600.0
    floor: float = 1e-10

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate_hz", whole_rate_hz(self.rate_hz))
        if not 4_000 <= self.rate_hz <= 192_000:
            raise ValueError(f"rate_hz must be 4000 to 192000, not {self.rate_hz}")
        if not (64 <= self.n_fft <= 8192 and self.n_fft % 2 == 0):
            raise ValueError(f"n_fft must be an even number from 64 to 8192, not {self.n_fft}")
        if not 16 <= self.hop_samples <= self.n_fft or self.n_fft % self.hop_samples:
            raise ValueError(f"hop_samples must divide n_fft and be at least 16, not {self.hop_samples}")
        if not 8 <= self.n_mels <= 256:
            raise ValueError(f"n_mels must be 8 to 256, not {self.n_mels}")
        if not 0 <= self.fmin_hz < self.fmax_hz <= self.rate_hz / 2:
            raise ValueError(f"mel bands must lie within 0 and half the rate, not {self.fmin_hz}-{self.fmax_hz} Hz")
        if not 0 < self.floor < 1:
            raise ValueError(f"floor must lie between 0 and 1, not {self.floor}")

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop_samples / self.rate_hz

    @property
    def lookahead_samples(self) -> int:
        """Samples after its centre that a frame needs."""
        return self.n_fft // 2

    def to_dict(self) -> dict[str, Any]:
        """The JSON form used in the hello message and in model metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MelConfig:
        """Parse the JSON form. Raises ValueError for anything else."""
        return _from_mapping(cls, values)

    def __str__(self) -> str:
        return (
            f"{self.rate_hz} Hz, n_fft {self.n_fft}, hop {self.hop_samples}, {self.n_mels} bands "
            f"{self.fmin_hz:g}-{self.fmax_hz:g} Hz, floor {self.floor:g}"
        )


@dataclass(frozen=True)
class TileConfig:
    """The picture format of a stream: tile width and the log10 range that the 8-bit pixel values 0..255 span."""

    frames: int = 8
    log10_min: float = -5.5
    log10_max: float = 1.0

    def __post_init__(self) -> None:
        if not MIN_TILE_FRAMES <= self.frames <= MAX_TILE_FRAMES:
            raise ValueError(f"a tile holds {MIN_TILE_FRAMES} to {MAX_TILE_FRAMES} frames, not {self.frames}")
        if not -20.0 <= self.log10_min < self.log10_max <= 10.0:
            raise ValueError(f"the value range must lie within -20..10, not {self.log10_min}..{self.log10_max}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form used in the hello message."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TileConfig:
        """Parse the JSON form. Raises ValueError for anything else."""
        return _from_mapping(cls, values)


@dataclass(frozen=True)
class EncoderConfig:
    """How the sender compresses tiles: libavif's quality 0..100, libaom's speed 0..10.

    With ``bitrate_kbps`` the quality follows from the rate that the pictures may take; with ``dtx`` pauses become
    comfort noise; ``redundancy`` low-quality copies of earlier tiles ride along with each.
    """

    quality: int = 52
    speed: int = 6
    bitrate_kbps: float | None = None
    dtx: bool = False
    redundancy: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= 100:
            raise ValueError(f"quality must be 0 to 100, not {self.quality}")
        if not 0 <= self.speed <= 10:
            raise ValueError(f"speed must be 0 to 10, not {self.speed}")
        if self.bitrate_kbps is not None and not MIN_BITRATE_KBPS <= self.bitrate_kbps <= MAX_BITRATE_KBPS:
            raise ValueError(
                f"the bitrate must be {MIN_BITRATE_KBPS:g} to {MAX_BITRATE_KBPS:g} kbps, not {self.bitrate_kbps}"
            )
        if not 0 <= self.redundancy <= MAX_REDUNDANCY:
            raise ValueError(f"redundancy must be 0 to {MAX_REDUNDANCY} tiles, not {self.redundancy}")


@dataclass(frozen=True)
class ProcessingConfig:
    """What is done to a microphone's sound: remove the far end's echo, remove noise, level the loudness."""

    echo: bool = False
    noise: bool = False
    gain: bool = False

    def __bool__(self) -> bool:
        return self.echo or self.noise or self.gain

    @classmethod
    def parse(cls, text: str) -> ProcessingConfig:
        """Parse names with commas between them, or ``none``. Raises ValueError."""
        names = [] if text == "none" else text.split(",")
        if not {*names} <= {each.name for each in fields(cls)}:
            raise ValueError(f"{text} is neither none nor a list of echo, noise and gain")
        return cls(**dict.fromkeys(names, True))
