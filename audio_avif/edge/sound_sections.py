"""The recordings that lie one after another in a sound file, and headers that a recorder left unfinished.

libsndfile reads the first recording of a file and ignores what follows. Here the beginning of each is found, so that
each can be opened on its own. Sources: RFC 3533 (Ogg), RFC 9639 (FLAC), ISO 11172-3 and 13818-3 (MPEG audio), the
Xing header as LAME writes it, Microsoft and IBM's RIFF (1991), Apple's AIFF (1989), Sun's AU.
"""

from __future__ import annotations

import io
import mmap
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

_Find = Callable[[mmap.mmap, int], "Section | None"]

_FLAC_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_OGG_HEADER_BYTES = 27
_OGG_BEGINS = 2
_XING_MARKS = (b"Xing", b"Info")
_XING_HAS_FRAMES = 1
_XING_BITRATE = 9  # of the table: 80 or 128 kbps, in whose frames the header has room
_MP3_VERSIONS = {3: 1, 2: 2, 0: 4}  # bits of the header: by what the rates of MPEG 1 are divided
_MP3_RATES_HZ = (44_100, 48_000, 32_000)
_MP3_LAYER_3 = 1
_MP3_KBPS = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}  # MPEG 1, and 2 and 2.5
_MP3_LEFTOVER_FRAMES = 10  # fewer beyond what the header promises are its mistake, and not another recording


@dataclass(frozen=True)
class Section:
    """One recording within a file: bytes ``start`` to ``end``, of which the first ``replaced_bytes`` read as ``head``.

    Without an ``end`` it is the whole file.
    """

    start: int
    end: int | None
    head: bytes = b""
    replaced_bytes: int = 0
    is_unfinished: bool = False
    """Whether its header does not say how long it is, so that all up to the end is taken for sound."""

    @property
    def is_whole(self) -> bool:
        """Whether this is the file as it is."""
        return self.end is None

    def open(self, path: str | Path) -> io.BufferedIOBase | io.RawIOBase:
        """A file that holds this recording alone. Raises OSError."""
        return _Window(Path(path).open("rb"), self)


class _Window(io.RawIOBase):
    """A section of a file that reads as a file."""

    def __init__(self, file: IO[bytes], section: Section) -> None:
        self._file = file
        self._head = section.head
        self._offset = section.start + section.replaced_bytes - len(section.head)
        self._size = (os.fstat(file.fileno()).st_size if section.end is None else section.end) - self._offset
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), max(0, self._size - self._at))
        data = self._head[self._at : self._at + wanted]
        if len(data) < wanted:
            self._file.seek(self._offset + self._at + len(data))
            data += self._file.read(wanted - len(data))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def find_sections(path: str | Path) -> list[Section]:
    """Return the recordings in a file, in order; the whole file where there is one, or a kind not known here.

    Raises OSError where the file cannot be read.
    """
    whole = [Section(0, None)]
    with Path(path).open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return whole
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = list(_sections(data))
    return found if len(found) > 1 or any(section.head for section in found) else whole


def _sections(data: mmap.mmap) -> Iterator[Section]:
    at = 0
    while at < len(data):
        section = next((section for find in _FINDERS if (section := find(data, at)) is not None), None)
        if section is None:
            return
        yield section
        assert section.end is not None
        at = section.end


@dataclass(frozen=True)
class _Chunked:
    """A format made of chunks with sizes, of which one holds the sound."""

    order: str
    kinds: tuple[bytes, ...]
    sound_chunk: bytes
    empty_bytes: int  # its size where there is no sound
    endless: tuple[int, int]  # sizes of the file and of the sound with which libsndfile reads up to the end


_CHUNKED = {
    b"RIFF": _Chunked("<", (b"WAVE",), b"data", 0, (8, 0)),
    b"RIFX": _Chunked(">", (b"WAVE",), b"data", 0, (8, 0)),
    b"FORM": _Chunked(">", (b"AIFF", b"AIFC"), b"SSND", 8, (0, 0)),
}


