"""What is heard is kept as pictures: the same frames, a file a stream, nothing written over, nothing waited for."""

from __future__ import annotations

import base64
import errno
import io
import json
import logging
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from PIL import Image

from audio_avif.codec.encoder import Encoder
from audio_avif.codec.playout import PlayoutConfig
from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.edge.device_choice import DeviceChoice
from audio_avif.errors import FileError
from audio_avif.link.hello import Hello
from audio_avif.link.packets import MediaPacket
from audio_avif.metrics import stoi
from audio_avif.recording.codec import decode
from audio_avif.recording.grid import GridWriter
from audio_avif.recording.layout import to_pixels
from audio_avif.recording.picture_reader import PictureReader
from audio_avif.still.tiles import from_pixels
from audio_avif.vocoders.griffin_lim import GriffinLim
from audio_avif.vocoders.registry import load_vocoder
from audio_avif_stream.commands import recv
from audio_avif_stream.receiving import saving
from audio_avif_stream.receiving.outputs import open_output
from audio_avif_stream.receiving.replay import replay, replay_clock
from audio_avif_stream.receiving.saving import Saver
from audio_avif_stream.receiving.stage import Stage
from audio_avif_stream.receiving.stream_recording import Recorder
from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine
from support.stage import hello_of
from support.stream_helpers import (
    CLIP,
    RATE_HZ,
    RECEIVER,
    SENDER,
    TILE_SAMPLES,
    FloatArray,
    live_resemblance,
    missed_s,
    read_wav,
    receiving,
    resemblance,
    run,
    running,
    send,
    speech,
    wait_until,
    write_wav,
)
from support.timing import best_of_attempts, in_time

LIVE, FILE = hello_of(8, live=True), hello_of(8, live=False)
HOP = 256


def frames_of(count: int, seed: int = 0, config: TileConfig | None = None, n_mels: int = 80) -> FloatArray:
    """Log-mels as tiles show them ``[n_mels, count]``, like no other."""
    random = np.random.default_rng(seed)
    shades = np.cumsum(random.integers(-3, 4, (n_mels, count)), axis=1) + random.integers(60, 200, (n_mels, 1))
    return from_pixels(np.clip(shades, 0, 255).astype(np.uint8), config or TileConfig())


def keep(saver: Saver, frames: FloatArray, hello: Hello = FILE, samples: int | None = None) -> None:
    """A whole stream, tile by tile."""
    saver.begin(hello)
    for start in range(0, frames.shape[1], 8):
        saver.push(frames[:, start : start + 8])
    saver.end(frames.shape[1] * HOP - 1 if samples is None else samples)


def shown(path: Path) -> FloatArray:
    """The frames of a picture ``[n_mels, frames]``."""
    with path.open("rb") as file:
        (channel,) = np.concatenate(list(PictureReader(file).log_mels()), axis=2)
    return channel


def samples_of(path: Path) -> int:
    """How many samples a picture says it is."""
    with path.open("rb") as file:
        return PictureReader(file).info.samples


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("count", [1, 8, 625, 626, 1250, 1300])
@pytest.mark.parametrize("hello", [LIVE, FILE], ids=["live", "file"])
def test_every_frame_is_in_the_picture_as_it_was_spoken(tmp_path: Path, hello: Hello, count: int) -> None:
    frames = frames_of(count)
    with Saver(tmp_path / "kept.avif") as saver:
        keep(saver, frames, hello)
    np.testing.assert_array_equal(shown(tmp_path / "kept.avif"), frames)
    assert names(tmp_path) == {"kept.avif"}
    with Image.open(tmp_path / "kept.avif") as image:
        assert image.size == (count, 80)


def test_what_lies_between_the_steps_is_rounded(tmp_path: Path) -> None:
    """Noise and concealment are no pixels before they are kept."""
    frames = frames_of(100) + np.random.default_rng(1).normal(0, 0.3, (80, 100)).astype(np.float32)
    with Saver(tmp_path / "kept.avif") as saver:
        keep(saver, frames)
    wanted = np.clip(frames, TileConfig().log10_min, TileConfig().log10_max)
    assert np.abs(shown(tmp_path / "kept.avif") - wanted).max() <= 6.5 / 255 / 2 + 1e-6


