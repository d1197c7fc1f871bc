"""Encode one recording as pictures at several qualities, in one pass and in constant memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from audio_avif.config import MelConfig
from audio_avif.edge.sound_files import SoundHeader, read_channels, read_header, replacing, require_writable
from audio_avif.errors import FileError
from audio_avif.recording.grid import GridWriter
from audio_avif.recording.picture_encoder import FileConfig, PictureEncoder, encode_cell, max_seconds, write_picture
from audio_avif.recording.value_range import RangeFinder
from audio_avif.signal.features import LogMelStream
from audio_avif.types import AnyPixels
from audio_avif_tools.shared.workers import Workers

log = logging.getLogger(__name__)

_WHOLE_SHARE = 0.9  # of the announced length; MP3 files without a length header are off by a few percent


@dataclass(frozen=True)
class Encoded:
    """The length of the sound, and the processor time of each quality as if it were the only one."""

    seconds: float
    encode_s: dict[int, float]


def encode_sound(
    sound: Path,
    pictures: Mapping[int, Path],
    config: FileConfig,
    workers: Workers,
    fits_range: bool,
    on_share: Callable[[float], None],
) -> Encoded:
    """Write a picture of ``sound`` for each quality.

    With ``fits_range`` the sound is read twice, and the pixels span its own value range. ``on_share`` is called with
    each finished share of the work; the shares add up to about 1 where the file states its length.

    Raises FileError for a sound that does not fit a picture, and for files that cannot be read or written.
    """
    header = read_header(sound)
    require_room(sound, header, config)
    start_s = time.thread_time()
    if fits_range:
        low, high = _find_range(sound, header.channels, MelConfig(), workers)
        config = replace(config, log10_min=low, log10_max=high)
    configs = {quality: replace(config, quality=quality) for quality in pictures}
    encoder = PictureEncoder(config, header.channels, header.rate_hz)
    spent_s = dict.fromkeys(pictures, 0.0)
    frame_s = encoder.info.mel.frame_s

    def compress(job: tuple[int, AnyPixels]) -> tuple[int, bytes, float, int]:
        quality, pixels = job
        begin_s = time.thread_time()
        still = encode_cell(pixels, configs[quality])
        return quality, still, time.thread_time() - begin_s, pixels.shape[1]

    def jobs() -> Iterator[tuple[int, AnyPixels]]:
        for block in read_channels(sound):
            yield from ((quality, cell) for cell in encoder.push(block) for quality in pictures)
        yield from ((quality, cell) for cell in encoder.flush() for quality in pictures)

    for path in pictures.values():
        require_writable(path)
    with ExitStack() as stack:
        grids = {quality: stack.enter_context(GridWriter()) for quality in pictures}
        for quality, still, took_s, frames in workers.map(compress, jobs()):
            grids[quality].add(still)
            spent_s[quality] += took_s
            if header.seconds:
                on_share(frames * frame_s / header.seconds / len(pictures))
        shared_s = time.thread_time() - start_s
        for quality, path in pictures.items():
            with replacing(path) as part, part.open("wb") as file:
                write_picture(grids[quality], encoder, configs[quality], file)
    seconds = encoder.info.samples / encoder.info.mel.rate_hz
    if header.seconds is not None and seconds < _WHOLE_SHARE * header.seconds:
        log.warning("%s ends after %.1f s, though its header announces %.1f s", sound, seconds, header.seconds)
    return Encoded(
        seconds,
        {quality: shared_s + own_s for quality, own_s in spent_s.items()},
    )


def require_room(sound: Path, header: SoundHeader, config: FileConfig) -> None:
    """Check that a picture can hold the recording's channels and length. Raises FileError."""
    try:
        config.info(header.channels, header.rate_hz)
    except ValueError as error:
        raise FileError(f"{sound} must be split or mixed down first: {error}") from error
    max_s = max_seconds(header.channels, config.layout)
    if header.seconds is not None and header.seconds > max_s:
        raise FileError(
            f"{sound} must be cut first: it lasts {header.seconds / 3600:.1f} h, and a picture with its "
            f"{header.channels} channels at most {max_s / 3600:.1f} h"
        )


def _find_range(sound: Path, channels: int, mel: MelConfig, workers: Workers) -> tuple[float, float]:
    finder = RangeFinder()
    streams = [LogMelStream(mel) for _ in range(channels)]
    for block in read_channels(sound):
        workers.check()
        for i, stream in enumerate(streams):
            finder.push(stream.push(block[:, i]))
    for stream in streams:
        finder.push(stream.flush())
    return finder.range()