def _find_chunked(data: mmap.mmap, start: int) -> Section | None:
    """WAV and AIFF: the sizes are those of an empty file where a recorder was killed or wrote to a pipe."""
    form = _CHUNKED.get(data[start : start + 4])
    if form is None or data[start + 8 : start + 12] not in form.kinds:
        return None
    end = _chunk_end(data, start, form.order)
    at = start + 12
    while at + 8 <= len(data) and data[at : at + 4] != form.sound_chunk:
        at = _chunk_end(data, at, form.order)
    sound = at + 8
    if sound >= len(data):
        return Section(start, len(data))
    (sound_bytes,) = struct.unpack(f"{form.order}I", data[at + 4 : sound])
    if sound_bytes == form.empty_bytes and not _are_chunks(data, sound + sound_bytes, end, form.order):
        sizes = [struct.pack(f"{form.order}I", size) for size in form.endless]
        head = data[start : start + 4] + sizes[0] + data[start + 8 : at + 4] + sizes[1]
        return Section(start, len(data), head, len(head), is_unfinished=True)
    return Section(start, end if sound <= end < len(data) else len(data))


def _chunk_end(data: mmap.mmap, at: int, order: str) -> int:
    (size,) = struct.unpack(f"{order}I", data[at + 4 : at + 8])
    return int(at + 8 + size + size % 2)


def _are_chunks(data: mmap.mmap, at: int, end: int, order: str) -> bool:
    """Whether the bytes from ``at`` on are chunks up to ``end``, and not sound."""
    if at == len(data):
        return True
    first = at
    while at + 8 <= min(end, len(data)):
        at = _chunk_end(data, at, order)
    return first < at == end <= len(data)


def _find_au(data: mmap.mmap, start: int) -> Section | None:
    if data[start : start + 4] != b".snd" or start + 24 > len(data):
        return None
    header_bytes, sound_bytes = struct.unpack(">II", data[start + 4 : start + 12])
    end = start + header_bytes + sound_bytes
    if not sound_bytes and end < len(data):
        head = data[start : start + 8] + b"\xff" * 4
        return Section(start, len(data), head, len(head), is_unfinished=True)
    return Section(start, end if start + 24 <= end < len(data) else len(data))


def _find_flac(data: mmap.mmap, start: int) -> Section | None:
    first = _after_id3(data, start)
    if data[first : first + 8] not in _FLAC_STARTS:
        return None
    nexts = [at for mark in _FLAC_STARTS if (at := data.find(mark, first + 8)) > 0]
    return Section(start, min(nexts, default=len(data)))


def _find_ogg(data: mmap.mmap, start: int) -> Section | None:
    """Ogg: a chained stream begins with a page that says so after pages that do not."""
    if data[start : start + 4] != b"OggS":
        return None
    at, has_content = start, False
    while at >= 0 and at + _OGG_HEADER_BYTES <= len(data):
        begins = bool(data[at + 5] & _OGG_BEGINS)
        if begins and has_content:
            return Section(start, at)
        has_content |= not begins
        segments = data[at + 26]
        end = at + _OGG_HEADER_BYTES + segments
        end += sum(data[at + _OGG_HEADER_BYTES : end])
        at = end if data[end : end + 4] == b"OggS" else data.find(b"OggS", at + 4)
    return Section(start, len(data))


@dataclass(frozen=True)
class _Mp3Frame:
    """What the header of an MPEG layer III frame says; ``xing_at`` is where a Xing header would be in it."""

    length: int
    kind: tuple[int, bool]  # rate and whether it is mono
    xing_at: int


@lru_cache(maxsize=4096)
def _mp3_frame(header: bytes) -> _Mp3Frame | None:
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0 or header[1] >> 1 & 3 != _MP3_LAYER_3:
        return None
    divisor = _MP3_VERSIONS.get(header[1] >> 3 & 3)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if divisor is None or not 1 <= bitrate <= 14 or rate == 3:
        return None
    is_mpeg1, is_mono = divisor == 1, header[3] >> 6 == 3
    rate_hz = _MP3_RATES_HZ[rate] // divisor
    length = (144 if is_mpeg1 else 72) * 1000 * _MP3_KBPS[is_mpeg1][bitrate - 1] // rate_hz + (header[2] >> 1 & 1)
    side_info_bytes = 32 if is_mpeg1 and not is_mono else 9 if is_mono and not is_mpeg1 else 17
    return _Mp3Frame(length, (rate_hz, is_mono), 4 + side_info_bytes)


