"""The two stream commands as a user runs them: real processes, real sockets, in real time where time matters."""

from __future__ import annotations

import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audio_avif.edge.sound_files import from_s16le, to_s16le
from audio_avif.metrics import stoi
from audio_avif_stream.telemetry import figures
from support.stream_helpers import (
    RATE_HZ,
    SCRIPTS,
    SENDER,
    TILE_SAMPLES,
    Peer,
    json_lines,
    live_resemblance,
    missed_s,
    open_files,
    read_wav,
    receiving,
    resemblance,
    running,
    send,
    speech,
    threads,
    wait_until,
    write_wav,
)
from support.timing import best_of_attempts, in_time

STAGES = {"capture", "tile", "encode", "network", "buffer", "decode", "vocoder", "playout"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("clip") / "clip.wav", speech(2.5))


@pytest.mark.parametrize("tile_frames", [2, 8, 64])
def test_a_file_sent_at_once_arrives_whole(tmp_path: Path, clip: Path, tile_frames: int) -> None:
    heard = tmp_path / "heard.wav"
    with receiving("--once", "--output", heard) as (receiver, port):
        sent = send(port, "--input", clip, "--no-realtime", "--tile-frames", tile_frames)
        played = receiver.ended()
    assert (sent.code, played.code) == (0, 0), sent.err + played.err
    said, echoed = read_wav(clip), read_wav(heard)
    assert echoed.size == said.size
    assert stoi(said, echoed) > 0.8
    assert resemblance(said, echoed) > 0.9


