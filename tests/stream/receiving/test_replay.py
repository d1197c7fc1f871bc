"""Recordings played again: the same sound on every run, and the sound that was heard live."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from audio_avif.codec.encoder import Encoder
from audio_avif.codec.playout import PlayoutConfig
from audio_avif.config import EncoderConfig, MelConfig
from audio_avif.edge.device_choice import DeviceChoice
from audio_avif.errors import FileError, ModelError
from audio_avif.link.hello import Hello
from audio_avif.link.messages import Bye, Ping
from audio_avif.link.packets import MediaPacket
from audio_avif.vocoders.griffin_lim import GriffinLim
from audio_avif_stream.receiving.outputs import open_output
from audio_avif_stream.receiving.replay import replay, replay_clock
from audio_avif_stream.receiving.stage import Stage
from audio_avif_stream.receiving.stream_recording import Recorder
from audio_avif_stream.telemetry import figures
from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine
from support.stream_helpers import (
    RATE_HZ,
    RECEIVER,
    FloatArray,
    live_resemblance,
    read_wav,
    receiving,
    resemblance,
    run,
    send,
    speech,
    write_wav,
)
from support.timing import best_of_attempts, in_time

BEGAN_S = 5000.0
TILE_S = 8 * 256 / RATE_HZ
VOCODER = GriffinLim(MelConfig())


class Stream:
    """What a sender sends, and when each tile is complete."""

    def __init__(self, seconds: float = 3.0, session: str = "a", **encoder: object) -> None:
        self.samples = speech(seconds)
        codec = Encoder(encoder=EncoderConfig(**encoder))  # type: ignore[arg-type]
        self.packets: list[MediaPacket] = codec.push(self.samples) + codec.flush()
        self.hello = Hello(codec.mel, codec.tile, codec.template, session)
        self.bye: Bye = codec.bye()


def due_s(packet: MediaPacket) -> float:
    """When a sender that hears sample 0 at BEGAN_S has this packet ready."""
    tile = getattr(packet, "tile", packet)
    return BEGAN_S + (tile.first_frame + 8) * 256 / RATE_HZ


def record(path: Path, stream: Stream, late_s: dict[int, float] | None = None, lost: range = range(0)) -> Path:
    """Record a stream whose packets come 50 ms after they are ready, some later and some never."""
    arrivals = [
        (due_s(packet) + 0.05 + (late_s or {}).get(packet.sequence, 0.0), packet)
        for packet in stream.packets
        if packet.sequence not in lost
    ]
    arrivals.sort(key=lambda arrival: (round(arrival[0], 6), arrival[1].sequence))
    with Recorder(path) as recorder:
        recorder.opened(BEGAN_S - 0.5)
        recorder.message(stream.hello.to_bytes(), BEGAN_S - 0.4)
        recorder.message(Ping(0, 77_000_000, round((BEGAN_S - 77) * 1e6)).to_bytes(), BEGAN_S)
        for at_s, packet in arrivals:
            recorder.message(packet.to_bytes(), at_s)
        recorder.message(stream.bye.to_bytes(), at_s + 0.01)
        recorder.closed(at_s + 0.5)
    return path


def heard(
    path: Path, to: Path, speed: str = "full", stats_json: Path | None = None, config: PlayoutConfig | None = None
) -> FloatArray:
    """Replay into a WAV file, and read it; the buffer is deep enough from the start, so that it changes no frame."""
    clock = replay_clock(speed, [str(to)])
    output = open_output([str(to)], DeviceChoice(), 0.04, clock)
    with JsonLines(None if stats_json is None else str(stats_json)) as lines:
        replay(path, Stage(VOCODER, output, config or PlayoutConfig(0.05), LiveLine(False), lines), clock)
    output.close()
    return read_wav(to)


def test_what_is_heard_is_what_was_said(tmp_path: Path) -> None:
    stream = Stream()
    found = heard(record(tmp_path / "a", stream), tmp_path / "a.wav")
    assert found.size == stream.samples.size
    assert resemblance(stream.samples, found) > 0.9


def test_every_run_is_the_same_to_the_byte(tmp_path: Path) -> None:
    late_s = {k: float(late) for k, late in enumerate(np.random.default_rng(1).uniform(0, 0.15, 40))}
    path = record(tmp_path / "a", Stream(dtx=True, redundancy=1), late_s, range(10, 13))
    for name in ("1.wav", "2.wav"):
        heard(path, tmp_path / name, stats_json=tmp_path / f"{name}.json")
    assert (tmp_path / "1.wav").read_bytes() == (tmp_path / "2.wav").read_bytes()
    assert (tmp_path / "1.wav.json").read_bytes() == (tmp_path / "2.wav.json").read_bytes()


def test_the_figures_tell_what_went_wrong(tmp_path: Path) -> None:
    heard(record(tmp_path / "a", Stream(), lost=range(10, 12)), tmp_path / "a.wav", stats_json=tmp_path / "json")
    lines = [json.loads(line) for line in (tmp_path / "json").read_text().splitlines()]
    assert len(lines) >= 4 and [line.pop("is_final", False) for line in lines] == [False] * (len(lines) - 1) + [True]
    assert all(list(line) == list(figures.RECEIVER) for line in lines)
    last = lines[-1]
    assert (last["lost_tiles"], last["session"], last["vocoder"], last["is_connected"]) == (2, "a", "griffin-lim", 0)
    assert last["concealed_ms"] == pytest.approx(2 * TILE_S * 1e3, abs=60)
    # From a tile's first sample: its length, 50 ms of path, and the buffer.
    assert 170 < last["delay_ms"] < 400


def test_a_stall_is_heard_where_it_was(tmp_path: Path) -> None:
    """A sender that stalls for two seconds leaves a gap of sound made up and silence, and is then in time again."""
    stream = Stream(6.0)
    late_s = {k: max(0.0, 2.0 - (k - 15) * TILE_S) for k in range(15, 31)}
    stalled = heard(record(tmp_path / "a", stream, late_s), tmp_path / "a.wav", stats_json=tmp_path / "json")
    usual = heard(record(tmp_path / "b", stream), tmp_path / "b.wav")
    last = json.loads((tmp_path / "json").read_text().splitlines()[-1])
    assert last["concealed_ms"] > 500 and last["skipped_tiles"] > 0
    assert abs(stalled.size - usual.size) < 0.5 * RATE_HZ
    before, after = round(1.8 * RATE_HZ), round(1.5 * RATE_HZ)
    np.testing.assert_array_equal(stalled[:before], usual[:before])
    assert live_resemblance(stream.samples[-after:], stalled[-after - RATE_HZ // 2 :]) > 0.88  # some ms are spliced


def test_a_stream_goes_on_over_another_connection(tmp_path: Path) -> None:
    stream = Stream()
    half = len(stream.packets) // 2
    with Recorder(tmp_path / "a") as recorder:
        for part in (stream.packets[:half], stream.packets[half:]):
            recorder.opened(due_s(part[0]) - 0.05)
            recorder.message(stream.hello.to_bytes(), due_s(part[0]) - 0.04)
            for packet in part:
                recorder.message(packet.to_bytes(), due_s(packet))
            if part[-1] is not stream.packets[-1]:
                recorder.closed(due_s(part[-1]))
        recorder.message(stream.bye.to_bytes(), due_s(stream.packets[-1]) + 0.01)
    found = heard(tmp_path / "a", tmp_path / "a.wav", stats_json=tmp_path / "json")
    last = json.loads((tmp_path / "json").read_text().splitlines()[-1])
    assert (last["reconnections"], last["lost_tiles"], last["concealed_ms"]) == (1, 0, 0)
    assert resemblance(stream.samples, found) > 0.9


def test_another_session_is_another_stream_after_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = Stream(1.0), Stream(2.0, session="b")
    with Recorder(tmp_path / "a") as recorder:
        for stream, later_s in ((first, 0.0), (second, 3600.0)):
            recorder.opened(BEGAN_S + later_s)
            for message in (stream.hello, *stream.packets, stream.bye):
                at_s = due_s(message) if isinstance(message, MediaPacket) else 0.0
                recorder.message(message.to_bytes(), at_s + later_s)
    found = heard(tmp_path / "a", tmp_path / "a.wav")
    assert capsys.readouterr().err.count("played ") == 2
    assert resemblance(first.samples, found) > 0.9 and resemblance(second.samples, found[first.samples.size :]) > 0.9
    assert found.size == first.samples.size + second.samples.size


def test_a_recording_that_ends_in_the_middle_is_played_to_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Stream()
    path = record(tmp_path / "a", stream)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    found = heard(path, tmp_path / "a.wav")
    assert "truncated" in caplog.text
    assert 1.0 < found.size / RATE_HZ < 2.9
    assert resemblance(stream.samples[: found.size], found) > 0.9


def test_a_message_that_breaks_the_protocol_is_told_and_the_rest_played(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Stream(1.0)
    with Recorder(tmp_path / "a") as recorder:
        recorder.opened(BEGAN_S)
        recorder.message(stream.hello.to_bytes(), BEGAN_S)
        for packet in stream.packets:
            recorder.message(packet.to_bytes(), due_s(packet))
            recorder.message(b"\x70nonsense", due_s(packet))
    found = heard(tmp_path / "a", tmp_path / "a.wav")
    assert "the recorded sender broke the protocol here: the peer sent a message of unknown type 0x70" in caplog.text
    assert resemblance(stream.samples, found) > 0.9


@best_of_attempts
def test_the_recorded_pace_is_kept(tmp_path: Path) -> None:
    stream = Stream(1.0)
    path = record(tmp_path / "a", stream)
    began_s = time.monotonic()
    # A buffer that outlasts a stall of this machine: the pace is judged, not what a late thread makes up.
    found = heard(path, tmp_path / "a.wav", "real", config=PlayoutConfig(1.0))
    took_s = time.monotonic() - began_s
    assert took_s > 1.4
    in_time(took_s < 10, took_s)
    likeness = live_resemblance(stream.samples, found)
    in_time(likeness > 0.9, likeness)


def test_a_stream_that_this_vocoder_cannot_speak_is_told(tmp_path: Path) -> None:
    stream = Stream(0.5)
    stream.hello = replace(stream.hello, mel=replace(stream.hello.mel, fmax_hz=8000.0))
    with pytest.raises(ModelError, match="vocoder griffin-lim needs"):
        heard(record(tmp_path / "a", stream), tmp_path / "a.wav")


def test_a_speaker_cannot_play_faster_than_the_clock() -> None:
    with pytest.raises(FileError, match=r"a speaker cannot play at full speed; use --output FILE\.wav"):
        replay_clock("full", ["heard.wav", "speaker"])
    assert replay_clock("full", ["heard.wav", "-"]).is_virtual
    assert not replay_clock("real", ["speaker"]).is_virtual


@pytest.mark.slow
@best_of_attempts
def test_the_commands_record_and_replay_what_was_heard(tmp_path: Path) -> None:
    said = write_wav(tmp_path / "said.wav", speech(3.0))
    live, recording = tmp_path / "live.wav", tmp_path / "recording"
    with receiving("--once", "--output", live, "--record", recording) as (receiver, port):
        assert send(port, "--input", said).code == 0
        assert receiver.ended().code == 0
    replaying = ("--replay", recording, "--replay-speed", "full", "--vocoder", "griffin-lim")
    for name in ("1.wav", "2.wav"):
        ended = run(RECEIVER, *replaying, "--output", tmp_path / name, "--stats-json", tmp_path / f"{name}.json")
        assert (ended.code, ended.err.count("played ")) == (0, 1), ended.err
    assert (tmp_path / "1.wav").read_bytes() == (tmp_path / "2.wav").read_bytes()
    assert (tmp_path / "1.wav.json").read_bytes() == (tmp_path / "2.wav.json").read_bytes()
    found = read_wav(tmp_path / "1.wav")
    likeness = live_resemblance(read_wav(live), found), live_resemblance(speech(3.0), found)
    in_time(likeness[0] > 0.95 and likeness[1] > 0.9, likeness)
    told = run(RECEIVER, *replaying).sentence(RECEIVER)
    assert told.startswith("a speaker cannot play at full speed")