def _find_mp3(data: mmap.mmap, start: int) -> Section | None:
    """MP3: a recording ends at the next Xing header or ID3 tag, and where rate or channels change.

    It ends too where there are more frames than its Xing header counts. Where it has no such header it gets one, as its
    length would be guessed otherwise.
    """
    first = _after_id3(data, start)
    frame = _mp3_frame(data[first : first + 4])
    if frame is None or not _begins_mp3(data, first):
        return None
    kind, has_xing = frame.kind, _has_xing(data, first, frame)
    promised = _xing_frames(data, first + frame.xing_at) if has_xing else None
    promised_end = None
    at, frames = first, 0
    while at < len(data):
        frame = _mp3_frame(data[at : at + 4])
        if frame is None or at + frame.length > len(data):
            if data[at : at + 3] == b"ID3" and _begins_mp3(data, _after_id3(data, at)):
                break
            at = _next_mp3_frame(data, at + 1)
            continue
        if frames and (frame.kind != kind or _has_xing(data, at, frame)):
            break
        if promised is not None and frames == promised + 1:  # the header's own frame comes first
            promised_end = at
        frames += 1
        at += frame.length
    if promised is not None and promised_end is not None and frames > promised + _MP3_LEFTOVER_FRAMES:
        return Section(start, promised_end)
    if has_xing:
        return Section(start, at)
    return Section(first, at, _xing_frame(data[first : first + 4], frames))


def _begins_mp3(data: mmap.mmap, at: int) -> bool:
    """Whether there is a frame, and behind it another one of the same kind or the end; else it may be none."""
    frame = _mp3_frame(data[at : at + 4])
    if frame is None:
        return False
    after = at + frame.length
    following = _mp3_frame(data[after : after + 4])
    return after == len(data) or (following is not None and following.kind == frame.kind)


def _next_mp3_frame(data: mmap.mmap, at: int) -> int:
    """Where the next frame or ID3 tag begins, behind other tags and damage; the end where there is none."""
    begin = at
    while (at := data.find(b"\xff", at)) >= 0 and not _begins_mp3(data, at):
        at += 1
    end = at if at >= 0 else len(data)
    tag = data.find(b"ID3", begin, end)
    return tag if tag >= 0 else end


def _has_xing(data: mmap.mmap, at: int, frame: _Mp3Frame) -> bool:
    return data[at + frame.xing_at : at + frame.xing_at + 4] in _XING_MARKS


def _xing_frames(data: mmap.mmap, at: int) -> int | None:
    """How many frames a Xing header counts, None where it does not say."""
    if at + 12 > len(data):
        return None
    flags, frames = struct.unpack(">II", data[at + 4 : at + 12])
    return int(frames) if flags & _XING_HAS_FRAMES and frames else None


def _xing_frame(header: bytes, frames: int) -> bytes:
    """A frame without sound, of the kind of another one's header, that says how many frames follow."""
    without_checksum = header[1] | 1
    own = bytes([header[0], without_checksum, _XING_BITRATE << 4 | header[2] & 0x0C, header[3]])
    frame = _mp3_frame(own)
    assert frame is not None
    xing = struct.pack(">4sII", _XING_MARKS[0], _XING_HAS_FRAMES, frames)
    return (own + bytes(frame.xing_at - 4) + xing).ljust(frame.length, b"\0")


def _after_id3(data: mmap.mmap, at: int) -> int:
    """Where what follows an ID3v2 tag begins, if there is one."""
    if data[at : at + 3] != b"ID3" or at + 10 > len(data):
        return at
    size = 0
    for byte in data[at + 6 : at + 10]:
        size = size << 7 | byte & 0x7F
    has_footer = data[at + 5] & 0x10
    return at + 10 + size + (10 if has_footer else 0)


_FINDERS: tuple[_Find, ...] = (_find_chunked, _find_au, _find_flac, _find_ogg, _find_mp3)