@pytest.mark.slow
@best_of_attempts
def test_a_file_sent_in_real_time_is_heard_in_time_and_every_tile_is_accounted_for(tmp_path: Path, clip: Path) -> None:
    heard, tiles, trace = tmp_path / "heard.wav", tmp_path / "deep" / "tiles", tmp_path / "trace.jsonl"
    with receiving("--once", "--output", heard, "--save-tiles", tiles, "--stats-json", "-", "--stats") as (
        receiver,
        port,
    ):
        began_s = time.monotonic()
        sent = send(port, "--input", clip, "--no-dtx", "--trace", trace, "--stats")
        took_s = time.monotonic() - began_s
        played = receiver.ended()
    assert (sent.code, played.code) == (0, 0), sent.err + played.err
    said, echoed = read_wav(clip), read_wav(heard)
    assert took_s >= said.size / RATE_HZ

    *seconds, final = json_lines(played.out)
    assert set(final) == {*figures.RECEIVER, "is_final"}
    assert len(seconds) >= 2 and all(set(line) == set(figures.RECEIVER) for line in seconds)
    delays_ms = [line["delay_ms"] for line in seconds if line["delay_ms"] is not None]  # none before the first sound
    assert delays_ms and all(delay_ms > 0 for delay_ms in delays_ms)
    in_time(max(delays_ms) < 2000, delays_ms)
    assert 1 < final["codec_kbps"] < 10 and final["wire_kbps"] > final["codec_kbps"]
    # A busy machine may leave gaps, which the file then holds as a listener heard them.
    gaps = 1 + final["underruns"] + final["skipped_tiles"]
    in_time(abs(echoed.size - said.size) <= TILE_SAMPLES * gaps, (echoed.size, said.size, gaps))
    likeness = live_resemblance(said, echoed, missed_s(final))
    in_time(likeness > 0.85, likeness)

    *lines, summary = json_lines(trace)
    tile_count = math.ceil((said.size // 256 + 1) / 8)
    ours = summary["summary"]
    assert set(ours) == set(figures.SENDER) and ours["sent_tiles"] + ours["dropped_tiles"] == tile_count
    assert final["received_tiles"] == ours["sent_tiles"] and final["lost_tiles"] <= ours["dropped_tiles"]
    # The first and last frames give the vocoder nothing to say yet.
    assert len(lines) >= final["received_tiles"] - final["skipped_tiles"] - final["late_tiles"] - 3
    for line in lines:
        assert set(line["stages_ms"]) == STAGES
        assert sum(line["stages_ms"].values()) == pytest.approx(line["mouth_to_ear_ms"], abs=0.05)
    usual_ms = statistics.median(line["mouth_to_ear_ms"] for line in lines)
    assert usual_ms > 128
    in_time(usual_ms < 1000, usual_ms)
    in_time(abs(final["delay_ms"] - lines[-1]["mouth_to_ear_ms"]) < 100, (final["delay_ms"], lines[-1]))
    assert re.search(r"codec +[\d.]+ kbps", sent.err) and re.search(r"buffer +\d+ delay +\d+ ms", played.err)

    pictures = sorted(tiles.iterdir())
    assert {picture.name for picture in pictures} <= {f"001-{number:06d}.avif" for number in range(tile_count)}
    assert len(pictures) == final["received_tiles"]
    for picture in pictures:
        with Image.open(picture) as image:
            assert (image.format, image.size) == ("AVIF", (8, 80))
            image.load()


def test_raw_samples_go_in_and_out_through_pipes(clip: Path) -> None:
    said = read_wav(clip)
    with receiving("--once", "--output", "-") as (receiver, port):
        with running(SENDER, "--host", "127.0.0.1", "--port", port, "--input", "-", "--no-realtime",
                     stdin=subprocess.PIPE) as sender:  # fmt: skip
            assert sender.popen.stdin is not None
            sender.popen.stdin.write(to_s16le(said))
            sender.popen.stdin.close()
            sent = sender.ended()
        played = receiver.ended()
    assert (sent.code, played.code) == (0, 0), sent.err + played.err
    echoed = from_s16le(played.out)
    assert echoed.size == said.size
    assert resemblance(said, echoed) > 0.9


def test_streams_follow_one_another(tmp_path: Path, clip: Path) -> None:
    heard = tmp_path / "heard.wav"
    with receiving("--output", heard, "--stats-json", "-") as (receiver, port):
        for tile_frames in (8, 3):
            assert send(port, "--input", clip, "--no-realtime", "--tile-frames", tile_frames).code == 0
        receiver.signal(signal.SIGTERM)
        played = receiver.ended()
    assert played.code == 0, played.err
    assert played.err.count("played 2.5 s") == 2
    said = read_wav(clip)
    for echoed in np.split(read_wav(heard), [said.size]):
        assert echoed.size == said.size
        assert resemblance(said, echoed) > 0.9


@pytest.mark.slow
def test_a_second_sender_is_refused_and_the_first_does_not_notice(tmp_path: Path, clip: Path) -> None:
    heard, ours = tmp_path / "heard.wav", tmp_path / "ours.jsonl"
    said = write_wav(tmp_path / "said.wav", np.tile(speech(10.0), 6))
    with receiving("--once", "--output", heard, "--stats-json", "-") as (receiver, port):
        speaking = ("--host", "127.0.0.1", "--port", port, "--input", said, "--stats", "--stats-json", ours)
        with running(SENDER, *speaking) as first:
            first.wait_for("codec")
            refused = send(port, "--input", clip)
            wait_until(lambda: heard.stat().st_size > 44 + 4 * RATE_HZ, "two seconds of sound")
            first.signal(signal.SIGINT)
            assert first.ended().code == 0
        played = receiver.ended()
    assert refused.sentence(SENDER) == (
        "the receiver refused the stream: another stream is playing here; try again when it is over"
    )
    assert played.code == 0
    final = json_lines(played.out)[-1]
    sent = json_lines(ours)[-1]
    assert (final["received_tiles"], final["reconnections"]) == (sent["sent_tiles"], 0)
    assert final["lost_tiles"] <= sent["dropped_tiles"]


@pytest.mark.skipif(sys.platform == "win32", reason="the line is typed into a POSIX shell")
def test_the_printed_line_works_as_it_is(clip: Path) -> None:
    with receiving("--once", "--output", "-") as (receiver, _):
        line = next(line for line in receiver.err.splitlines() if line.startswith("  audio-avif-send"))
        typed = subprocess.run(
            f"{line} --input {clip} --no-realtime",
            shell=True,
            env={**os.environ, "PATH": f"{SCRIPTS}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert typed.returncode == 0, typed.stderr
        assert len(receiver.ended().out) == 2 * read_wav(clip).size


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sender_flushes_its_last_tile(tmp_path: Path, number: signal.Signals) -> None:
    heard, said = tmp_path / "heard.wav", write_wav(tmp_path / "said.wav", np.tile(speech(10.0), 12))
    with receiving("--once", "--output", heard, "--stats-json", "-") as (receiver, port):
        with running(SENDER, "--host", "127.0.0.1", "--port", port, "--input", said) as sender:
            wait_until(lambda: heard.stat().st_size > 44 + RATE_HZ, "half a second of sound")
            sender.signal(number)
            sent = sender.ended()
        played = receiver.ended()
    assert (sent.code, played.code) == (0, 0), sent.err + played.err
    count = re.search(r"sent (\d+) tiles: .* (\d+) dropped", sent.err)
    final = json_lines(played.out)[-1]
    assert count is not None and final["received_tiles"] == int(count[1])
    assert int(count[1]) < 120 * RATE_HZ / TILE_SAMPLES / 2, "it waited for the end of the file"
    assert final["lost_tiles"] <= int(count[2]) and "connection lost" not in played.err
    tiles_heard = int(count[1]) - final["skipped_tiles"]
    assert read_wav(heard).size > (tiles_heard - 1) * TILE_SAMPLES - TILE_SAMPLES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_receiver_keeps_what_it_has_and_lets_the_sender_go(
    tmp_path: Path, number: signal.Signals
) -> None:
    heard, said = tmp_path / "heard.wav", write_wav(tmp_path / "said.wav", np.tile(speech(10.0), 12))
    once = ("--host", "127.0.0.1", "--reconnect-s", 0)
    with (
        receiving("--output", heard) as (receiver, port),
        running(SENDER, *once, "--port", port, "--input", said) as sender,
    ):
        wait_until(lambda: heard.stat().st_size > 44 + RATE_HZ, "half a second of sound")
        receiver.signal(number)
        played = receiver.ended()
        sent = sender.ended()
    assert played.code == 0, played.err
    assert "Traceback" not in played.err and "played" in played.err
    assert sent.sentence(SENDER) == (
        "the receiver ended the stream: the receiver was closed; start again when the receiver is back"
    )
    samples = read_wav(heard)
    assert samples.size > RATE_HZ // 2
    assert np.abs(samples).max() > 0.05


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_receiver_that_waits_ends_at_once(tmp_path: Path, number: signal.Signals) -> None:
    heard = tmp_path / "heard.wav"
    with receiving("--output", heard) as (receiver, _):
        receiver.signal(number)
        ended = receiver.ended()
    assert ended.code == 0 and "Traceback" not in ended.err
    assert read_wav(heard).size == 0


def test_a_sender_that_waits_for_its_pipe_can_be_interrupted() -> None:
    with receiving("--once", "--output", "-") as (receiver, port):
        with running(SENDER, "--host", "127.0.0.1", "--port", port, "--input", "-", "--stats",
                     stdin=subprocess.PIPE) as sender:  # fmt: skip
            assert sender.popen.stdin is not None
            sender.popen.stdin.write(to_s16le(speech(0.5)))
            wait_until(lambda: "codec" in sender.err, "the first tile")
            sender.signal(signal.SIGINT)
            sent = sender.ended()
        played = receiver.ended()
    assert (sent.code, played.code) == (0, 0), sent.err + played.err
    assert "Fatal" not in sent.err and "Traceback" not in sent.err


def test_a_sender_whose_pipe_is_quiet_notices_that_the_receiver_has_gone() -> None:
    with (
        receiving("--output", "-") as (receiver, port),
        running(SENDER, "--host", "127.0.0.1", "--port", port, "--input", "-", stdin=subprocess.PIPE) as sender,
    ):
        assert sender.popen.stdin is not None
        sender.popen.stdin.write(to_s16le(speech(0.3)))
        wait_until(lambda: len(receiver.out) > 0, "sound")
        receiver.signal(signal.SIGINT)
        assert receiver.ended().code == 0
        sender.wait_for("reconnecting for up to")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="processes are stopped by signal")
@pytest.mark.parametrize("stalled", ["sender", "receiver"])
@best_of_attempts
def test_a_stall_does_not_leave_delay_behind(tmp_path: Path, stalled: str) -> None:
    trace, heard = tmp_path / "trace.jsonl", tmp_path / "heard.wav"
    said = write_wav(tmp_path / "said.wav", speech(7.5))
    with receiving("--once", "--output", heard, "--stats-json", "-") as (receiver, port):
        with running(SENDER, "--host", "127.0.0.1", "--port", port, "--input", said, "--trace", trace) as sender:
            wait_until(lambda: trace.exists() and trace.read_bytes().count(b"\n") >= 12, "a second and a half")
            victim = sender if stalled == "sender" else receiver
            victim.signal(signal.SIGSTOP)
            before = json_lines(trace.read_bytes().rpartition(b"\n")[0])
            time.sleep(2)
            victim.signal(signal.SIGCONT)
            assert sender.ended().code == 0
        played = receiver.ended()
    assert played.code == 0, played.err
    usual_ms = statistics.median(line["mouth_to_ear_ms"] for line in before)
    *lines, _ = json_lines(trace)
    # The last second of the stream, about three after the stall: a tile and the buffer are 168 ms.
    settled_ms = statistics.median(line["mouth_to_ear_ms"] for line in lines[-8:])
    in_time(settled_ms < usual_ms + 168, [line["mouth_to_ear_ms"] for line in lines])
    in_time(json_lines(played.out)[-1]["delay_ms"] < usual_ms + 500, usual_ms)
    in_time(len(lines) > len(before) + 16, (len(lines), len(before)))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads and files in /proc")
def test_streams_leave_no_threads_and_no_sockets_behind() -> None:
    with receiving("--output", "-", "--resume-s", 0) as (receiver, port):

        def play(says_bye: bool) -> None:
            over = receiver.err.count("played ")
            with Peer(port, 0.3) as peer:
                peer.greet()
                peer.send(*peer.tiles)
                if says_bye:
                    peer.send(peer.bye)
                    assert peer.closed_with() == (1000, "")
            wait_until(lambda: receiver.err.count("played ") > over, "the end of the stream")

        # What stays is opened first, by an end of either kind.
        for number in range(2):
            play(says_bye=number % 2 == 0)
        threads_before, files_before = threads(receiver.pid), open_files(receiver.pid)
        for number in range(20):
            play(says_bye=number % 2 == 0)
        # Ten ends of each kind leave ten behind, or none. asyncio's pool takes one thread more now and then,
        # when the one it has is not quite back from its last work.
        wait_until(
            lambda: threads(receiver.pid) < threads_before + 10 and open_files(receiver.pid) <= files_before,
            "as few threads and files as before",
        )