def test_a_streams_range_and_mel_are_its_pictures(tmp_path: Path) -> None:
    tile = TileConfig(8, -9.0, 0.5)
    hello = replace(FILE, tile=tile, mel=MelConfig(n_mels=40))
    frames = frames_of(30, config=tile, n_mels=40)
    with Saver(tmp_path / "kept.avif") as saver:
        keep(saver, frames, hello)
    np.testing.assert_array_equal(shown(tmp_path / "kept.avif"), frames)
    with (tmp_path / "kept.avif").open("rb") as file:
        info = PictureReader(file).info
    assert (info.mel, info.log10_min, info.log10_max) == (hello.mel, -9.0, 0.5)


@pytest.mark.parametrize(
    ("samples", "kept"),
    [(29 * HOP, 29 * HOP), (29 * HOP + 100, 29 * HOP + 100), (30 * HOP - 1, 30 * HOP - 1), (30 * HOP, 30 * HOP - 1)],
)
def test_a_picture_is_as_long_as_its_stream(tmp_path: Path, samples: int, kept: int) -> None:
    with Saver(tmp_path / "kept.avif") as saver:
        keep(saver, frames_of(30), samples=samples)
    assert samples_of(tmp_path / "kept.avif") == kept


@pytest.mark.parametrize("samples", [0, 5, 20 * HOP, 40 * HOP])
def test_a_length_that_the_frames_cannot_have_is_taken_to_the_nearest(tmp_path: Path, samples: int) -> None:
    """As of a stream whose output has failed."""
    with Saver(tmp_path / "kept.avif") as saver:
        keep(saver, frames_of(30), samples=samples)
    assert samples_of(tmp_path / "kept.avif") == min(max(samples, 29 * HOP), 30 * HOP - 1)
    assert shown(tmp_path / "kept.avif").shape[1] == 30


def test_each_stream_has_a_file_and_what_is_there_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a talk.avif"
    (tmp_path / "a talk-2.avif").write_bytes(b"of an earlier run")
    (tmp_path / "a talk-4.avif.part").write_bytes(b"another receiver is writing it")
    for seeds in ((1, 2), (3,)):
        with Saver(path) as saver:
            for seed in seeds:
                keep(saver, frames_of(20 + seed, seed))
    found = {1: "a talk.avif", 2: "a talk-3.avif", 3: "a talk-5.avif"}
    for seed, name in found.items():
        np.testing.assert_array_equal(shown(tmp_path / name), frames_of(20 + seed, seed))
    assert names(tmp_path) == {*found.values(), "a talk-2.avif", "a talk-4.avif.part"}
    assert (tmp_path / "a talk-2.avif").read_bytes() == b"of an earlier run"
    assert capsys.readouterr().err.splitlines() == [
        f"saved {(20 + seed) * 0.016:.1f} s as {tmp_path / name}" for seed, name in found.items()
    ]


def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept.avif"
    with Saver(path) as saver:
        path.write_bytes(b"mine")
        keep(saver, frames_of(20))
    assert path.read_bytes() == b"mine" and shown(tmp_path / "kept-2.avif").shape[1] == 20


def test_a_stream_in_which_nothing_is_spoken_leaves_nothing(tmp_path: Path) -> None:
    with Saver(tmp_path / "kept.avif") as saver:
        keep(saver, frames_of(0))
        saver.begin(LIVE)
        saver.push(np.zeros((80, 0), np.float32))
        saver.end(0)
        keep(saver, frames_of(3))
    assert names(tmp_path) == {"kept.avif"}


def test_what_there_is_of_a_stream_is_written_when_the_program_ends(tmp_path: Path) -> None:
    with Saver(tmp_path / "kept.avif") as saver:
        saver.begin(LIVE)
        saver.push(frames_of(700))
    np.testing.assert_array_equal(shown(tmp_path / "kept.avif"), frames_of(700))
    saver.push(frames_of(8))  # by a thread that has not heard of it
    saver.end(5)
    saver.close()
    assert names(tmp_path) == {"kept.avif"}


def test_a_stream_that_begins_before_the_last_one_ended_ends_it(tmp_path: Path) -> None:
    with Saver(tmp_path / "kept.avif") as saver:
        for seed in (1, 2):
            saver.begin(LIVE)
            saver.push(frames_of(9, seed))
    for seed, name in ((1, "kept.avif"), (2, "kept-2.avif")):
        np.testing.assert_array_equal(shown(tmp_path / name), frames_of(9, seed))


