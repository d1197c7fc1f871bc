"""The quality bench scores what it says, goes on where it stopped, and tells in a sentence what it cannot do."""

from __future__ import annotations

import csv
import importlib.util
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from audio_avif.codec.encoder import Encoder
from audio_avif.config import RATE_HZ, EncoderConfig, MelConfig, TileConfig
from audio_avif.edge.console import INTERRUPTED
from audio_avif.errors import AudioAvifError, FileError, ModelError
from audio_avif.link.messages import wire_bytes
from audio_avif.metrics import SCORES
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif.vocoders.griffin_lim import GriffinLim
from audio_avif.vocoders.onnx_model import ModelInfo
from audio_avif.vocoders.streaming import open_stream
from audio_avif_tools.quality import command as quality
from audio_avif_tools.quality import systems
from audio_avif_tools.quality.command import main
from audio_avif_tools.quality.jobs import Job, choose_clips
from audio_avif_tools.quality.libopus import Enhancement
from audio_avif_tools.quality.library_peers import AmrWb, OpusWideband
from audio_avif_tools.quality.means import Mean, means_of
from audio_avif_tools.quality.page import Report, best_within
from audio_avif_tools.quality.peers import Codec2, Opus
from audio_avif_tools.quality.rows import COLUMNS, Row, ScoreFile
from audio_avif_tools.quality.systems import CleanMel, Coded, System, Tiles, Voice
from audio_avif_tools.shared.processes import run_jobs
from audio_avif_tools.shared.signals import demo_clip

