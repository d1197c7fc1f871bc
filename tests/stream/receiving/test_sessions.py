"""A stream outlives its connections: it is resumed, waited for, replaced or given up, and the sound goes on."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from audio_avif.codec.encoder import Encoder
from audio_avif.codec.playout import PlayoutConfig
from audio_avif.config import MelConfig, TileConfig
from audio_avif.errors import PeerRefused
from audio_avif.link.hello import Hello
from audio_avif.link.messages import CLOSE_BUSY, CLOSE_PROTOCOL_ERROR, CLOSE_REPLACED, Bye, Receipt
from audio_avif.link.packets import TilePacket
from audio_avif.link.protocol import ReceiverProtocol
from audio_avif.link.takeover import SILENT_S, Verdict
from audio_avif.vocoders.griffin_lim import GriffinLim
from audio_avif_stream.receiving import playout as playout_module
from audio_avif_stream.receiving import session as session_module
from audio_avif_stream.receiving.outputs import WavOutput
from audio_avif_stream.receiving.receiver import Receiver
from audio_avif_stream.receiving.session import Session
from audio_avif_stream.receiving.stage import Stage
from audio_avif_stream.receiving.stream_recording import Kind, Recorder, read_recording
from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine
from support.stream_helpers import (
    PATIENCE_S,
    RATE_HZ,
    TILE_SAMPLES,
    FloatArray,
    Peer,
    Process,
    json_lines,
    open_files,
    read_wav,
    receiving,
    resemblance,
    threads,
    wait_until,
)
from support.timing import best_of_attempts, in_time

TILE_S = TILE_SAMPLES / RATE_HZ


@dataclass
class Ear:
    """A receiver, and what it has heard."""

    process: Process
    port: int
    wav: Path
    stats: Path

    def lines(self) -> list[dict[str, Any]]:
        return json_lines(self.stats.read_bytes().rpartition(b"\n")[0])

    def final(self, streams: int = 1) -> dict[str, Any]:
        """The figures of the last stream, once so many are over."""

        def finals() -> list[dict[str, Any]]:
            return [line for line in self.lines() if line.get("is_final")]

        wait_until(lambda: len(finals()) >= streams, "the end of the stream")
        assert len(finals()) == streams
        return finals()[-1]

    def heard(self) -> FloatArray:
        return read_wav(self.wav)


@contextmanager
def listening(folder: Path, *arguments: object) -> Iterator[Ear]:
    wav, stats = folder / "heard.wav", folder / "stats.jsonl"
    with receiving("--output", wav, "--stats-json", stats, *arguments) as (process, port):
        yield Ear(process, port, wav, stats)
        assert "Traceback" not in process.err


def test_a_stream_goes_on_where_its_connection_broke_off(tmp_path: Path) -> None:
    with listening(tmp_path) as ear, Peer(ear.port) as peer:
        assert peer.greet().received == -1
        peer.send(*peer.tiles[:5])
        heard_s = time.monotonic()
        peer.wait_for_receipt(4)
        peer.cut()
        ear.process.wait_for("connection lost; waiting 60 s for the sender (--resume-s)")
        with peer.anew() as back:
            assert back.greet().received == 4
            away_s = time.monotonic() - heard_s
            ear.process.wait_for("the sender is back after ")
            wait_until(lambda: re.search(r"back after [\d.]+ s\n", ear.process.err) is not None, "how long it was away")
            told = re.search(r"back after ([\d.]+) s\n", ear.process.err)
            assert told is not None and float(told[1]) <= away_s + 0.05
            back.send(*back.tiles[5:], back.bye)
            assert back.closed_with() == (1000, "")
        figures = ear.final()
        assert (figures["lost_tiles"], figures["repeated_tiles"]) == (0, 0)
        assert (figures["received_tiles"], figures["reconnections"]) == (len(peer.tiles), 1)
        assert ear.heard().size == peer.samples.size
        assert resemblance(peer.samples, ear.heard()) > 0.9


def test_a_sender_that_comes_back_while_its_old_connection_seems_alive_is_taken(tmp_path: Path) -> None:
    """As after a change of networks: nothing tells the receiver that the old path is dead."""
    with listening(tmp_path) as ear, Peer(ear.port) as peer:
        peer.greet()
        peer.send(*peer.tiles[:3])
        peer.wait_for_receipt(2)
        with peer.anew() as back:
            assert back.greet().received == 2
            assert peer.closed_with() == (CLOSE_REPLACED, "the stream continues on a newer connection")
            back.send(*back.tiles[3:], back.bye)
            assert back.closed_with() == (1000, "")
        assert ear.final()["reconnections"] == 1
        assert ear.heard().size == peer.samples.size
        assert "connection lost" not in ear.process.err


def test_a_sender_whose_farewell_was_lost_learns_that_all_was_played(tmp_path: Path) -> None:
    with listening(tmp_path) as ear:
        with Peer(ear.port) as peer:
            peer.greet()
            peer.send(*peer.tiles, peer.bye)
            peer.wait_for_receipt(len(peer.tiles) - 1)
            peer.cut()
        ear.final()
        with peer.anew() as back:
            assert back.greet().received == len(peer.tiles) - 1
            back.send(back.bye)
            assert back.closed_with() == (1000, "")
        assert ear.heard().size == peer.samples.size


def test_a_stream_that_nobody_resumes_is_over_after_its_time(tmp_path: Path) -> None:
    with listening(tmp_path, "--once", "--resume-s", 0.5) as ear:
        with Peer(ear.port) as peer:
            peer.greet()
            peer.send(*peer.tiles[:4])
            peer.wait_for_receipt(3)
            cut_s = time.monotonic()
            peer.cut()
        ended = ear.process.ended()
        assert ended.code == 0 and 0.5 < time.monotonic() - cut_s < PATIENCE_S
        assert "the sender did not come back; the sound received so far is played" in ended.err
        assert ear.heard().size == 4 * TILE_SAMPLES


def test_who_comes_back_with_other_settings_is_refused_and_the_stream_goes_on(tmp_path: Path) -> None:
    with listening(tmp_path) as ear, Peer(ear.port) as peer:
        peer.greet()
        peer.send(*peer.tiles[:3])
        with peer.anew() as other:
            other.send(replace(peer.hello, tile=replace(peer.hello.tile, log10_max=3.0)))
            assert other.closed_with() == (
                CLOSE_PROTOCOL_ERROR,
                "a resumed stream cannot change its settings; start a new stream",
            )
        peer.send(*peer.tiles[3:], peer.bye)
        assert peer.closed_with() == (1000, "")
        assert ear.final()["lost_tiles"] == 0
        assert ear.heard().size == peer.samples.size


def test_a_sender_that_was_restarted_need_not_wait_for_the_old_stream(tmp_path: Path) -> None:
    resume = ("--resume-s", 100 * PATIENCE_S)
    with listening(tmp_path, *resume) as ear, Peer(ear.port) as first, Peer(ear.port, 0.5) as second:
        first.greet()
        first.send(*first.tiles[:2])
        first.wait_for_receipt(1)
        first.cut()
        ear.process.wait_for("waiting 6000 s")
        assert second.greet().received == -1
        second.send(*second.tiles, second.bye)
        assert second.closed_with() == (1000, "")
        assert ear.final(streams=2)["received_tiles"] == len(second.tiles)
        assert ear.heard()[-second.samples.size :].size == second.samples.size
        assert "another sender has started a stream; the earlier stream has ended" in ear.process.err


def test_a_sender_restarted_in_a_single_stream_is_heard_to_its_end(tmp_path: Path) -> None:
    with listening(tmp_path, "--once") as ear, Peer(ear.port) as first, Peer(ear.port, 0.5) as second:
        first.greet()
        first.cut()
        ear.process.wait_for("waiting 60 s")
        second.greet()
        second.send(*second.tiles, second.bye)
        assert second.closed_with() == (1000, "")
        assert ear.process.ended().code == 0
        assert ear.heard()[-second.samples.size :].size == second.samples.size


def test_a_sender_that_calls_again_before_its_welcome_gets_one(tmp_path: Path) -> None:
    with listening(tmp_path) as ear, Peer(ear.port, 0.5) as impatient:
        impatient.send(impatient.hello)
        with impatient.anew() as again:
            assert again.greet().received == -1
            again.send(*again.tiles, again.bye)
            assert again.closed_with() == (1000, "")
        assert impatient.closed_with()[0] == CLOSE_REPLACED
        assert ear.heard().size == again.samples.size


def test_thirty_disconnects_lose_nothing_and_leave_nothing_behind(tmp_path: Path) -> None:
    with listening(tmp_path) as ear:
        peer = Peer(ear.port, 4.0)
        assert len(peer.tiles) > 30
        with peer:
            peer.greet()
        for number, tile in enumerate(peer.tiles):
            with peer.anew() as back:
                assert back.greet().received == number - 1
                back.send(tile)
                back.wait_for_receipt(number)
                if number == 5:
                    files, many_threads = open_files(ear.process.pid), threads(ear.process.pid)
                back.cut()
        wait_until(
            lambda: open_files(ear.process.pid) <= files and threads(ear.process.pid) <= many_threads,
            "as few files and threads as before",
        )
        with peer.anew() as back:
            back.greet()
            back.send(back.bye)
            assert back.closed_with() == (1000, "")
        figures = ear.final()
        assert (figures["lost_tiles"], figures["reconnections"]) == (0, len(peer.tiles) + 1)
        assert ear.heard().size == peer.samples.size
        assert resemblance(peer.samples, ear.heard()) > 0.9


class HeldLine:
    """A line whose messages come, and which is closed, when a test says so."""

    is_backed_up = True

    def __init__(self) -> None:
        self.coming: asyncio.Queue[bytes] = asyncio.Queue()
        self.welcome = asyncio.Event()
        self.may_close = asyncio.Event()
        self.may_close.set()
        self.told: tuple[int, str] | None = None

    async def recv(self) -> bytes:
        return await self.coming.get()

    async def send(self, message: bytes) -> None:
        self.welcome.set()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self.may_close.wait()
        self.told = self.told or (code, reason)


HELLO = Hello(MelConfig(), TileConfig(), Encoder().template, "one")


def stage_of(folder: Path, **options: Any) -> Stage:
    """Where a stream of a test is played: a file."""
    output = WavOutput(str(folder / "heard.wav"))
    return Stage(GriffinLim(), output, PlayoutConfig(), LiveLine(False), JsonLines(None), **options)


async def carry(session: Session, line: HeldLine, hello: Hello = HELLO) -> None:
    """Go on with a session over this line, as long as it goes."""
    protocol = ReceiverProtocol()
    protocol.receive(hello.to_bytes())
    await session.carry(line, hello.to_bytes(), protocol)


async def over(*tasks: asyncio.Future[Any]) -> None:
    """Wait for the end of all."""
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*tasks)


def test_a_connection_that_was_replaced_is_told_so_even_if_a_message_of_it_comes_meanwhile(tmp_path: Path) -> None:
    async def meet(stage: Stage) -> None:
        old, new, session = HeldLine(), HeldLine(), Session(HELLO, stage, 1)

        async def leave() -> None:
            await carry(session, old)
            assert old.told == (CLOSE_REPLACED, "the stream continues on a newer connection")

        tasks = [asyncio.create_task(session.run(None)), asyncio.create_task(leave())]
        await old.welcome.wait()
        tasks.append(asyncio.create_task(carry(session, new)))
        old.coming.put_nowait(Peer(0).tiles[0].to_bytes())
        new.coming.put_nowait(Peer(0).bye.to_bytes())
        await over(*tasks)

    stage = stage_of(tmp_path)
    asyncio.run(meet(stage))
    stage.output.close()


def test_a_sender_does_not_seem_silent_for_having_waited_while_the_vocoder_warmed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0.0]

    def warm_up(*_: object) -> None:
        now_s[0] += 10 * SILENT_S

    async def meet(stage: Stage) -> None:
        line, session = HeldLine(), Session(HELLO, stage, 1)

        async def another() -> None:
            await session._is_open.wait()
            assert session.judge(replace(HELLO, session="another")) is Verdict.WAIT

        line.coming.put_nowait(Peer(0).bye.to_bytes())
        await over(*map(asyncio.create_task, (another(), session.run(None), carry(session, line))))

    monkeypatch.setattr(playout_module, "warm_up", warm_up)
    monkeypatch.setattr(session_module, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    stage = stage_of(tmp_path)
    asyncio.run(meet(stage))
    stage.output.close()


def test_a_receiver_that_is_done_takes_no_other_stream_while_the_last_connection_closes(tmp_path: Path) -> None:
    async def meet(stage: Stage) -> None:
        receiver, line = Receiver(stage, is_once=True), HeldLine()
        line.may_close.clear()  # as on a path that is dead
        session = receiver.session_for(HELLO)
        carrying = asyncio.create_task(carry(session, line))
        line.coming.put_nowait(Peer(0).bye.to_bytes())
        async with asyncio.timeout(PATIENCE_S):
            await session.is_over.wait()
        assert not receiver.finished.is_set()
        with pytest.raises(PeerRefused, match="the receiver was closed"):
            receiver.session_for(replace(HELLO, session="another"))
        assert receiver.session_for(HELLO) is session  # whose sender may not have heard the end
        line.may_close.set()
        await over(carrying, asyncio.create_task(receiver.finished.wait()))

    stage = stage_of(tmp_path)
    asyncio.run(meet(stage))
    stage.output.close()


def test_the_end_of_a_stream_that_nobody_is_waited_for_is_recorded(tmp_path: Path) -> None:
    with (
        listening(tmp_path, "--resume-s", 0, "--record", tmp_path / "a.rec") as ear,
        Peer(ear.port) as peer,
    ):
        peer.greet(live=True)
        peer.send(*peer.tiles[:2])
        peer.wait_for_receipt(1)
        peer.cut()
        ear.final()
    assert [event.kind for event in read_recording(tmp_path / "a.rec")][-1] == Kind.ENDED


def test_what_comes_of_a_stream_that_had_to_make_way_is_not_recorded_with_the_next(tmp_path: Path) -> None:
    peer = Peer(0)

    async def meet(stage: Stage) -> None:
        lines = HeldLine(), HeldLine()
        before: Session | None = None
        tasks = []
        for number, line in enumerate(lines):
            hello = replace(HELLO, session=f"number {number}")
            if before is not None:
                before.make_way()
            session = Session(hello, stage, number)
            tasks += map(asyncio.create_task, (session.run(before), carry(session, line, hello)))
            before = session
            if number == 0:
                await line.welcome.wait()
        await asyncio.sleep(0)
        lines[0].coming.put_nowait(peer.tiles[0].to_bytes())
        await lines[1].welcome.wait()
        lines[1].coming.put_nowait(peer.bye.to_bytes())
        await over(*tasks)

    with Recorder(tmp_path / "a.rec") as recorder:
        stage = stage_of(tmp_path, recorder=recorder)
        asyncio.run(meet(stage))
        stage.output.close()
    kinds = [(event.kind, event.data[:1]) for event in read_recording(tmp_path / "a.rec")]
    began, ended = (Kind.BEGAN, b""), (Kind.ENDED, b"")
    assert kinds == [
        began,
        (Kind.MESSAGE, b"\x01"),
        ended,
        began,
        (Kind.MESSAGE, b"\x01"),
        (Kind.MESSAGE, b"\x04"),
        ended,
    ]


@pytest.mark.slow
def test_another_sender_waits_for_one_that_speaks_and_replaces_one_that_is_silent(tmp_path: Path) -> None:
    with listening(tmp_path) as ear, Peer(ear.port) as first:
        first.greet()
        sent_s = time.monotonic()
        first.send(first.tiles[0])
        first.wait_for_receipt(0)
        heard_s = time.monotonic()
        while True:
            with Peer(ear.port, 0.3) as second:
                asked_s = time.monotonic()
                second.send(second.hello)
                try:
                    second.socket.recv(PATIENCE_S)
                except ConnectionClosed as closed:
                    assert closed.rcvd is not None
                    assert (closed.rcvd.code, asked_s - heard_s < 3) == (CLOSE_BUSY, True)
                    continue
                assert time.monotonic() - sent_s > 3
                second.send(*second.tiles, second.bye)
                assert second.closed_with() == (1000, "")
                break
        assert first.closed_with() == (CLOSE_BUSY, "another stream has started here")


def test_every_media_message_is_acknowledged_at_once(tmp_path: Path) -> None:
    with listening(tmp_path) as ear, Peer(ear.port) as peer:
        peer.greet()
        for tile in peer.tiles:
            peer.send(tile)
            assert peer.socket.recv(PATIENCE_S) == Receipt(tile.sequence).to_bytes()


@pytest.mark.slow
@best_of_attempts
def test_a_live_stream_is_heard_again_after_a_gap_in_its_place(tmp_path: Path) -> None:
    """The path is gone for a second and a half or longer; what was said in it is lost, the rest is in time."""
    with listening(tmp_path) as ear, Peer(ear.port, 3.0) as peer:
        peer.greet(live=True)
        began_s = time.monotonic()
        half = len(peer.tiles) // 2
        for tile in peer.tiles[:half]:
            speak_in_time(peer, tile, began_s, 0)
        peer.wait_for_receipt(half - 1)
        peer.cut()
        ear.process.wait_for("waiting 60 s")
        wait_until(lambda: any(line["is_connected"] == 0 for line in ear.lines()), "a second without a connection")
        with peer.anew() as back:
            gap_tiles = max(12, math.ceil((time.monotonic() - began_s) / TILE_S) - half + 1)
            time.sleep(max(0.0, began_s + (half + gap_tiles) * TILE_S - time.monotonic()))
            assert back.greet(live=True).received == half - 1
            for tile in peer.tiles[half:]:
                speak_in_time(back, tile, began_s, gap_tiles)
            back.send(Bye(len(peer.tiles) + gap_tiles, peer.samples.size + gap_tiles * TILE_SAMPLES))
            assert back.closed_with() == (1000, "")
        figures = ear.final()
        assert (figures["reconnections"], figures["lost_tiles"]) == (1, gap_tiles)
        in_time(figures["played_s"] > 2, figures)
        length_s = ear.heard().size / RATE_HZ
        in_time(abs(length_s - (3.0 + gap_tiles * TILE_S)) < 1.0, length_s)


def speak_in_time(peer: Peer, tile: TilePacket, began_s: float, later_tiles: int) -> None:
    """Send a tile, so many later than it is numbered, when it is due."""
    moved = replace(tile, sequence=tile.sequence + later_tiles, first_frame=tile.first_frame + 8 * later_tiles)
    time.sleep(max(0.0, began_s + moved.sequence * TILE_S - time.monotonic()))
    peer.send(moved)
