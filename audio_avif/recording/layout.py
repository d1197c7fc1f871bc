"""Log-mels of one to four channels to the pixels of one picture and back.

The channels lie one below the other (``stacked``), or as the red, green and blue of a colour picture (``planes``). Of
two stacked channels their mean and difference can be kept instead (mid and side), which costs less where both carry the
same voice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from audio_avif.config import MAX_RATE_HZ, MelConfig, TileConfig
from audio_avif.signal.features import frame_count
from audio_avif.types import AnyPixels, FloatArray

CELL_FRAMES = 625
"""Frames of a cell: ten seconds."""

LAYOUTS = ("stacked", "planes")
DEPTHS = (8, 10, 12)
MAX_CHANNELS = 4
_MAX_PLANES = 3
_MAX_SAMPLES = 1 << 40


@dataclass(frozen=True)
class PictureInfo:
    """What must be known of a picture to hear it; it travels in the picture's Exif block.

    ``samples`` counts those of one channel at ``mel.rate_hz``. ``side_cells`` has a 1 for each cell whose two channels
    are kept as mid and side, a 0 for each other; it may end early.
    """

    mel: MelConfig = field(default_factory=MelConfig)
    samples: int = 0
    channels: int = 1
    log10_min: float = TileConfig().log10_min
    log10_max: float = TileConfig().log10_max
    depth: int = 8
    layout: str = "stacked"
    side_cells: str = ""
    source_rate_hz: int = MelConfig().rate_hz

    def __post_init__(self) -> None:
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ValueError(f"a picture holds 1 to {MAX_CHANNELS} channels, not {self.channels!r:.20}")
        if self.depth not in DEPTHS:
            raise ValueError(f"the depth must be 8, 10 or 12 bit, not {self.depth!r:.20}")
        if self.layout not in LAYOUTS:
            raise ValueError(f"the layout must be {' or '.join(LAYOUTS)}, not {self.layout!r:.20}")
        if self.layout == "planes" and self.channels > _MAX_PLANES:
            raise ValueError(f"a colour picture holds at most {_MAX_PLANES} channels; use the layout stacked")
        if not -20.0 <= self.log10_min < self.log10_max <= 10.0:
            raise ValueError(f"the value range must lie within -20..10, not {self.log10_min}..{self.log10_max}")
        if not (0 <= self.samples <= _MAX_SAMPLES and 1 <= self.source_rate_hz <= MAX_RATE_HZ):
            raise ValueError("the number of samples or their rate is out of range")
        if set(self.side_cells) - {"0", "1"} or (self.side_cells.strip("0") and not self.can_have_side):
            raise ValueError("mid and side are for two stacked channels")

    @property
    def frames(self) -> int:
        """Frames of the recording."""
        return frame_count(self.samples, self.mel)

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.mel.n_mels * (self.channels if self.layout == "stacked" else 1)

    @property
    def can_have_side(self) -> bool:
        """Whether cells may keep mid and side."""
        return self.channels == 2 and self.layout == "stacked"

    def is_side(self, cell: int) -> bool:
        """Whether that cell keeps mid and side."""
        return self.side_cells[cell : cell + 1] == "1"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PictureInfo:
        """Parse the JSON form. Raises ValueError for anything else."""
        default = cls()
        expected = asdict(default)
        if not isinstance(values, Mapping) or set(values) != set(expected):
            raise ValueError(f"PictureInfo needs exactly the keys {', '.join(sorted(expected))}")
        checked: dict[str, Any] = {"mel": MelConfig.from_dict(values["mel"])}
        for name, usual in expected.items():
            if name == "mel":
                continue
            wanted = (int, float) if isinstance(usual, float) else type(usual)
            if isinstance(values[name], bool) or not isinstance(values[name], wanted):
                raise ValueError(f"PictureInfo.{name} must be a {type(usual).__name__}, not {values[name]!r:.40}")
            try:
                checked[name] = type(usual)(values[name])
            except OverflowError as error:
                raise ValueError(f"PictureInfo.{name} is too large a number") from error
        return replace(default, **checked)


def to_pixels(log_mel: FloatArray, info: PictureInfo, is_side: bool = False) -> AnyPixels:
    """Map ``[channels, n_mels, frames] float32, log10`` to ``[height, frames]``, or ``[n_mels, frames, 3]`` as planes.

    The type is uint8 at 8 bit, else uint16. The first channel lies on top, of each the low band at the bottom.
    """
    white = 2**info.depth - 1
    span = info.log10_max - info.log10_min
    shares = (log_mel.astype(np.float64) - info.log10_min) / span
    if is_side:
        shares = np.clip(shares, 0, 1)
        shares = np.stack([(shares[0] + shares[1]) / 2, shares[0] - shares[1] + 0.5])
    scaled = np.rint(np.clip(shares, 0, 1) * white).astype(np.uint8 if info.depth == 8 else np.uint16)[:, ::-1]
    if info.layout == "stacked":
        return np.ascontiguousarray(scaled.reshape(-1, scaled.shape[-1]))
    return np.ascontiguousarray(np.moveaxis(scaled[list(_PLANE_OF[info.channels])], 0, -1))


# Which channel is shown as red, green, blue. AV1 keeps their mean and two differences.
_PLANE_OF = {1: (0, 0, 0), 2: (0, 1, 1), 3: (0, 1, 2)}


def from_pixels(pixels: AnyPixels, info: PictureInfo, is_side: bool = False) -> FloatArray:
    """Map pixels as ``to_pixels`` makes them back to ``[channels, n_mels, frames] float32, log10``.

    What a stream's tile shows becomes the same to the last bit as in ``tiles.from_pixels``.
    """
    white = 2**info.depth - 1
    if info.layout == "stacked":
        values = pixels.reshape(info.channels, info.mel.n_mels, -1)
    else:
        values = np.moveaxis(pixels, -1, 0)[: info.channels]
    if is_side:
        halves = (values[1] - np.float32(white / 2)) / 2
        values = np.clip(np.stack([values[0] + halves, values[0] - halves]), 0, white)
    step = (info.log10_max - info.log10_min) / white
    log_mel = values[:, ::-1] * np.float32(step) + np.float32(info.log10_min)
    return np.ascontiguousarray(log_mel, np.float32)


def side_pays(log_mel: FloatArray, info: PictureInfo) -> bool:
    """Whether mid and side of ``[2, n_mels, frames]`` change less from pixel to pixel than left and right do.

    Channels that differ by more than a picture of their difference can show stay as they are.
    """
    within = np.clip(log_mel, info.log10_min, info.log10_max)
    if np.abs(within[0] - within[1]).max(initial=0) > (info.log10_max - info.log10_min) / 2:
        return False
    plain, sides = (to_pixels(log_mel, info, is_side).astype(np.int32) for is_side in (False, True))
    changes = [sum(int(np.abs(np.diff(pixels, axis=axis)).sum()) for axis in (0, 1)) for pixels in (plain, sides)]
    return changes[1] < changes[0]
