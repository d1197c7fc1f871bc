"""The live spectrogram of ``--watch``, on a terminal that a test plays."""

from __future__ import annotations

import fcntl
import functools
import itertools
import os
import pty
import re
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.codec.decoder import Frames
from audio_avif_stream.telemetry.half_blocks import (
    COLUMN_FRAMES,
    GAMMA,
    STOPS,
    Column,
    Columns,
    Pen,
    Picture,
    colours,
    meter,
    nearest_of_256,
    pool,
)
from audio_avif_stream.telemetry.watch import Screen, Watch
from support.paths import ROOT
from support.stage import MEL, Stage, decoder_of, hello_of, pause, tell_pixels, tile
from support.stream_helpers import RECEIVER, Peer, Process, json_lines, read_wav, receiving, running, wait_until

pyte = pytest.importorskip("pyte")

WIDTH, HEIGHT = 60, 20
TERMINAL = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


def frames_of(count: int, made_up: int = 0, seed: int = 0) -> Frames:
    log_mel = np.random.default_rng(seed).uniform(-5, 1, (MEL.n_mels, count)).astype(np.float32)
    return Frames(log_mel, None, made_up=made_up)


def columns_of(*pieces: Frames) -> list[Column]:
    columns = Columns(hello_of(8).tile, MEL.n_mels)
    return [column for piece in pieces for column in columns.push(piece)]


def shown(*texts: str) -> Any:
    """What a terminal shows of these texts: the characters of all rows, with their colours."""
    screen = pyte.Screen(WIDTH, HEIGHT)
    stream = pyte.Stream(screen)
    for text in texts:
        stream.feed(text)
    return [[(cell := screen.buffer[row][at]).data + cell.fg + cell.bg for at in range(WIDTH)] for row in range(HEIGHT)]


def test_the_colours_are_those_of_the_web_page() -> None:
    source = (ROOT / "stream" / "audio_avif_stream" / "web" / "src" / "colours.ts").read_text()
    dark = re.search(r"colour: \{\s*dark: \[(.*?)\]", source, re.DOTALL)
    assert dark is not None and tuple(re.findall(r"#\w+", dark[1])) == STOPS
    assert f"GAMMA = {GAMMA};" in source
    assert colours()[[0, 255]].tolist() == [[12, 14, 19], [253, 246, 208]]


def test_terminals_without_true_colour_get_the_nearest_of_256() -> None:
    some = np.array([[255, 255, 255], [8, 8, 8], [95, 135, 175], [94, 136, 170]], np.uint8)
    assert nearest_of_256(some).tolist() == [231, 232, 67, 67]
    assert Pen(False).cells(np.array([0, 255])) == ["\x1b[38;5;233;48;5;230m▀"]


def test_bands_are_spread_evenly_over_rows() -> None:
    assert (pool(4, 2) @ np.array([0, 10, 20, 30])).tolist() == [5, 25]
    assert (pool(2, 4) @ np.array([0, 10])).tolist() == [0, 0, 10, 10]
    assert pool(80, 46).sum(axis=1) == pytest.approx(np.ones(46))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_columns_do_not_depend_on_how_frames_come(counts: list[int]) -> None:
    whole = frames_of(sum(counts))
    starts = np.cumsum([0, *counts])
    pieces = [Frames(whole.log_mel[:, a:b], None) for a, b in itertools.pairwise(starts)]
    for one, other in zip(columns_of(whole), columns_of(*pieces), strict=True):
        assert (one.number, one.kind) == (other.number, other.kind) and one.level == pytest.approx(other.level)
        assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 1


@pytest.mark.parametrize("chunk", [1, 3, 200])
def test_a_picture_that_moves_is_the_picture_drawn_whole(chunk: int) -> None:
    columns = columns_of(frames_of(80, made_up=20), frames_of(300))
    moving, whole = Picture(Pen(True)), Picture(Pen(True))
    texts = [moving.place(5, 10, WIDTH)]
    texts += [moving.push(columns[at : at + chunk]) for at in range(0, len(columns), chunk)]
    whole.push(columns)
    assert shown(*texts) == shown(whole.place(5, 10, WIDTH))
    assert "".join(cell[0] for cell in shown(*texts)[13]) == " " * WIDTH  # what was concealed has moved out