def test_a_stream_that_fills_a_grid_goes_on_in_the_next_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "max_cells", lambda width, height: 2)
    frames = frames_of(2 * 1250 + 77)
    with Saver(tmp_path / "kept.avif") as saver:
        saver.begin(FILE)
        for start in range(0, frames.shape[1], 100):  # some reach over the edge
            saver.push(frames[:, start : start + 100])
        saver.end(frames.shape[1] * HOP - 99)
    paths = [tmp_path / name for name in ("kept.avif", "kept-2.avif", "kept-3.avif")]
    np.testing.assert_array_equal(np.concatenate([shown(path) for path in paths], axis=1), frames)
    assert [samples_of(path) for path in paths] == [1250 * HOP - 1, 1250 * HOP - 1, 77 * HOP - 99]


def test_a_stream_that_ends_with_its_grid_leaves_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "max_cells", lambda width, height: 2)
    with Saver(tmp_path / "kept.avif") as saver:
        keep(saver, frames_of(1250))
    assert names(tmp_path) == {"kept.avif"}


def test_without_a_path_nothing_is_kept() -> None:
    with Saver(None) as saver:
        keep(saver, frames_of(20))
        assert not any(thread.name == "saving" for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("kept.png", r"kept\.png must end in \.avif"),
        ("kept", r"kept must end in \.avif"),
        ("nowhere/kept.avif", r"kept\.avif cannot be written: No such file or directory"),
        ("file/kept.avif", r"kept\.avif cannot be written: Not a directory"),
    ],
)
def test_a_place_that_will_not_do_is_told_at_the_start(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileError, match=complaint):
        Saver(tmp_path / name)
    assert names(tmp_path) == {"file"}


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_full_disk_is_told_in_a_line_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    really = saving.write_picture

    def fill_up(grid: GridWriter, encoder: Any, config: Any, file: IO[bytes]) -> None:
        file.write(b"ftyp")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saving, "write_picture", fill_up)
    with Saver(tmp_path / "kept.avif") as saver:
        keep(saver, frames_of(20))
        wait_until(lambda: bool(warnings_in(caplog)), "the warning")
        assert names(tmp_path) == set()
        monkeypatch.setattr(saving, "write_picture", really)
        keep(saver, frames_of(30))
    path = tmp_path / "kept.avif"
    assert shown(path).shape[1] == 30
    assert warnings_in(caplog) == [
        f"the picture of the stream is not saved: {path} cannot be written: No space left on device"
    ]


def test_a_full_temporary_folder_is_told_in_a_line_and_what_came_before_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    really = GridWriter.add

    def add(self: GridWriter, still: bytes) -> None:
        if self.cells == 2:
            raise FileError("the temporary folder is full: No space left on device")
        really(self, still)

    monkeypatch.setattr(GridWriter, "add", add)
    with Saver(tmp_path / "kept.avif") as saver:
        keep(saver, frames_of(2000))
        keep(saver, frames_of(625 + 5))
        keep(saver, frames_of(1250 + 5))
    np.testing.assert_array_equal(shown(tmp_path / "kept.avif"), frames_of(2000)[:, :1250])
    assert samples_of(tmp_path / "kept.avif") == 1250 * HOP - 1
    assert shown(tmp_path / "kept-2.avif").shape[1] == 630
    np.testing.assert_array_equal(shown(tmp_path / "kept-3.avif"), frames_of(1255)[:, :1250])
    sentence = "the temporary folder is full: No space left on device; the rest of the stream is not saved"
    assert warnings_in(caplog) == [sentence, sentence]


