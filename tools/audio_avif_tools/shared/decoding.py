"""Decode a picture to a sound file in constant memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from audio_avif.edge.file_kinds import AVIF, AVIF_SUFFIX, KIND_BYTES, kind_of
from audio_avif.edge.sound_files import sound_writer
from audio_avif.errors import FileError
from audio_avif.recording.codec import require_fit
from audio_avif.recording.layout import PictureInfo
from audio_avif.recording.picture_reader import PictureReader
from audio_avif.recording.segments import Part, PartJoiner, cut_parts, speak_part
from audio_avif.types import FloatArray
from audio_avif.vocoders.protocol import Vocoder
from audio_avif_tools.shared.workers import Workers


@dataclass(frozen=True)
class Decoded:
    """The length of the decoded sound, and the processor time that decoding took."""

    seconds: float
    decode_s: float


def decode_sound(
    picture: Path,
    sound: Path,
    vocoder: Vocoder,
    workers: Workers,
    info: PictureInfo | None,
    on_share: Callable[[float], None],
) -> Decoded:
    """Decode a picture to a sound file of the format that the suffix of ``sound`` names.

    ``info`` replaces the metadata of pictures without any. ``on_share`` is called with each finished share of the
    work; the shares add up to 1.

    Raises FileError for other pictures and for files that cannot be read or written, ModelError where the vocoder
    expects another mel.
    """
    spoken_s = 0.0
    start_s = time.thread_time()

    def speak(part: Part) -> tuple[FloatArray, bool, float]:
        begin_s = time.thread_time()
        samples = speak_part(part, vocoder)
        return samples, part.is_last, time.thread_time() - begin_s

    with opened(picture) as file:
        reader = _reader(picture, file, info)
        mel, left = reader.info.mel, reader.info.samples
        require_fit(vocoder, mel)
        joiner = PartJoiner(mel.hop_samples)
        with sound_writer(sound, reader.info.channels, mel.rate_hz) as write:
            for samples, is_last, took_s in workers.map(speak, cut_parts(reader.log_mels())):
                final = joiner.push(samples, is_last)[:, :left]
                write(final.T)
                left -= final.shape[1]
                spoken_s += took_s
                on_share(final.shape[1] / reader.info.samples)
    return Decoded(reader.info.samples / mel.rate_hz, time.thread_time() - start_s + spoken_s)


def opened(path: Path) -> IO[bytes]:
    """Open a picture for reading. Raises FileError."""
    try:
        return path.open("rb")
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error


def _reader(path: Path, file: IO[bytes], info: PictureInfo | None) -> PictureReader:
    """Open a picture of sound. Raises FileError, which names the kind of another file under an AVIF name."""
    try:
        return PictureReader(file, info)
    except FileError as error:
        file.seek(0)
        kind = kind_of(file.read(KIND_BYTES))
        if info is not None or kind is None or kind == AVIF or path.suffix.lower() != AVIF_SUFFIX:
            raise
        advice = "audio-avif invert makes sound of other pictures" if kind.is_picture else "rename it"
        raise FileError(f"{path} is {kind}, not an AVIF picture; {advice}") from error