def test_only_what_changes_is_written() -> None:
    picture = Picture(Pen(True))
    picture.place(1, 24, 100)
    assert picture.push([]) == ""
    assert 0 < len(picture.push(columns_of(frames_of(COLUMN_FRAMES)))) < 24 * 80


def test_the_level_is_a_bar() -> None:
    assert [meter(level, 4) for level in (0.0, 0.5, 1.0, 0.28)] == ["    ", "██  ", "████", "█▏  "]
    loud, quiet = np.full((2, 80, 4), [[[0.9]], [[-4.0]]], np.float32)
    assert [column.level for column in columns_of(Frames(loud, None), Frames(quiet, None))] == [
        pytest.approx(0.967, abs=1e-3),
        0.0,
    ]


def test_frames_that_no_tile_gave_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    tell_pixels(monkeypatch)
    stage = Stage(decoder_of())
    for sequence in (0, 1, 4, 5, 6):
        stage.arrive(tile(sequence), 0.128 * sequence)
    stage.arrive(pause(7, 56), 0.128 * 7)
    stage.run_until(1.3)
    stage.arrive(tile(8, first_frame=120), 0.128 * 15)
    kinds = "".join(
        f"{'p' if frames.is_pause else 'c'}" * frames.made_up + "t" * (frames.log_mel.shape[1] - frames.made_up)
        for _, frames in stage.heard
    )
    assert re.fullmatch(r"t{16}c+t{10,}p+t{8,}", kinds), kinds
    assert kinds.count("c") == stage.decoder.background.concealed_frames
    assert kinds.count("p") == stage.decoder.background.noise_frames


