"""The libaom options that the search tries, as candidates on top of those in use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from audio_avif.config import EncoderConfig
from audio_avif.still.avif import AOM_OPTIONS, encode_with
from audio_avif.types import Pixels

SPEEDS = (3, 4, 5, 7, 8)
OPTIONS = (
    "tune=ssim",
    "tune=iq",
    "tune=ssimulacra2",
    "tune-content=default",
    "tune-content=film",
    "enable-filter-intra=1",
    "sharpness=1",
    "sharpness=3",
    "enable-adaptive-sharpness=1",
    "enable-qm=1",
    "enable-qm=1 qm-min=10 qm-max=15",
    "dist-metric=qm-psnr",
    "deltaq-mode=0",
    "deltaq-mode=2",
    "deltaq-mode=3",
    "deltaq-mode=4",
    "deltaq-mode=6",
    "aq-mode=1",
    "aq-mode=2",
    "aq-mode=3",
    "enable-cdef=0",
    "enable-cdef=1",
    "enable-restoration=0",
    "enable-restoration=1",
    "loopfilter-control=0",
    "enable-palette=0",
    "enable-palette=1",
    "enable-intrabc=1",
    "screen-detection-mode=1",
    "screen-detection-mode=2",
    "sb-size=64",
    "sb-size=128",
    "min-partition-size=8",
    "min-partition-size=16",
    "max-partition-size=8",
    "max-partition-size=16",
    "max-partition-size=32",
    "enable-rect-partitions=0",
    "enable-ab-partitions=0",
    "enable-1to4-partitions=0",
    "enable-tx64=0",
    "enable-rect-tx=0",
    "enable-flip-idtx=0",
    "reduced-tx-type-set=1",
    "use-intra-dct-only=1",
    "use-intra-default-tx-only=1",
    "enable-angle-delta=0",
    "enable-smooth-intra=0",
    "enable-paeth-intra=0",
    "enable-directional-intra=0",
    "enable-diagonal-intra=0",
    "enable-intra-edge-filter=0",
    "quant-b-adapt=1",
    "disable-trellis-quant=0",
    "disable-trellis-quant=1",
    "disable-trellis-quant=2",
    "coeff-cost-upd-freq=1",
    "coeff-cost-upd-freq=2",
    "coeff-cost-upd-freq=3",
    "mode-cost-upd-freq=1",
    "mode-cost-upd-freq=2",
    "mode-cost-upd-freq=3",
    "cdf-update-mode=0",
    "cdf-update-mode=2",
    "end-usage=cq",
)
"""Candidates on top of today's options, without options for colour, several pictures, noise or threads."""


@dataclass(frozen=True)
class Candidate:
    """A set of libaom options, and a speed."""

    name: str
    options: tuple[tuple[str, str], ...]
    speed: int = EncoderConfig.speed

    def encode(self, pixels: Pixels, config: EncoderConfig) -> bytes:
        """Encode a still at the quality of ``config``. Raises ValueError where libavif refuses an option."""
        return encode_with(pixels, replace(config, speed=self.speed), dict(self.options))


DEFAULTS = Candidate("libavif's defaults", ())
TODAY = Candidate("today's options", tuple(AOM_OPTIONS.items()))


def candidates(texts: Iterable[str], speeds: Iterable[int]) -> list[Candidate]:
    """Return each candidate ``name=value name=value`` and each speed on top of today's options."""
    found = [replace(TODAY, name=f"speed {speed}", speed=speed) for speed in speeds]
    for text in texts:
        changes = (change.split("=") for change in text.split())
        options = AOM_OPTIONS | {name: value for name, value in changes}
        found.append(Candidate(text, tuple(options.items())))
    return found
