"""Sound files and raw samples: any rate and channel count outside, 16 kHz float32 inside, mono or channel by channel.

Importing this module loads no sound library.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from audio_avif.config import RATE_HZ
from audio_avif.edge.file_kinds import AVIF, AVIF_SUFFIX, kind_of_file
from audio_avif.edge.sound_sections import Section, find_sections
from audio_avif.errors import FileError
from audio_avif.notices import warn_once
from audio_avif.signal.downmix import Downmixer
from audio_avif.signal.samples import float_scale, warn_of_scale
from audio_avif.types import FloatArray

WRITABLE = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}
"""The kinds of sound file that ``sound_writer`` writes, by suffix, as libsndfile names them."""

_WAV_HEADER_BYTES = 44
_WAV_BYTES_MAX = 2**32 - 64
_READ_FRAMES = 16_384
_WRITE_FRAMES = 16_384  # libsndfile's Vorbis encoder puts a whole call on the stack
_LOUDEST = 1e9  # what a float file holds beyond is damage; in the mel it would drown all else
_SCALE_PLACES = 64
_SCALE_FRAMES = 1024
_UNKNOWN_FRAMES = 2**62  # libsndfile has 2**63 - 1 for a length that the header does not tell


def read_blocks(path: str | Path, block_samples: int, rate_hz: int = RATE_HZ) -> Iterator[FloatArray]:
    """Open a sound file of any rate and channel count; iterate over ``[block_samples] float32``, mono at ``rate_hz``.

    The last block may be shorter; memory does not grow with the file. ``-`` is standard input, raw s16le mono at that
    rate.
    Raises FileError at once where the file cannot be read, and while iterating where it is damaged.
    """
    if block_samples < 1:
        raise ValueError(f"a block holds at least one sample, not {block_samples}")
    if str(path) == "-":
        # A thread that waits in a buffered read holds its lock, on which the interpreter aborts when the program ends.
        if sys.stdin is None:
            raise FileError("standard input is not open")
        return _raw_blocks(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer), block_samples)
    return _reblock(_mono(_chunks(path, _find_readable(path), rate_hz, channels=1)), block_samples)


def read_audio(path: str | Path, rate_hz: int = RATE_HZ) -> FloatArray:
    """Read a whole sound file as ``[samples] float32``, mono at ``rate_hz``. Raises FileError."""
    return np.concatenate([np.zeros(0, np.float32), *_mono(_chunks(path, _find_readable(path), rate_hz, channels=1))])


@dataclass(frozen=True)
class SoundHeader:
    """What a sound file says of itself; ``seconds`` is None where it does not tell.

    Of several recordings in one file, the rate of the first, the most channels, and the seconds of all.
    """

    rate_hz: int
    channels: int
    seconds: float | None


def read_header(path: str | Path) -> SoundHeader:
    """Read the header of a sound file. Raises FileError where it cannot be read."""
    headers = []
    for section in _find_readable(path):
        with _opened(path, section) as sound:
            seconds = sound.frames / sound.samplerate if sound.frames < _UNKNOWN_FRAMES else float("inf")
            headers.append(SoundHeader(sound.samplerate, sound.channels, seconds))
    seconds = sum(header.seconds or 0.0 for header in headers)
    channels = max(header.channels for header in headers)
    return SoundHeader(headers[0].rate_hz, channels, seconds if np.isfinite(seconds) else None)


def read_channels(path: str | Path, rate_hz: int = RATE_HZ) -> Iterator[FloatArray]:
    """Open a sound file of any rate; iterate over ``[samples, channels] float32`` at ``rate_hz``, of any lengths.

    Memory does not grow with the file. A recording in it that has fewer channels than another one is mixed down, and
    the same in all channels.
    Raises FileError at once where the file cannot be read, and while iterating where it is damaged.
    """
    return _chunks(path, _find_readable(path), rate_hz, read_header(path).channels)


def _find_readable(path: str | Path) -> list[Section]:
    """The recordings in a sound file, of which the first can be opened. Raises FileError where it cannot."""
    if os.path.isdir(path):  # which, unlike Path's, is False for names that cannot be
        raise FileError(f"{path} is a folder")
    if not os.path.exists(path):
        raise FileError(f"there is no sound file {path}")
    if not os.path.isfile(path):
        raise FileError(f"{path} is a pipe or a device, which cannot be read twice; save its sound as a file first")
    try:
        sections = find_sections(path)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    with _opened(path, sections[0]):
        return sections


@contextmanager
def _opened(path: str | Path, section: Section) -> Iterator[Any]:
    """Open a recording within a sound file with soundfile. Raises FileError."""
    soundfile = _soundfile()

    class Sequential(soundfile.SoundFile):  # type: ignore[misc, name-defined]  # soundfile has no types
        def seekable(self) -> bool:
            """Return False: soundfile seeks after every read of a seekable file, which loses samples of MP3."""
            return False

    with ExitStack() as stack:
        try:
            source = str(path) if section.is_whole else stack.enter_context(section.open(path))
            sound = stack.enter_context(Sequential(source))
        except UnicodeEncodeError as error:
            raise FileError(f"{path} has a name that cannot be encoded as {error.encoding}; rename it") from error
        except (soundfile.SoundFileError, TypeError, OSError) as error:  # TypeError: raw data without a header
            raise FileError(_refusal(path, section)) from error
        yield sound


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise FileError(f"soundfile cannot be loaded ({error}); reinstall audio-avif") from error
    return soundfile


def _refusal(path: str | Path, section: Section) -> str:
    if section.start:
        return f"{path} holds another recording from byte {section.start} on that cannot be read; split it into files"
    kind = kind_of_file(path)
    readable = "WAV, FLAC, OGG and MP3 can be"
    if kind is None or kind.is_readable_sound:
        return f"{path} is not a sound file that can be read; {readable}"
    if kind == AVIF:
        return f"{path} is {kind}, not a sound file; rename it so that it ends in {AVIF_SUFFIX}"
    if kind.is_picture:
        return f"{path} is {kind}, not a sound file; use audio-avif invert for pictures"
    return f"{path} is {kind}, which cannot be read; {readable}"


def _chunks(path: str | Path, sections: list[Section], rate_hz: int, channels: int) -> Iterator[FloatArray]:
    """Yield the samples ``[samples, channels]`` of all recordings in a file at ``rate_hz``, in pieces of any size."""
    for section in sections:
        if section.is_unfinished:
            warn_once(f"{path}: the header does not state the length; the file is read to its end")
        with _opened(path, section) as sound:
            pieces = _frames(path, sound)
            if sound.channels != channels:
                mixer = Downmixer(sound.channels, sound.samplerate, str(path))
                pieces = (np.repeat(mixer.push(piece)[:, None], channels, axis=1) for piece in pieces)
            yield from _resampled(pieces, sound.samplerate, rate_hz, channels)


def _resampled(pieces: Iterator[FloatArray], from_hz: int, to_hz: int, channels: int) -> Iterator[FloatArray]:
    """Yield ``[samples, channels]`` at another rate; a piece without samples is the last."""
    import soxr

    if from_hz == to_hz:
        yield from pieces
        return
    resampler = soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32")
    for piece in pieces:
        yield resampler.resample_chunk(piece, last=not len(piece))


def _frames(path: str | Path, sound: Any) -> Iterator[FloatArray]:
    """Yield the samples ``[samples, channels]`` of a recording as they are in the file; the last are none."""
    soundfile = _soundfile()
    scale = np.float32(_scale_of(sound))
    warn_of_scale(str(path), float(scale))
    left = sound.frames
    while left > 0:
        try:
            frames = sound.read(min(_READ_FRAMES, sound.samplerate, left), dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise FileError(f"{path} is damaged after {sound.tell() / sound.samplerate:.1f} s") from error
        if not len(frames):
            break
        left -= len(frames)
        if scale != 1:
            frames /= scale
        frames[~(np.abs(frames) < _LOUDEST)] = 0.0  # NaN too
        yield frames
    yield np.zeros((0, sound.channels), np.float32)


def _scale_of(sound: Any) -> float:
    """What the samples of a recording must be divided by, as found at places spread over it."""
    if sound.subtype not in ("FLOAT", "DOUBLE"):
        return 1.0
    pieces = []
    for place in range(_SCALE_PLACES):
        sound.seek(place * sound.frames // _SCALE_PLACES)
        pieces.append(sound.read(_SCALE_FRAMES, dtype="float32", always_2d=True))
    sound.seek(0)
    return float_scale(np.concatenate(pieces))


def _mono(chunks: Iterator[FloatArray]) -> Iterator[FloatArray]:
    return (chunk[:, 0] for chunk in chunks)


def _reblock(chunks: Iterator[FloatArray], block_samples: int) -> Iterator[FloatArray]:
    pending = np.zeros(0, np.float32)
    for chunk in chunks:
        pending = np.concatenate([pending, chunk])
        whole = pending.size - pending.size % block_samples
        yield from pending[:whole].reshape(-1, block_samples)
        pending = pending[whole:]
    if pending.size:
        yield pending


def _raw_blocks(stream: IO[bytes], block_samples: int) -> Iterator[FloatArray]:
    pending = b""
    while data := stream.read(2 * block_samples - len(pending)):  # a raw stream gives what there is
        pending += data
        if len(pending) == 2 * block_samples:
            yield from_s16le(pending)
            pending = b""
    if len(pending) > 1:
        yield from_s16le(pending)


def to_s16le(samples: FloatArray) -> bytes:
    """Convert ``[samples] float32`` in -1..1 to raw 16-bit little-endian; louder samples are clipped."""
    clipped = np.clip(np.nan_to_num(samples), np.float32(-1.0), np.float32(32767 / 32768))
    pcm: npt.NDArray[np.int16] = np.rint(clipped * np.float32(32768)).astype("<i2")
    return pcm.tobytes()


def from_s16le(data: bytes) -> FloatArray:
    """Convert raw 16-bit little-endian to ``[samples] float32``; half a sample at the end is left out."""
    whole = np.frombuffer(data, "<i2", count=len(data) // 2)
    return whole.astype(np.float32) / np.float32(32768)


def _wav_header(rate_hz: int, data_bytes: int) -> bytes:
    """The RIFF header of 16-bit mono PCM. Source: Microsoft and IBM, Multimedia Programming Interface 1.0, 1991."""
    size = _WAV_HEADER_BYTES - 8 + data_bytes
    pcm_format = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", size, b"WAVE") + pcm_format + struct.pack("<4sI", b"data", data_bytes)


def require_writable(path: str | Path) -> None:
    """Raise FileError where a file could not be written; change nothing."""
    existed = os.path.exists(path)
    try:
        with Path(path).open("ab"):
            pass
        if not existed:
            Path(path).unlink()
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a name beside ``path`` to write to; what was written there becomes ``path`` when all went well.

    Otherwise it is removed, and ``path`` stays as it was. Raises FileError where the file cannot be written.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    if os.path.isdir(path):
        raise FileError(f"{path} cannot be written: it is a folder")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def sound_writer(path: str | Path, channels: int, rate_hz: int = RATE_HZ) -> Iterator[Callable[[FloatArray], None]]:
    """Write a sound file of the kind its suffix names; it appears under its name when the ``with`` block ends well.

    What is given takes ``[samples, channels] float32`` in -1..1; what is louder is clipped.
    Raises FileError where the file cannot be written, ValueError for a suffix that is not in ``WRITABLE``.
    """
    import soundfile

    suffix = Path(path).suffix.lower()
    if suffix not in WRITABLE:
        raise ValueError(f"sound is written as {', '.join(WRITABLE)}, not as {suffix!r}")
    kind, subtype = WRITABLE[suffix]
    samples_in = 0

    def write(samples: FloatArray) -> None:
        nonlocal samples_in
        pcm = np.frombuffer(to_s16le(samples), "<i2").reshape(-1, channels)
        for start in range(0, len(pcm), _WRITE_FRAMES):
            sound.write(pcm[start : start + _WRITE_FRAMES])
        samples_in += len(pcm)

    with replacing(path) as part:
        part.touch()  # says why where it cannot be made
        try:
            with soundfile.SoundFile(str(part), "w", rate_hz, channels, format=kind, subtype=subtype) as sound:
                yield write
            is_whole = soundfile.info(str(part)).frames == samples_in
        except UnicodeEncodeError as error:
            raise FileError(f"{path} has a name that cannot be encoded as {error.encoding}; rename it") from error
        except soundfile.SoundFileError as error:
            raise FileError(f"{path} cannot be written: the disk may be full") from error
        if not is_whole:
            raise FileError(f"{path} cannot be written completely: the disk may be full")


class WavWriter:
    """A 16-bit mono WAV file that is complete after every ``write``.

    It is written in place, with its header brought up to date each time: a recording can be played while it grows, and
    survives a program that is killed.
    """

    def __init__(self, path: str | Path, rate_hz: int = RATE_HZ) -> None:
        """Create or replace the file. Raises FileError where that is not possible."""
        self._path = path
        self._rate_hz = rate_hz
        self._data_bytes = 0
        try:
            self._file = Path(path).open("wb")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise self._failure(error) from error
        self.write(np.zeros(0, np.float32))

    def write(self, samples: FloatArray) -> None:
        """Append ``[samples] float32``. Raises FileError where the disk or the format (4 GiB) is full."""
        data = to_s16le(samples)
        if self._data_bytes + len(data) > _WAV_BYTES_MAX:
            raise FileError(f"{self._path} is full: a WAV file holds 4 GiB")
        try:
            self._file.seek(_WAV_HEADER_BYTES + self._data_bytes)
            self._file.write(data)
            self._data_bytes += len(data)
            self._file.seek(0)
            self._file.write(_wav_header(self._rate_hz, self._data_bytes))
            self._file.flush()
        except OSError as error:
            self.close()
            raise self._failure(error) from error

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        with suppress(OSError):
            self._file.close()

    def _failure(self, error: OSError) -> FileError:
        return FileError(f"{self._path} cannot be written: {error.strerror or error}")

    def __enter__(self) -> WavWriter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