class Terminal:
    """A terminal of a test: what is written to ``descriptor`` is shown on a screen, unless it is stopped."""

    def __init__(self) -> None:
        self.is_stopped = False
        self._screen = pyte.Screen(WIDTH, HEIGHT)
        self._stream = pyte.ByteStream(self._screen)
        self._master, self.descriptor = pty.openpty()
        self._lock = threading.Lock()
        self._is_over = False
        self.resize(WIDTH, HEIGHT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._is_over:
            if self.is_stopped:
                time.sleep(0.01)
            elif select.select([self._master], [], [], 0.05)[0]:
                data = os.read(self._master, 4096)
                with self._lock:
                    self._stream.feed(data)

    def resize(self, width: int, height: int) -> None:
        """Change the size, as a user does with a window."""
        with self._lock:
            self._screen.resize(height, width)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    @property
    def lines(self) -> list[str]:
        """The rows, without their colours."""
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    @property
    def colours(self) -> set[str]:
        """The colours of the picture's pixels."""
        with self._lock:
            cells = [cell for row in self._screen.buffer.values() for cell in row.values() if cell.data == "▀"]
        return {colour for cell in cells for colour in (cell.fg, cell.bg)}

    @property
    def is_whole(self) -> bool:
        """Whether all rows scroll, and the cursor is shown."""
        return self._screen.margins in (None, (0, self._screen.lines - 1)) and not self._screen.cursor.hidden

    def wait_for(self, pattern: str, row: int | None = None) -> None:
        """Wait until a row shows this."""

        def is_there() -> bool:
            lines = self.lines if row is None else [self.lines[row]]
            return any(re.search(pattern, line) for line in lines)

        wait_until(is_there, f"{pattern!r} on the terminal")

    def close(self) -> None:
        """Close both ends."""
        self._is_over = True
        self._reader.join()
        os.close(self._master)
        os.close(self.descriptor)


@contextmanager
def terminal() -> Iterator[Terminal]:
    opened = Terminal()
    try:
        yield opened
    finally:
        opened.close()


def watch_on(opened: Terminal) -> Watch:
    flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK
    return Watch(Screen(os.open(os.ttyname(opened.descriptor), flags)), Pen(True))


def is_drawn(watch: Watch, where: Terminal, text: str) -> bool:
    watch.draw(100.0)
    return text in where.lines[-1]


def test_the_columns_of_a_tile_are_shown_one_by_one() -> None:
    with terminal() as opened:
        watch = watch_on(opened)
        spoken = watch.begin(hello_of(8))
        watch.draw(0.0)
        spoken(frames_of(8, made_up=8))
        for count in (1, 2):
            watch.draw(1 / 16)
            opened.wait_for(rf"^ +x{{{count}}}$", HEIGHT - 2)


def test_a_terminal_that_is_stopped_holds_nothing_up_and_shows_all_later() -> None:
    with terminal() as opened, terminal() as other:
        stopped, flowing = watch_on(opened), watch_on(other)
        for watch, where in ((stopped, opened), (flowing, other)):
            spoken = watch.begin(hello_of(8))
            watch.draw(0.0)
            where.is_stopped = where is opened
            for seed in range(60):
                spoken(frames_of(40, made_up=20, seed=seed))
                watch.draw(1.0)
            where.is_stopped = False
            watch.update("the end", 0.0)
            wait_until(functools.partial(is_drawn, watch, where, "the end"), "the text")
        wait_until(lambda: opened.lines[4:-1] == other.lines[4:-1], "the same picture")
        assert opened.colours == other.colours


def test_a_terminal_that_is_too_small_is_left_alone_until_it_is_larger() -> None:
    with terminal() as opened:
        watch = watch_on(opened)
        opened.resize(WIDTH, 5)
        watch.begin(hello_of(8))(frames_of(80))
        watch.draw(100.0)
        opened.resize(WIDTH, HEIGHT)
        watch.draw(100.0)
        opened.wait_for("no stream", HEIGHT - 1)
        wait_until(lambda: len(opened.colours) > 10, "the picture")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_receiver_shows_what_it_plays_and_gives_the_terminal_back(tmp_path: Path, number: signal.Signals) -> None:
    wav, stats = tmp_path / "heard.wav", tmp_path / "stats.jsonl"
    with terminal() as opened:
        options = ("--watch", "--output", wav, "--stats-json", stats, "--resume-s", 60)
        with watching(opened, *options) as (process, port), Peer(port, 3.0) as peer:
            peer.greet(live=True)
            peer.send(*(packet for packet in peer.tiles[:12] if packet.sequence != 6))
            opened.wait_for("x+", HEIGHT - 2)
            opened.wait_for(r"codec +\d.*delay", HEIGHT - 1)
            peer.cut()
            opened.wait_for("^audio-avif-recv: connection lost", None)
            assert not any("connection" in line for line in opened.lines[4:])
            opened.resize(WIDTH + 20, HEIGHT + 10)
            opened.wait_for(r"codec +\d.*delay", HEIGHT + 9)
            assert len(opened.colours) > 10
            process.signal(number)
            assert process.ended().code == 0
            wait_until(lambda: opened.is_whole, "the whole terminal")
            assert any("played" in line for line in opened.lines[:6]) and not any(opened.lines[6:])
    assert read_wav(wav).size and json_lines(stats)[-1]["is_final"]


@contextmanager
def watching(opened: Terminal, *arguments: object) -> Iterator[tuple[Process, int]]:
    """A receiver with standard error on a terminal, and its port."""
    environment = {**os.environ, **TERMINAL}
    options = ("--port", 0, "--vocoder", "griffin-lim", *arguments)
    with running(RECEIVER, *options, stderr=opened.descriptor, env=environment) as process:
        opened.wait_for(r"--port \d+")
        port = re.search(r"--port (\d+)", "\n".join(opened.lines))
        assert port is not None
        yield process, int(port[1])


@pytest.mark.slow
def test_without_a_terminal_the_line_of_figures_is_shown(tmp_path: Path) -> None:
    with receiving("--watch", "--once", "--output", tmp_path / "heard.wav") as (process, port), Peer(port) as peer:
        peer.greet(live=True)
        peer.send(*peer.tiles)
        process.wait_for("codec ")
        peer.send(peer.bye)
        ended = process.ended()
    assert ended.code == 0
    assert ended.err.count("--watch needs a terminal") == 1