def test_whatever_fails_the_thread_lives_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(saving, "GridWriter", (tmp_path / "no" / "temporary" / "folder").read_bytes)
    with Saver(tmp_path / "kept.avif") as saver:
        keep(saver, frames_of(20))
        wait_until(lambda: bool(warnings_in(caplog)), "the warning")
        monkeypatch.setattr(saving, "GridWriter", GridWriter)
        keep(saver, frames_of(20))
    (warning,) = warnings_in(caplog)
    assert "No such file or directory" in warning and warning.endswith("; the rest of the stream is not saved")
    assert names(tmp_path) == {"kept.avif"}


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Compression that waits to be let go on."""
    go = threading.Event()
    really = saving.encode_cell

    def encode(*arguments: Any) -> bytes:
        assert go.wait(60)
        return really(*arguments)

    monkeypatch.setattr(saving, "encode_cell", encode)
    monkeypatch.setattr(saving, "_MAX_WAITING", 100)
    yield go.set
    go.set()


def test_a_live_stream_never_waits_and_what_is_left_out_is_told_once(
    tmp_path: Path, slow: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    with Saver(tmp_path / "kept.avif") as saver:
        saver.begin(LIVE)
        frames = frames_of(8 * 400)
        for start in range(0, frames.shape[1], 8):
            saver.push(frames[:, start : start + 8])
        assert warnings_in(caplog) == [
            "this machine is too slow for --save; parts of the stream are missing in its picture"
        ]
        slow()
        saver.end(1)
        keep(saver, frames_of(16))
    assert 100 * 8 <= shown(tmp_path / "kept.avif").shape[1] < 3200
    assert shown(tmp_path / "kept-2.avif").shape[1] == 16


@pytest.mark.parametrize(("hello", "is_patient"), [(FILE, False), (LIVE, True)], ids=["file", "replay"])
def test_a_stream_without_a_clock_waits_and_loses_nothing(
    tmp_path: Path, slow: Callable[[], None], hello: Hello, is_patient: bool
) -> None:
    frames = frames_of(8 * 400)
    with Saver(tmp_path / "kept.avif", is_patient) as saver:
        playing = threading.Thread(target=keep, args=(saver, frames, hello))
        playing.start()
        wait_until(lambda: saver._inbox.qsize() == 100, "a full inbox")
        assert playing.is_alive()
        slow()
        playing.join(30)
    np.testing.assert_array_equal(shown(tmp_path / "kept.avif"), frames)


BEGAN_S = 5000.0


def record(path: Path, samples: FloatArray, lost: range = range(0), later_s: float = 0.0, **encoder: Any) -> Hello:
    """Record a live stream that comes 50 ms late, some packets never, and the second half ``later_s`` later."""
    codec = Encoder(encoder=EncoderConfig(**encoder))
    packets: list[MediaPacket] = codec.push(samples) + codec.flush()
    hello = Hello(codec.mel, codec.tile, codec.template, "a")
    with Recorder(path) as recorder:
        recorder.opened(BEGAN_S - 0.5)
        recorder.message(hello.to_bytes(), BEGAN_S - 0.4)
        at_s = BEGAN_S
        for packet in packets:
            if packet.sequence not in lost:
                tile = getattr(packet, "tile", packet)
                at_s = BEGAN_S + (tile.first_frame + 8) * HOP / RATE_HZ + 0.05
                at_s += later_s * (packet.sequence >= len(packets) // 2)
                recorder.message(packet.to_bytes(), at_s)
        recorder.message(codec.bye().to_bytes(), at_s + 0.01)
        recorder.closed(at_s + 0.5)
    return hello


def replayed(recording: Path, folder: Path) -> tuple[FloatArray, Path]:
    """What is heard of a recording at full speed, and its picture."""
    folder.mkdir()
    wav, picture = folder / "heard.wav", folder / "kept.avif"
    clock = replay_clock("full", [str(wav)])
    output = open_output([str(wav)], DeviceChoice(), 0.04, clock)
    with JsonLines(None) as lines, Saver(picture, is_patient=True) as saver:
        stage = Stage(GriffinLim(), output, PlayoutConfig(), LiveLine(False), lines, saver=saver)
        replay(recording, stage, clock)
        output.close()
    return read_wav(wav), picture


def test_a_replayed_stream_is_kept_with_its_pauses_and_losses_and_the_same_each_time(tmp_path: Path) -> None:
    samples = speech(6.0)
    samples[40_000:56_000] *= 0.001
    record(tmp_path / "a", samples, lost=range(12, 15), dtx=True)
    heard, picture = replayed(tmp_path / "a", tmp_path / "1")
    again, same = replayed(tmp_path / "a", tmp_path / "2")
    np.testing.assert_array_equal(heard, again)
    assert picture.read_bytes() == same.read_bytes()
    audio, _ = decode(picture.read_bytes(), GriffinLim())
    assert abs(audio.size - heard.size) <= TILE_SAMPLES
    assert resemblance(heard, audio) > 0.9


def test_silence_in_which_nothing_is_spoken_is_not_kept(tmp_path: Path) -> None:
    samples = speech(6.0)
    record(tmp_path / "a", samples, later_s=20.0)
    heard, picture = replayed(tmp_path / "a", tmp_path / "1")
    assert heard.size > 25 * RATE_HZ
    kept_s = samples_of(picture) / RATE_HZ
    assert 6.0 < kept_s < 6.0 + 2.0, "a second and a half of concealment, and no silence"
    frames = shown(picture)
    assert resemblance(heard[: 2 * RATE_HZ], GriffinLim().synthesize(frames[:, : 2 * RATE_HZ // HOP])) > 0.9


def tiles_shown(folder: Path) -> FloatArray:
    """The pixels of saved tiles, side by side."""
    pictures = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            pictures.append(np.asarray(image.convert("L")))
    return np.concatenate(pictures, axis=1)


def test_a_file_sent_at_once_is_kept_exactly_as_it_came(tmp_path: Path) -> None:
    said = write_wav(tmp_path / "said.wav", speech(2.5))
    heard, kept, tiles = tmp_path / "heard.wav", tmp_path / "kept.avif", tmp_path / "tiles"
    outputs = ("--output", heard, "--save", kept, "--save-tiles", tiles, "--vocoder", "embedded")
    with receiving(*outputs) as (receiver, port):
        for tile_frames in (8, 5):
            sent = send(port, "--input", said, "--no-realtime", "--no-dtx", "--tile-frames", tile_frames)
            assert sent.code == 0, sent.err
        receiver.signal(signal.SIGTERM)
        played = receiver.ended()
    assert played.code == 0, played.err
    assert re.findall(r"saved (\S+) s as (\S+)", played.err) == [
        ("2.5", str(kept)),
        ("2.5", str(tmp_path / "kept-2.avif")),
    ]
    first, second = np.split(read_wav(heard), 2)
    embedded = load_vocoder(device="cpu", name="embedded")
    for path, wav in ((kept, first), (tmp_path / "kept-2.avif", second)):
        audio, rate_hz = decode(path.read_bytes(), embedded)
        assert (rate_hz, audio.size) == (RATE_HZ, wav.size)
        np.testing.assert_allclose(audio, wav, atol=2e-5), "to the rounding of the WAV file's 16 bits"
    with kept.open("rb") as file:
        info = PictureReader(file).info
    came = tiles_shown(tiles)[:, : info.frames]
    np.testing.assert_array_equal(to_pixels(shown(kept)[None], info)[:, : came.shape[1]], came)


@pytest.mark.slow
@best_of_attempts
def test_a_live_stream_is_kept_as_it_was_heard(tmp_path: Path) -> None:
    said = write_wav(tmp_path / "said.wav", speech(5.0))
    heard, spoken = tmp_path / "heard.wav", tmp_path / "spoken.wav"  # with the gaps of a busy machine, and without
    kept, recording = tmp_path / "kept.avif", tmp_path / "recording"
    outputs = ("--output", heard, "--output", spoken, "--save", kept, "--vocoder", "embedded", "--buffer-ms", 500)
    with receiving("--once", *outputs, "--record", recording, "--stats-json", "-") as (receiver, port):
        assert send(port, "--input", said).code == 0
        played = receiver.ended()
    assert played.code == 0, played.err
    wav, (audio, _) = read_wav(spoken), decode(kept.read_bytes())
    final = json.loads(played.out.splitlines()[-1])
    assert abs(audio.size - wav.size) <= TILE_SAMPLES
    assert stoi(wav, audio) > 0.9
    likeness = live_resemblance(read_wav(said), read_wav(heard), missed_s(final))
    in_time(likeness > 0.85, likeness)
    if read_wav(heard).size == wav.size:
        likeness = live_resemblance(read_wav(said), audio, missed_s(final))
        in_time(likeness > 0.85, likeness)

    replaying = ("--replay", recording, "--replay-speed", "full", "--vocoder", "griffin-lim", "--buffer-ms", 500)
    outputs = ("--output", tmp_path / "again.wav", "--output", tmp_path / "spoken-again.wav", "--save", kept)
    ended = run(RECEIVER, *replaying, *outputs)
    assert ended.code == 0 and str(tmp_path / "kept-2.avif") in ended.err, ended.err
    again, _ = decode((tmp_path / "kept-2.avif").read_bytes(), GriffinLim())
    assert live_resemblance(read_wav(tmp_path / "spoken-again.wav"), again) > 0.9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_receiver_writes_what_there_is(tmp_path: Path, number: signal.Signals) -> None:
    heard, spoken, kept = tmp_path / "heard.wav", tmp_path / "spoken.wav", tmp_path / "kept.avif"
    with (
        receiving("--output", heard, "--output", spoken, "--save", kept) as (receiver, port),
        running(SENDER, "--host", "127.0.0.1", "--reconnect-s", 0, "--port", port, "--input", CLIP),
    ):
        wait_until(lambda: spoken.stat().st_size > 44 + RATE_HZ, "half a second of sound")
        receiver.signal(number)
        played = receiver.ended()
    assert played.code == 0 and "Traceback" not in played.err, played.err
    assert names(tmp_path) == {"heard.wav", "spoken.wav", "kept.avif"}
    assert samples_of(kept) > RATE_HZ // 2
    audio, _ = decode(kept.read_bytes(), GriffinLim())
    assert live_resemblance(read_wav(spoken), audio) > 0.8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_writes_what_there_is(tmp_path: Path, number: signal.Signals) -> None:
    record(tmp_path / "a", np.tile(speech(10.0), 4))
    heard, spoken, kept = tmp_path / "heard.wav", tmp_path / "spoken.wav", tmp_path / "kept.avif"
    outputs = ("--output", heard, "--output", spoken, "--save", kept)
    with running(RECEIVER, "--replay", tmp_path / "a", "--vocoder", "griffin-lim", *outputs) as receiver:
        wait_until(lambda: spoken.exists() and spoken.stat().st_size > 44 + RATE_HZ, "half a second of sound")
        receiver.signal(number)
        played = receiver.ended()
    assert played.code == 130 and "Traceback" not in played.err, played.err
    assert 0.4 * RATE_HZ < samples_of(kept) < 35 * RATE_HZ, "it waited for the end of the recording"
    assert names(tmp_path) == {"a", "heard.wav", "spoken.wav", "kept.avif"}


def test_a_name_that_is_no_picture_is_refused_before_anyone_listens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recv.main(["--save", str(tmp_path / "kept.wav"), "--output", str(tmp_path / "heard.wav")]) == 1
    assert capsys.readouterr().err.endswith("kept.wav must end in .avif\n")
    assert names(tmp_path) == set()


PAGE = """<!DOCTYPE html><pre id="out">nothing yet</pre><img id="picture" src="data:image/avif;base64,%s"><script>
onload = () => {  // all of it at once: the browser shows its answer when this has run
  const image = document.getElementById("picture"), canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
  let text = "";
  for (let i = 0; i < rgba.length; i += 4) text += String.fromCharCode(rgba[i]);
  document.getElementById("out").textContent = JSON.stringify([canvas.width, canvas.height, btoa(text)]);
};
onerror = (error) => { document.getElementById("out").textContent = String(error); };
</script>"""


def seen_by_browser(picture: bytes, folder: Path) -> np.ndarray:
    """The gray values that a canvas of headless Chromium holds after it has drawn the picture."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium here to open the picture with")
    (folder / "page.html").write_text(PAGE % base64.b64encode(picture).decode())
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}")
    asking = ("--dump-dom", (folder / "page.html").as_uri())
    shown = subprocess.run([browser, *options, *asking], capture_output=True, text=True, timeout=120)
    told = re.search(r'<pre id="out">(.*?)</pre>', shown.stdout)
    assert told is not None and told[1].startswith("["), (told and told[1]) or shown.stderr[-2000:]
    width, height, pixels = json.loads(told[1])
    return np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(height, width)


@pytest.mark.slow
@pytest.mark.parametrize("cells", [1, 3, 7])
def test_a_browser_shows_the_very_pixels_that_are_played(tmp_path: Path, cells: int) -> None:
    frames = frames_of(625 * cells - 300)
    with Saver(tmp_path / "kept.avif") as saver:
        keep(saver, frames)
    picture = (tmp_path / "kept.avif").read_bytes()
    found = seen_by_browser(picture, tmp_path)
    with Image.open(io.BytesIO(picture)) as image:
        np.testing.assert_array_equal(found, np.asarray(image.convert("L")))
    rows = 1 if cells <= 6 else 2
    assert found.shape == (80 * rows, min(frames.shape[1], 6 * 625))
    with (tmp_path / "kept.avif").open("rb") as file:
        info = PictureReader(file).info
    one_row = np.concatenate(np.split(found, rows), axis=1)[:, : frames.shape[1]]
    np.testing.assert_array_equal(one_row, to_pixels(frames[None], info))