MISSING = [reason for reason in (Opus.missing(), Codec2.missing()) if reason is not None]
MISSING += [reason for score in SCORES.values() if (reason := score.missing()) is not None]
CLIP_S = 2.3
needs_all = pytest.mark.skipif(bool(MISSING), reason="; ".join(MISSING))


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Three clips of which four times one fills a single window of DNSMOS, two of them stereo at 48 kHz."""
    folder = tmp_path / "clips"
    (folder / "more").mkdir(parents=True)
    soundfile.write(folder / "a_clean.wav", excerpt(0.0), RATE_HZ)
    for name, start_s in (("b_noisy", 2.0), ("c_clean", 4.0)):
        stereo = np.repeat(np.repeat(excerpt(start_s), 3)[:, None], 2, axis=1)
        soundfile.write(folder / "more" / f"{name}.flac", stereo, 48_000)
    return folder


def excerpt(start_s: float) -> FloatArray:
    start = round(start_s * RATE_HZ)
    return demo_clip()[start : start + round(CLIP_S * RATE_HZ)]


@pytest.fixture
def few_settings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments that leave four systems, one setting each, in this process."""
    monkeypatch.setattr(quality, "OPUS_KBPS", (6,))
    monkeypatch.setattr(quality, "OPUS_WIDEBAND_KBPS", ())
    monkeypatch.setattr(quality, "AMR_WB_MODES", ())
    monkeypatch.setattr(quality, "CODEC2_BITS_PER_S", (3200,))
    arguments = ["--vocoder", "griffin-lim", "--tile-frames", "8", "--qualities", "50"]
    return [*arguments, "--workers", "1"]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The clips and systems that were scored, as they were."""
    done: list[tuple[str, str]] = []
    run = Job.run

    def noted(job: Job) -> Row:
        row = run(job)
        done.append((job.clip.name, job.system.name))
        return row

    monkeypatch.setattr(Job, "run", noted)
    return done


def row(system: str = "Opus", setting: str = "6 kbps", kbps: float = 5.5, **scores: float) -> Row:
    return Row("a, b.wav", "0f", system, setting, "opusenc 1, libopus", 2.5, kbps, 20.0, scores)


# Clips


def test_clips_of_any_form_are_found_and_what_cannot_be_scored_is_named(clips: Path) -> None:
    (clips / "broken.wav").write_bytes(b"RIFF and nothing more")
    (clips / "notes.txt").write_text("no audio")
    soundfile.write(clips / "hush.wav", np.zeros(RATE_HZ * 2), RATE_HZ)
    soundfile.write(clips / "tick.wav", np.ones(100), RATE_HZ)
    (clips / "two\nlines.wav").touch()
    choice = choose_clips(clips)
    assert [clip.name for clip in choice.clips] == ["a_clean.wav", "more/b_noisy.flac", "more/c_clean.flac"]
    assert [clip.seconds for clip in choice.clips] == pytest.approx([CLIP_S] * 3, abs=0.01)
    reasons = ["broken.wav", "hush.wav is silent", "tick.wav is shorter", r"'two\nlines.wav' has more"]
    for reason, skipped in zip(reasons, choice.skipped, strict=True):
        assert skipped.startswith(reason)
    assert [clip.name for clip in choose_clips(clips, "clean", 2).clips] == ["a_clean.wav"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text here")
def test_a_name_that_is_no_text_is_told(clips: Path) -> None:
    (clips / os.fsdecode(b"\xe9.wav")).write_bytes((clips / "a_clean.wav").read_bytes())
    (skipped,) = choose_clips(clips).skipped
    assert skipped == "\udce9.wav has a name that cannot be encoded as utf-8; rename it"


def test_a_long_clip_is_scored_as_far_as_scores_go(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", np.tile(demo_clip(), 3), RATE_HZ)
    (clip,) = choose_clips(tmp_path).clips
    assert clip.is_cut and clip.seconds == 20.0


@pytest.mark.parametrize(
    ("content", "match", "words"),
    [("", "", "no audio file"), ("a.wav", "clean", "with 'clean' in its name"), ("a.wav", "", "can be scored: a.wav")],
)
def test_a_folder_without_a_clip_is_an_error(tmp_path: Path, content: str, match: str, words: str) -> None:
    if content:
        (tmp_path / content).write_bytes(b"no sound")
    with pytest.raises(FileError, match=words):
        choose_clips(tmp_path, match)


# Systems


def test_tiles_are_the_codec_and_its_packets() -> None:
    sound = demo_clip()[: 2 * RATE_HZ + 99]
    tiles = Tiles(Voice.of("griffin-lim"), 8, 60)
    coded = tiles.code(sound)
    encoder = Encoder(tile=TileConfig(8), encoder=EncoderConfig(60))
    packets = [*encoder.push(sound), *encoder.flush()]
    assert coded.samples.shape == sound.shape
    assert coded.payload_bits == 8 * sum(len(packet.payload) for packet in packets)
    assert coded.wire_bytes == sum(wire_bytes(len(packet.to_bytes())) for packet in packets)
    assert (tiles.vocoder_ms, tiles.codec_ms) == (48.0, 48.0 + 7 * 16 + 32)


def test_clean_mel_is_the_vocoder_alone() -> None:
    sound = demo_clip()[: 2 * RATE_HZ + 99]
    alone = CleanMel(Voice.of("griffin-lim"))
    coded = alone.code(sound)
    stream = open_stream(GriffinLim())
    expected = np.concatenate([stream.push(log_mel(sound)), stream.flush()])[: sound.size]
    np.testing.assert_array_equal(coded.samples, expected)
    assert coded.payload_bits == coded.wire_bytes == 0
    assert (alone.vocoder_ms, alone.codec_ms) == (48.0, 80.0)


def test_every_bundled_vocoder_is_scored_by_default() -> None:
    names = quality.default_vocoders()
    assert names == ["griffin-lim", "embedded", "embedded-high", "embedded-low"]
    voice = Voice.of("embedded")
    assert voice.digest and voice.digest in voice.made_by
    assert Voice.of("embedded-high").digest == voice.digest
    assert Voice.of("griffin-lim").made_by != voice.made_by


def test_changed_sources_are_scored_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = tmp_path / "codec" / "encoder.py"
    module.parent.mkdir()
    made_by = []
    for text in ("first", "second", "first"):
        module.write_text(text)
        systems._sources_digest.cache_clear()
        monkeypatch.setattr(systems.audio_avif, "__file__", str(tmp_path / "__init__.py"))
        made_by.append(Voice("griffin-lim", "griffin-lim", "").made_by)
    monkeypatch.undo()
    systems._sources_digest.cache_clear()
    assert made_by[0] == made_by[2] != made_by[1]


def test_every_codec_is_compared_and_each_that_cannot_be_is_named(
    clips: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = quality._parser().parse_args(["--clips", str(clips), "--out", str(tmp_path)])
    for peer in (Opus, OpusWideband, AmrWb, Codec2):
        monkeypatch.setattr(peer, "missing", staticmethod(lambda: None))
    compared, left_out = quality.choose_systems(options)
    settings = {(system.name, system.setting) for system in compared}
    assert len(settings) == len(compared)
    for decoder, packet_ms, kbps in product(("wideband", "LACE", "NoLACE"), (20, 60), (6, 7, 8, 9, 12)):
        assert (f"Opus {decoder}, {packet_ms} ms", f"{kbps} kbps") in settings
    assert {("AMR-WB", "6.6 kbps"), ("AMR-WB", "8.85 kbps"), ("Opus", "6 kbps"), ("Codec2", "3.2 kbps")} <= settings
    assert len(left_out) == 1 and "--lyra" in left_out[0]
    for peer in (OpusWideband, AmrWb):
        monkeypatch.setattr(peer, "missing", staticmethod(lambda: "no library"))
    fewer, left_out = quality.choose_systems(options)
    assert len(fewer) == len(compared) - 30 - 2 and left_out[:2] == ["no library"] * 2


def test_a_vocoder_of_another_mel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        name = "other"
        mel = MelConfig(n_mels=64)

    monkeypatch.setattr("audio_avif_tools.quality.systems._vocoder", lambda source: Other())
    with pytest.raises(ModelError, match="64 bands"):
        Voice.of("other.onnx")
    assert ModelInfo("other", Other.mel).mel != MelConfig()


# Rows


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    first, second = row(pesq_wb=3.25, dnsmos=math.nan), row(setting="8 kbps", stoi=0.5)
    with ScoreFile(path) as file:
        for each in (first, second):
            file.append(each)
    with ScoreFile(path) as file:
        assert list(file.rows) == [first.key, second.key]
        loaded = file.rows[first.key]
        assert loaded.scores["pesq_wb"] == 3.25 and math.isnan(loaded.scores["dnsmos"]) and "stoi" not in loaded.scores
        assert file.rows[second.key] == second
        again = row(pesq_wb=1.5)
        file.append(again)
        assert file.rows[first.key] == again
    with ScoreFile(path) as file:
        assert file.rows[first.key] == again and len(file.rows) == 2


def test_a_torn_last_line_and_damaged_lines_are_survived(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with ScoreFile(path) as file:
        file.append(row(pesq_wb=3.25))
    whole = path.read_bytes()
    for torn in (len(whole) - 1, len(whole) - 20, len(",".join(COLUMNS)) - 3):
        path.write_bytes(whole[:torn])
        with ScoreFile(path) as file:
            assert not file.rows
            file.append(row(pesq_wb=3.25))
        assert path.read_bytes() == whole
    head, line = whole.splitlines(keepends=True)
    torn = [b"a,b,c\n", b'"a, b.wa\n', b"\n", b"\0" * 9 + b"\n", b"\xff\n", line.replace(b"3.25", b"loud")]
    path.write_bytes(head + b"".join(torn) + line)
    with ScoreFile(path) as file:
        assert [kept.scores["pesq_wb"] for kept in file.rows.values()] == [3.25]


def test_two_runs_never_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with ScoreFile(path) as first:
        with pytest.raises(FileError, match="another run writes to"):
            ScoreFile(path)
        first.append(row(pesq_wb=3.25))
    with ScoreFile(path) as second:
        assert len(second.rows) == 1


def test_another_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    for text in ("name,score\nme,7\n", "one line without an end"):
        path.write_text(text)
        with pytest.raises(FileError, match="of another version of the bench"):
            ScoreFile(path)
        assert path.read_text() == text
    with pytest.raises(FileError, match="cannot be written"):
        ScoreFile(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_told_and_what_was_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with pytest.raises(FileError, match="cannot be written: No space left"), ScoreFile(path) as file:
        file.append(row(pesq_wb=3.25))
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, file._file.fileno())
        os.close(full)
        file.append(row(setting="8 kbps", pesq_wb=3.25))
    with ScoreFile(path) as file:
        assert len(file.rows) == 1


# Means


def test_means_leave_out_what_has_no_score_and_say_so() -> None:
    opus = [Opus(6), Opus(8), Opus(12)]
    rows = [row(pesq_wb=2.0, stoi=0.8), row(pesq_wb=math.nan, stoi=0.9, kbps=6.5), row(setting="8 kbps", kbps=7.5)]
    means = means_of(rows, opus)
    assert [mean.system for mean in means] == opus[:2]
    assert means[0].payload_kbps == 6.0
    assert means[0].scores["pesq_wb"] == 2.0 and means[0].scores["stoi"] == pytest.approx(0.85)
    assert means[0].counts["pesq_wb"] == 1 and means[0].counts["stoi"] == 2
    assert "pesq_wb" not in means[1].scores


def test_the_best_within_a_limit_is_the_highest_rate_that_keeps_to_it() -> None:
    clean = CleanMel(Voice.of("griffin-lim"))
    means = [
        Mean(system, kbps, 0.0, {}, {})
        for system, kbps in ((clean, 0.0), (Opus(6), 5.6), (Opus(8), 7.5), (Codec2(1300), 1.3), (Codec2(3200), 3.21))
    ]
    assert [mean.system for mean in best_within(means, 6.0)] == [Opus(6), Codec2(3200)]
    assert [mean.system for mean in best_within(means, 3.2)] == [Codec2(3200)]
    assert [mean.system for mean in best_within(means, 3.1)] == [Codec2(1300)]


def test_on_the_wire_the_cost_of_packets_decides() -> None:
    short, long = OpusWideband(9, 20, Enhancement.LACE), OpusWideband(6, 60, Enhancement.LACE)
    means = [Mean(short, 8.5, 31.8, {}, {}), Mean(long, 5.7, 13.6, {}, {}), Mean(Codec2(1300), 1.3, 13.0, {}, {})]
    assert [mean.system for mean in best_within(means, 16.0, "wire_kbps")] == [long, Codec2(1300)]
    assert [mean.system for mean in best_within(means, 9.0)] == [short, long, Codec2(1300)]


def test_the_page_tells_the_wire_rate_and_the_delay_of_every_codec(clips: Path, tmp_path: Path) -> None:
    compared: list[System] = [
        Tiles(Voice.of("griffin-lim"), 8, 60),
        OpusWideband(6, 60, Enhancement.NONE),
        Codec2(1300),
        AmrWb(0),
    ]
    rates = [(4.2, 8.8), (5.7, 13.6), (1.3, 13.0), (6.6, 30.5)]
    means = [Mean(system, *rate, {"stoi": 0.9}, {"stoi": 3}) for system, rate in zip(compared, rates, strict=True)]
    page = tmp_path / "quality.md"
    Report("command", choose_clips(clips), means[:1] + means[2:], [], []).write([page], has_pictures=False)
    text = page.read_text()
    (wire,) = re.findall(r"## At most 16 kbps on the wire\n(.*?)\n## ", text, re.DOTALL)
    assert "|Codec2|1.3 kbps|1.30|13.0||60|0.900|" in wire
    assert "|griffin-lim, 8-frame tiles|quality 60|4.20|8.8|48|192|0.900|" in wire
    assert "Above it at every setting: AMR-WB." in wire and "|AMR-WB|" not in wire
    assert "|AMR-WB|6.6 kbps|6.60|30.5||26|0.900|" in text


def test_a_picture_of_each_rate_is_drawn(clips: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    means = [Mean(Codec2(rate), rate / 1e3, rate / 1e3 + 12, {"stoi": 0.9}, {"stoi": 3}) for rate in (1300, 3200)]
    pages = [tmp_path / "quality.md", tmp_path / "docs" / "rates.md"]
    Report("command", choose_clips(clips), means, [], []).write(pages, has_pictures=True)
    for page in pages:
        payload, wire = (page.parent / "images" / f"{page.stem}{suffix}.png" for suffix in ("", "-wire"))
        assert payload.read_bytes() != wire.read_bytes()
        assert all(f"(images/{picture.name})" in page.read_text() for picture in (payload, wire))


# The command


def hide_packages(monkeypatch: pytest.MonkeyPatch, *absent: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else find_spec(name))


@pytest.mark.slow
@needs_all
def test_a_run_leaves_scores_page_pictures_and_sounds_and_goes_on(
    clips: Path,
    tmp_path: Path,
    few_settings: list[str],
    scored: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out, page = tmp_path / "out", tmp_path / "docs" / "quality.md"
    command = ["--clips", str(clips), "--match", "clean", "--out", str(out), "--page", str(page), *few_settings]
    assert main(command) == 0
    assert len(scored) == 2 * 4
    told = capfd.readouterr()
    assert "left out: Lyra v2" in told.err and "griffin-lim" in told.err

    lines = (out / "scores.csv").read_text().splitlines()
    assert len(lines) == 1 + 8
    text = page.read_text()
    for words in (
        "|Codec2|3.2 kbps|",
        "PESQ-WB",
        "numpy",
    ):
        assert words in text
    assert "--match clean" in text and str(tmp_path) not in text
    assert "Left out: Lyra v2" in text
    for picture in ("quality.png", "quality-wire.png", "quality-example-1.png", "quality-example-2.png"):
        assert (page.parent / "images" / picture).stat().st_size > 5_000
        assert (out / "images" / picture).is_file() and f"(images/{picture})" in text
    sounds = sorted(path.name for path in (out / "examples" / "1").iterdir())
    assert sounds[0] == "0-original.wav" and len(sounds) == 1 + 3
    assert len({soundfile.info(out / "examples" / "1" / name).frames for name in sounds}) == 1

    with page.with_suffix(".csv").open(newline="") as file:
        means = {row["system"]: row for row in csv.DictReader(file)}
    clean = means["griffin-lim, no AVIF"]
    assert (clean["kbps"], clean["vocoder ms"], clean["codec ms"]) == ("-", "48", "80")
    assert float(clean["PESQ-WB"]) > float(means["griffin-lim, 8-frame tiles"]["PESQ-WB"]) > 1.0
    assert "(quality.csv)" in text and (out / "quality.csv").read_bytes() == page.with_suffix(".csv").read_bytes()

    hide_packages(monkeypatch, "matplotlib")  # the pictures have been seen
    scored.clear()
    assert main(command) == 0 and not scored  # all is there
    whole = (out / "scores.csv").read_bytes()
    (out / "scores.csv").write_bytes(whole[:-30])
    assert main(command) == 0
    assert [(name, system) for name, system in scored] == [("more/c_clean.flac", "Codec2")]
    assert (out / "scores.csv").read_bytes() == whole  # the same score again

    scored.clear()
    soundfile.write(clips / "a_clean.wav", excerpt(1.0), RATE_HZ)
    hide_packages(monkeypatch, "matplotlib", "visqol", "speechmos")  # the scores have been seen
    assert main(command) == 0
    assert {name for name, _ in scored} == {"a_clean.wav"} and len(scored) == 4  # another clip under that name


@needs_all
def test_an_interrupted_run_keeps_what_it_has(
    clips: Path,
    tmp_path: Path,
    few_settings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    hide_packages(monkeypatch, "pystoi", "speechmos", "visqol", "matplotlib")
    out, run = tmp_path / "out", Job.run
    command = ["--clips", str(clips), "--match", "clean", "--out", str(out), *few_settings]
    done: list[Job] = []

    def interrupted(job: Job) -> Row:
        if len(done) == 5:
            signal.raise_signal(signal.SIGTERM)
        done.append(job)
        return run(job)

    monkeypatch.setattr(Job, "run", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    assert main(command) == INTERRUPTED
    assert signal.getsignal(signal.SIGTERM) == before
    assert "run the same command to continue" in capfd.readouterr().err
    assert len((out / "scores.csv").read_text().splitlines()) == 1 + 5
    monkeypatch.setattr(Job, "run", lambda job: done.append(job) or run(job))
    assert main(command) == 0
    assert len(done) == len({job.key for job in done}) == 2 * 4


@pytest.mark.slow
@needs_all
def test_parallel_workers_give_the_same_rows(
    clips: Path, tmp_path: Path, few_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_packages(monkeypatch, "pystoi", "speechmos", "visqol", "matplotlib")
    files = []
    for workers in ("1", "2"):
        out = tmp_path / workers
        command = ["--clips", str(clips), "--match", "clean", "--out", str(out), *few_settings[:-1], workers]
        assert main(command) == 0
        files.append(sorted((out / "scores.csv").read_text().splitlines()))
    assert files[0] == files[1]


@dataclass(frozen=True)
class Crash:
    """A system that takes its process along."""

    setting: str
    name = "crash"
    made_by = ""
    vocoder_ms = None
    codec_ms = 0.0

    def code(self, sound: FloatArray) -> Coded:
        os._exit(9)


@pytest.mark.slow
def test_a_process_that_dies_is_told(clips: Path) -> None:
    clip = choose_clips(clips).clips[0]
    jobs = [Job(clip, Crash(setting), ()) for setting in ("one", "two")]
    with pytest.raises(AudioAvifError, match="a worker process died"):
        list(run_jobs(jobs, 2))


CALLED_OFF = """
import os, signal
from audio_avif_tools.shared.processes import run_jobs

