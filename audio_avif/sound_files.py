"""Sound files and raw samples: any rate and channel count outside, 16 kHz mono float32 inside.

Importing this module loads no sound library.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from audio_avif.config import RATE_HZ
from audio_avif.errors import FileError
from audio_avif.ring import FloatArray

_WAV_HEADER_BYTES = 44
_WAV_BYTES_MAX = 2**32 - 64


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
            raise FileError("there is no standard input to read from")
        return _raw_blocks(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer), block_samples)
    return _reblock(_file_chunks(path, _open_sound(path), rate_hz), block_samples)


def read_audio(path: str | Path, rate_hz: int = RATE_HZ) -> FloatArray:
    """Read a whole sound file as ``[samples] float32``, mono at ``rate_hz``. Raises FileError."""
    return np.concatenate([np.zeros(0, np.float32), *_file_chunks(path, _open_sound(path), rate_hz)])


def _open_sound(path: str | Path) -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise FileError(f"soundfile cannot be loaded ({error}); reinstall audio-avif") from error
    if not Path(path).is_file():
        raise FileError(f"{path} is a folder" if Path(path).is_dir() else f"there is no sound file {path}")

    class Sequential(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
        def seekable(self) -> bool:
            """Say no: soundfile seeks after every read of a file that can, which tears holes into MP3."""
            return False

    try:
        return Sequential(str(path))
    except UnicodeEncodeError as error:
        raise FileError(f"{path} cannot be opened by a name that is no {error.encoding}; rename it") from error
    except (soundfile.SoundFileError, TypeError, OSError) as error:  # TypeError: raw data without a header
        raise FileError(f"{path} is not a sound file that can be read; WAV, FLAC, OGG and MP3 can be") from error


def _file_chunks(path: str | Path, sound: Any, rate_hz: int) -> Iterator[FloatArray]:
    """Yield the file's samples, mono at ``rate_hz``, in pieces of any size; close it at the end."""
    import soundfile
    import soxr

    resampler = (
        None if sound.samplerate == rate_hz else soxr.ResampleStream(sound.samplerate, rate_hz, 1, dtype="float32")
    )
    with sound:
        while True:
            try:
                frames = sound.read(16_384, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise FileError(f"{path} is damaged after {sound.tell() / sound.samplerate:.1f} s") from error
            mono = np.nan_to_num(frames.mean(axis=1, dtype=np.float32))
            at_end = not frames.size
            yield mono if resampler is None else resampler.resample_chunk(mono, last=at_end)
            if at_end:
                return


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
    """Convert ``[samples] float32`` in -1..1 to raw 16-bit little-endian; what is louder is clipped."""
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
    """Raises FileError where a file could not be written; changes nothing."""
    existed = Path(path).exists()
    try:
        with Path(path).open("ab"):
            pass
        if not existed:
            Path(path).unlink()
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}") from error


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
