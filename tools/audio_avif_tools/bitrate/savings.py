"""Print what today's encoder options and lean packets save, beside stills of libavif's defaults sent whole."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.edge import console
from audio_avif.link.messages import wire_bytes
from audio_avif.link.packets import TilePacket
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import decode_still
from audio_avif.still.frame_headers import make_template
from audio_avif.still.template import StillTemplate
from audio_avif.still.tiles import from_pixels, to_pixels
from audio_avif.types import DoubleArray, FloatArray
from audio_avif_tools.bitrate.candidates import DEFAULTS, TODAY
from audio_avif_tools.bitrate.coding import mel_errors_db
from audio_avif_tools.bitrate.curves import Curve, change_percent, kbps_for_error
from audio_avif_tools.bitrate.options import tile_options
from audio_avif_tools.quality.jobs import Clip, choose_clips, sound_of
from audio_avif_tools.shared.processes import run_jobs

PROGRAM = "python -m audio_avif_tools.bitrate.savings"
TILE_FRAMES = (2, 4, 8, 16)
QUALITIES = (20, 36, 52, 68, 84)
BEFORE_QUALITIES = (8, *QUALITIES, 92)
"""Of the stills before, to have every error of those of today."""
TOLD_QUALITY = EncoderConfig.quality
OLD_HEADER_BYTES = 10
"""Of a tile before: its type, 32 bits each of sequence number and first frame, and its columns."""
COUNTED = ("payload", "message", "wire")
_MEL = MelConfig()


@dataclass(frozen=True)
class Measured:
    """One encoder at one quality and tile width over all clips: mean bytes of a tile ``[COUNTED]``, and mel error."""

    is_lean: bool
    tile_frames: int
    quality: int
    tile_bytes: DoubleArray
    error_db: float


@dataclass(frozen=True)
class SavingsJob:
    """A job: today's stills in lean packets, or those of libavif's defaults sent whole."""

    clips: tuple[Clip, ...]
    is_lean: bool
    tile_frames: int
    quality: int

    def run(self) -> Measured:
        """Encode and decode all clips."""
        sizes: list[list[int]] = []
        errors_db = [self._error_db(log_mel(sound_of(clip)), sizes) for clip in self.clips]
        return Measured(self.is_lean, self.tile_frames, self.quality, np.mean(sizes, axis=0), float(np.mean(errors_db)))

    def _error_db(self, frames: FloatArray, sizes: list[list[int]]) -> float:
        """Add the sizes of the tiles of ``[n_mels, frames]``; return the error as heard, root mean square in dB."""
        tile, config = TileConfig(self.tile_frames), EncoderConfig(self.quality)
        template, encode = self._template(), (TODAY if self.is_lean else DEFAULTS).encode
        decoded = []
        for at in range(0, frames.shape[1] - tile.frames + 1, tile.frames):
            still = encode(to_pixels(frames[:, at : at + tile.frames], tile), config)
            decoded.append(from_pixels(decode_still(still, tile.frames, _MEL.n_mels), tile))
            sizes.append(self._sizes(template, still))
        return float(mel_errors_db(frames, np.concatenate(decoded, axis=1))[1])

    def _template(self) -> StillTemplate:
        if self.is_lean:
            return make_template(_MEL.n_mels, self.tile_frames, EncoderConfig.speed, 100)
        blank = np.zeros((_MEL.n_mels, self.tile_frames), np.uint8)
        return StillTemplate.of(DEFAULTS.encode(blank, EncoderConfig(self.quality)))

    def _sizes(self, template: StillTemplate, still: bytes) -> list[int]:
        """Bytes of a tile: payload, message, and on the wire."""
        frame_body = template.strip(still)
        header, payload = (None, still) if frame_body is None else template.shorten(frame_body)
        message_bytes = OLD_HEADER_BYTES + len(payload)
        if self.is_lean:
            is_whole_still = frame_body is None
            message_bytes = len(TilePacket(0, 0, self.tile_frames, payload, is_whole_still, header).to_bytes())
        return [len(payload), message_bytes, wire_bytes(message_bytes)]


def curve_of(results: Sequence[Measured], counted: str) -> Curve:
    """Rates and errors over the qualities of one encoder at one tile width; ``counted`` is one of COUNTED."""
    ordered = sorted(results, key=lambda each: each.quality)
    tile_s = ordered[0].tile_frames * _MEL.frame_s
    kbps = np.array([each.tile_bytes[COUNTED.index(counted)] for each in ordered]) / (125 * tile_s)
    candidate = TODAY if ordered[0].is_lean else DEFAULTS
    return Curve(candidate, ordered[0].tile_frames, kbps, np.array([each.error_db for each in ordered]))


def saving(after: Curve, before: Curve) -> tuple[float, float, float]:
    """Return the rates before and after at the error of TOLD_QUALITY, and the mean change over QUALITIES in percent."""
    error_db = np.array([np.interp(TOLD_QUALITY, QUALITIES, after.errors_db)])
    told = [float(kbps_for_error(curve, error_db)[0]) for curve in (before, after)]
    change = 100 * (1 / (1 + change_percent(after, before) / 100) - 1)
    return told[0], told[1], change


def report(results: Sequence[Measured]) -> list[str]:
    """Return the lines that are printed: a table for each tile width."""
    lines = [f"{'frames':>6}  {'counted':<8}{'before':>9}{'after':>9}{'change':>9}{'mean change':>13}"]
    for width in dict.fromkeys(each.tile_frames for each in results):
        before, after = (
            [each for each in results if (each.is_lean, each.tile_frames) == (is_lean, width)]
            for is_lean in (False, True)
        )
        for counted in COUNTED:
            old, new, mean = saving(curve_of(after, counted), curve_of(before, counted))
            change = 100 * (new / old - 1)
            lines.append(f"{width:>6}  {counted:<8}{old:>9.2f}{new:>9.2f}{change:>+8.1f}%{mean:>+12.1f}%")
    return lines


def _run(options: argparse.Namespace) -> None:
    clips = choose_clips(options.clips, every=options.every).clips
    jobs = [
        SavingsJob(clips, is_lean, width, quality)
        for width in options.tile_frames
        for is_lean in (False, True)
        for quality in (QUALITIES if is_lean else BEFORE_QUALITIES)
    ]
    results: list[Measured] = list(run_jobs(jobs, options.workers))
    results.sort(key=lambda each: options.tile_frames.index(each.tile_frames))
    seconds = sum(clip.seconds for clip in clips)
    print(f"{len(clips)} clips, {seconds:.0f} s. Before: libavif's defaults, whole bodies, headers of 10 bytes.")
    print(f"kbps at the mel error of today's quality {TOLD_QUALITY}; mean change over qualities {QUALITIES[0]} to")
    print(f"{QUALITIES[-1]} at equal error. Payload: a tile's own part of its picture; message: with its header.\n")
    print("\n".join(report(results)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m audio_avif_tools.bitrate.savings``."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        parents=[tile_options(TILE_FRAMES)],
        description="Print what encoder options and lean packets save at equal mel error.",
    )
    options = parser.parse_args(arguments)
    with console.sigterm_interrupts():
        return console.run(PROGRAM, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