if __name__ == "__mp_main__":
    os.kill(os.getpid(), signal.SIGINT)

class Seven:
    def run(self):
        return 7

if __name__ == "__main__":
    print(list(run_jobs([Seven(), Seven()], 2)))
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals cannot be blocked here")
def test_ctrl_c_while_processes_are_starting_is_for_the_one_that_started_them(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(CALLED_OFF)
    done = subprocess.run([sys.executable, tmp_path / "interrupted.py"], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("[7, 7]\n", "", 0)


@dataclass(frozen=True)
class Ended:
    """A system that works for ever, unless two do so: then a signal, one's setting, ends the run."""

    setting: str
    workers: str
    name = "ended"
    made_by = ""
    vocoder_ms = None
    codec_ms = 0.0

    def code(self, sound: FloatArray) -> Coded:
        (Path(self.workers) / str(os.getpid())).touch()
        if self.setting:  # of one alone: a second signal might go to whoever takes over a dead parent's children
            while len(os.listdir(self.workers)) < 2:
                time.sleep(0.02)
            os.kill(os.getppid(), signal.Signals[self.setting])
        time.sleep(600)
        return Coded(sound)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "exit_code"), [("SIGTERM", INTERRUPTED), ("SIGKILL", -signal.SIGKILL)])
def test_a_run_that_is_ended_leaves_no_process_behind(clips: Path, tmp_path: Path, name: str, exit_code: int) -> None:
    workers = tmp_path / "workers"
    workers.mkdir()
    program = f"""
import sys
from pathlib import Path
from audio_avif.edge import console
from test_quality import Ended, Job, choose_clips, run_jobs
clip = choose_clips(Path({str(clips)!r})).clips[0]
with console.sigterm_interrupts():
    jobs = [Job(clip, Ended(setting, {str(workers)!r}), ()) for setting in ({name!r}, "")]
    sys.exit(console.run("", lambda: list(run_jobs(jobs, 2))))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, timeout=120)
    assert done.returncode == exit_code
    left = {int(worker.name) for worker in workers.iterdir()}
    assert len(left) == 2
    until_s = time.monotonic() + 60
    while left and time.monotonic() < until_s:
        time.sleep(0.1)
        left = set(filter(psutil.pid_exists, left))
    assert not left


def test_without_programs_and_packages_the_rest_is_scored_and_told(
    clips: Path,
    tmp_path: Path,
    few_settings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    hide_packages(monkeypatch, "pesq", "pystoi", "visqol", "speechmos", "ai_edge_litert", "matplotlib")
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "out"
    assert main(["--clips", str(clips), "--out", str(out), *few_settings]) == 0
    told = capfd.readouterr().err
    for words in ("opus-tools", "codec2", "PESQ-WB needs pesq", "ViSQOL needs visqol", "DNSMOS needs", "no pictures"):
        assert words in told
    text = (out / "quality.md").read_text()
    assert "|mel distance|" in text and "|PESQ-WB|" not in text and "Left out: Opus needs" in text
    assert not list((out / "images").iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--clips", "x"],
        ["--clips", "x", "--out", "y", "--qualities", "101"],
        ["--clips", "x", "--out", "y", "--qualities", "30,,45"],
        ["--clips", "x", "--out", "y", "--tile-frames", "1"],
        ["--clips", "x", "--out", "y", "--every", "0"],
        ["--clips", "x", "--out", "y", "--workers", "0"],
        ["--clips", "x", "--out", "y", "--page", "page.html"],
    ],
)
def test_wrong_usage_is_told_by_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2


def test_failures_are_one_sentence(
    clips: Path, tmp_path: Path, few_settings: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    out = str(tmp_path / "out")
    for arguments, words in (
        (["--clips", str(tmp_path / "nowhere"), "--out", out], "there is no folder"),
        (["--clips", str(tmp_path / "nowhere"), "--out", str(blocked)], "cannot be written"),
        (["--clips", str(clips), "--out", out, "--page", str(blocked / "quality.md")], "cannot be written"),
        (["--clips", str(clips), "--out", out, "--lyra", str(clips)], "no soundstream_encoder.tflite"),
        (["--clips", str(clips), "--out", out, "--vocoder", "nobody"], "unknown vocoder 'nobody'"),
    ):
        assert main([*few_settings, *arguments]) == 1
        told = capfd.readouterr().err
        assert words in told and told.count("\n") == 1 and told.startswith("audio-avif-quality: "), told


def test_a_system_that_fails_is_named_with_the_clip(
    clips: Path,
    tmp_path: Path,
    few_settings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    hide_packages(monkeypatch, "pesq", "pystoi", "visqol", "speechmos")

    def fail(self: Tiles, sound: FloatArray) -> None:
        raise ModelError("the model fails: out of luck")

    monkeypatch.setattr(Tiles, "code", fail)
    assert main(["--clips", str(clips), "--out", str(tmp_path / "out"), *few_settings]) == 1
    told = capfd.readouterr().err
    assert "griffin-lim, 8-frame tiles, quality 50 failed on a_clean.wav: the model fails: out of luck" in told
    assert "Traceback" not in told


def test_help_loads_nothing_heavy() -> None:
    ask = "import sys\nfrom audio_avif_tools.quality.command import main\n"
    ask += "try: main(['--help'])\nexcept SystemExit: pass\n"
    ask += "print(sorted({'numpy', 'rich', 'onnxruntime', 'PIL', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("[]\n") and "--lyra" in done.stdout, done.stderr
