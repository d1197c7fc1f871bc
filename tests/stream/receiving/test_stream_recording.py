"""Recordings of streams: written, read, cut short and damaged."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.errors import FileError
from audio_avif.link.messages import MAX_MESSAGE_BYTES
from audio_avif_stream.receiving.stream_recording import MAGIC, Event, Kind, Recorder, read_recording

HEAD = MAGIC + b"\x02"


def record(kind: int, at_us: int, data: bytes = b"", size: int | None = None) -> bytes:
    """One record, from its documentation."""
    return struct.pack(">BQI", kind, at_us, len(data) if size is None else size) + data


def write(path: Path, events: list[Event]) -> Path:
    """Record these."""
    with Recorder(path) as recorder:
        for event in events:
            if event.kind is Kind.MESSAGE:
                recorder.message(event.data, event.at_s)
            else:
                (recorder.opened if event.kind is Kind.BEGAN else recorder.closed)(event.at_s)
    return path


STREAM = [
    Event(Kind.BEGAN, 5000.0),
    Event(Kind.MESSAGE, 5000.001, b"hello"),
    Event(Kind.MESSAGE, 5000.129, b"\x02tile"),
    Event(Kind.ENDED, 5002.5),
]


def test_the_file_is_as_documented(tmp_path: Path) -> None:
    assert write(tmp_path / "a", STREAM).read_bytes() == (
        b"audio-avif recording\n\x02"
        + record(1, 5_000_000_000)
        + record(2, 5_000_001_000, b"hello")
        + record(2, 5_000_129_000, b"\x02tile")
        + record(3, 5_002_500_000)
    )


@given(
    began_us=st.integers(0, 2**52),
    gaps_us=st.lists(st.integers(0, 10**9), min_size=1, max_size=20),
    kinds=st.lists(st.sampled_from(Kind), min_size=20, max_size=20),
    data=st.binary(max_size=200),
)
def test_what_is_recorded_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, began_us: int, gaps_us: list[int], kinds: list[Kind], data: bytes
) -> None:
    at_us = began_us
    events = [Event(Kind.BEGAN, at_us / 1e6)]
    for gap_us, kind in zip(gaps_us, kinds, strict=False):
        at_us += gap_us
        events.append(Event(kind, at_us / 1e6, data if kind is Kind.MESSAGE else b""))
    path = write(tmp_path_factory.mktemp("recording") / "a", events)
    assert list(read_recording(path)) == events


@given(size=st.integers(len(HEAD), len(HEAD) + 13 * 4 + 10))
def test_a_recording_cut_short_anywhere_gives_what_is_whole_and_says_so(
    tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    path = write(tmp_path_factory.mktemp("recording") / "a", STREAM)
    whole = path.read_bytes()
    assert len(whole) == len(HEAD) + 13 * 4 + 10
    os.truncate(path, size)
    ends = [len(HEAD), *(len(HEAD) + 13 * (n + 1) + (0, 5, 10, 10)[n] for n in range(4))]
    warnings: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = warnings.append  # type: ignore[method-assign]
    logging.getLogger("audio_avif_stream.receiving.stream_recording").addHandler(handler)
    try:
        assert list(read_recording(path)) == STREAM[: sum(end <= size for end in ends[1:])]
    finally:
        logging.getLogger("audio_avif_stream.receiving.stream_recording").removeHandler(handler)
    assert [("truncated" in warning.getMessage()) for warning in warnings] == [True] * (size not in ends)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "ends before its first record"),
        (MAGIC[:9], "ends before its first record"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt and more of it", "is not a recording of audio-avif-recv --record"),
        (MAGIC + b"\x01", "is a recording of version 1; this program reads version 2"),
        (HEAD + record(9, 0), "damaged at byte 22: a record has the unknown kind 9"),
        (HEAD + record(2, 0, size=MAX_MESSAGE_BYTES + 1), "a record of 65537 bytes is too long for its kind"),
        (HEAD + record(1, 0, b"x"), "a record of 1 bytes is too long for its kind"),
        (HEAD + record(1, 5) + record(3, 4), "damaged at byte 35: the times run backwards"),
        (HEAD + record(1, 2**64 - 1), "out of range"),
    ],
)
def test_what_is_no_recording_or_damaged_is_told_in_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(FileError, match=sentence):
        list(read_recording(path))


def test_a_file_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read: No such file"):
        read_recording(tmp_path / "a")


@given(st.binary(max_size=300))
def test_no_bytes_are_worse_than_a_sentence(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("recording") / "a"
    path.write_bytes(HEAD + data)
    try:
        events = list(read_recording(path))
    except FileError:
        return
    assert sum(13 + len(event.data) for event in events) <= len(data)


def test_another_file_is_never_overwritten(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("dear reader")
    with pytest.raises(FileError, match="exists and is not a recording"):
        Recorder(letter)
    assert letter.read_text() == "dear reader"


def test_an_earlier_recording_is_kept_until_a_stream_comes(tmp_path: Path) -> None:
    path = write(tmp_path / "a", STREAM)
    with Recorder(path):
        pass
    assert list(read_recording(path)) == STREAM
    assert list(read_recording(write(path, STREAM[:2]))) == STREAM[:2]


def test_a_file_that_cannot_be_written_is_told_before_any_stream(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written: No such file"):
        Recorder(tmp_path / "no folder" / "a")
    assert not list(tmp_path.iterdir())


def test_what_is_recorded_survives_a_program_that_is_killed(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a")
    recorder.opened(5000.0)
    recorder.message(b"hello", 5000.001)
    assert list(read_recording(tmp_path / "a")) == STREAM[:2]
    recorder.close()


def test_a_clock_that_goes_back_is_not_believed(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a") as recorder:
        recorder.opened(10.0)
        recorder.message(b"late", 11.0)
        recorder.message(b"early", 10.5)
    assert [event.at_s for event in read_recording(tmp_path / "a")] == [10.0, 11.0, 11.0]


def test_without_a_path_nothing_is_recorded() -> None:
    with Recorder(None) as recorder:
        assert not recorder
        recorder.opened(0.0)
        recorder.message(b"hello", 0.1)
        recorder.closed(0.2)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file can grow beyond this size, as on a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_once_and_leaves_what_came_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Recorder(tmp_path / "a") as recorder, room_for(1000):
        recorder.opened(0.0)
        for number in range(10):
            recorder.message(bytes(300), number / 10)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'a'} cannot be written (File too large); the rest is not recorded"
    ]
    assert [event.kind for event in read_recording(tmp_path / "a")] == [Kind.BEGAN] + [Kind.MESSAGE] * 3
