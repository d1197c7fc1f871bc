"""``audio-avif analyze`` splits the loss as it says, its last chain is the codec, and failures are one sentence."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from audio_avif.codec.encoder import Encoder
from audio_avif.config import RATE_HZ, EncoderConfig, MelConfig, TileConfig
from audio_avif.edge.sound_files import read_audio
from audio_avif.link.packets import TilePacket
from audio_avif.metrics import SCORES
from audio_avif.recording.codec import decode, encode
from audio_avif.recording.picture_encoder import FileConfig
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif.vocoders.griffin_lim import GriffinLim
from audio_avif.vocoders.registry import load_vocoder
from audio_avif_tools.analyze import stages
from audio_avif_tools.analyze.command import main
from audio_avif_tools.analyze.results import Recording
from audio_avif_tools.analyze.stages import (
    AVIF,
    CLEAN,
    EIGHT_BIT,
    GRIFFIN_LIM,
    MEASURES,
    ORIGINAL,
    TRUE_PHASE,
    Avif,
    CleanMel,
    EightBit,
    Row,
    Split,
    Spoken,
    TruePhase,
    analyze,
    lsd_db,
    mean_rows,
    snr_db,
    voices_of,
)
from audio_avif_tools.shared.signals import demo_clip

needs_scores = pytest.mark.skipif(
    any(SCORES[key].missing() for key in ("pesq_wb", "stoi")), reason="pesq and pystoi are not installed"
)
WAVEFORM = [MEASURES[key] for key in ("snr_db", "correlation", "lsd_db")]


def speech(seconds: float, start_s: float = 0.0) -> FloatArray:
    return demo_clip()[round(start_s * RATE_HZ) :][: round(seconds * RATE_HZ)]


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "talk.wav", speech(2.5), RATE_HZ)
    return tmp_path / "talk.wav"


# Stages


def test_the_last_chain_is_what_the_codec_makes() -> None:
    samples, vocoder = speech(11.3), load_vocoder(device="cpu", name="embedded")
    mel = log_mel(samples)
    heard = Spoken(vocoder).say(Avif(70).show(samples, mel).log_mel, samples)
    decoded, _ = decode(encode(samples, RATE_HZ, FileConfig(quality=70)), vocoder)
    np.testing.assert_allclose(heard[: samples.size], decoded, atol=1e-4)


def test_tiles_are_those_that_a_stream_sends() -> None:
    samples = speech(2.5)
    encoder = Encoder(MelConfig(), TileConfig(frames=8), EncoderConfig(quality=45))
    packets = [*encoder.push(samples), *encoder.flush()]
    sent = 8 * sum(packet.payload_bytes for packet in packets if isinstance(packet, TilePacket))
    assert Avif(45, 8).show(samples, log_mel(samples)).bits == sent


def test_each_oracle_taken_away_costs() -> None:
    rows = list(analyze(speech(3.0), [CleanMel(), EightBit(), Avif(30)], voices_of(GriffinLim()), WAVEFORM))
    by_chain = {(row.picture, row.voice): row for row in rows}
    assert [row.voice for row in rows] == ["", *[TRUE_PHASE] * 3, *[GRIFFIN_LIM] * 3]
    true = [by_chain[picture, TRUE_PHASE].scores for picture in (CLEAN, EIGHT_BIT, AVIF)]
    assert true[0]["snr_db"] >= true[1]["snr_db"] > true[2]["snr_db"] > 3
    assert true[0]["lsd_db"] <= true[1]["lsd_db"] < true[2]["lsd_db"] < 15
    assert true[2]["correlation"] > by_chain[AVIF, GRIFFIN_LIM].scores["correlation"] + 0.2
    assert by_chain[ORIGINAL, ""].scores["lsd_db"] == 0
    assert by_chain[ORIGINAL, ""].scores["correlation"] == pytest.approx(1)
    frames = log_mel(speech(3.0)).shape[1]
    assert by_chain[EIGHT_BIT, TRUE_PHASE].kbps == pytest.approx(8 * 80 * frames / 3000)
    assert 0 < by_chain[AVIF, TRUE_PHASE].kbps < 10


def test_true_phase_is_the_inverse_where_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = speech(1.0)
    exact = np.abs(stages.stft(samples))
    monkeypatch.setattr("audio_avif.vocoders.griffin_lim.magnitudes", lambda mel, config: exact)
    heard = TruePhase().say(log_mel(samples), samples)[: samples.size]
    np.testing.assert_allclose(heard[:-512], samples[:-512], atol=1e-5)


def test_the_vocoder_griffin_lim_is_told_once() -> None:
    assert [voice.name for voice in voices_of(GriffinLim())] == [TRUE_PHASE, GRIFFIN_LIM]


# Scores


def test_snr_is_that_of_the_best_gain() -> None:
    random = np.random.default_rng(0)
    signal, noise = random.normal(size=(2, 16_000)).astype(np.float32)
    assert snr_db(signal, -3 * (signal + np.float32(0.1) * noise)) == pytest.approx(20, abs=0.3)


def test_log_spectral_distance_is_in_decibels_and_deaf_below_60() -> None:
    noise = (0.1 * np.random.default_rng(0).normal(size=16_000)).astype(np.float32)
    assert lsd_db(noise, noise / 2) == pytest.approx(6.02, abs=0.05)
    gap = noise.copy()
    gap[6000:10_000] = 0
    whisper = np.where(gap == 0, noise * np.float32(1e-4), gap).astype(np.float32)
    assert lsd_db(gap, whisper) < 0.01


# The verdict


def rows_of(key: str = "pesq_wb", **levels: float) -> list[Row]:
    chains = {
        "original": (ORIGINAL, ""),
        "mel": (CLEAN, TRUE_PHASE),
        "pixels": (EIGHT_BIT, TRUE_PHASE),
        "avif": (AVIF, TRUE_PHASE),
        "phase": (AVIF, GRIFFIN_LIM),
        "vocoder": (AVIF, "embedded"),
    }
    rows = [Row(*chains[name], 1.0, {key: level}) for name, level in levels.items()]
    voices = [GRIFFIN_LIM, *(["embedded"] if "vocoder" in levels else [])]
    return rows + [Row(picture, voice, 1.0, {key: 2.9}) for picture in (CLEAN, EIGHT_BIT) for voice in voices]


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ((4.6, 4.4, 4.4, 4.1, 2.5, 3.1), "phase 1.60; over Griffin-Lim the vocoder embedded wins back 0.60"),
        ((4.6, 4.4, 4.4, 4.1, 2.5, 3.1), "leaves 1.00: the model limits the quality most."),
        ((4.6, 4.4, 4.4, 2.1, 1.5, 1.9), "the picture 2.30 and phase"),
        ((4.6, 4.4, 4.4, 2.1, 1.5, 1.9), ": the picture limits"),
        ((4.6, 2.4, 2.4, 2.1, 1.5, 1.9), "the 80 mel bands cost 2.20, the picture 0.30"),
        ((4.6, 2.4, 2.4, 2.1, 1.5, 1.9), ": the mel limits"),
        ((4.6, 4.4, 4.4, 4.1, 2.5, 2.1), "loses another 0.40 and leaves 2.00: the model limits"),
        ((4.6, 4.6, 4.6, 4.6, 4.6, 4.6), ": no stage limits the quality."),
    ],
)
def test_the_sentence_follows_from_the_table(levels: tuple[float, ...], told: str) -> None:
    names = ("original", "mel", "pixels", "avif", "phase", "vocoder")
    split = Split.of([rows_of(**dict(zip(names, levels, strict=True)))], "embedded")
    assert split is not None
    assert told in split.sentence()


def test_without_a_model_it_is_phase_that_holds_back() -> None:
    split = Split.of([rows_of(original=4.6, mel=4.4, pixels=4.4, avif=4.1, phase=2.5)], GRIFFIN_LIM)
    assert split is not None
    assert "and phase 1.60: phase limits the quality most." in split.sentence()


def test_chance_is_the_standard_error_that_rounding_makes() -> None:
    tables = []
    for change in (0.1, -0.1, 0.2, -0.2):
        rows = rows_of(original=4.6, mel=4.4, pixels=4.4, avif=4.1, phase=2.5, vocoder=3.1)
        rows = [row for row in rows if (row.picture, row.voice) != (EIGHT_BIT, "embedded")]
        tables.append([*rows, Row(EIGHT_BIT, "embedded", 1.0, {"pesq_wb": 2.9 + change})])
    split = Split.of(tables, "embedded")
    assert split is not None
    assert split.chance == pytest.approx(np.sqrt(0.025) / 2)
    assert split.sentence().endswith("moves a voice by 0.08; smaller differences are chance.")


def test_a_distance_costs_upwards_and_another_score_stands_in() -> None:
    levels = {"original": 0.0, "mel": 3.0, "pixels": 3.1, "avif": 4.0, "phase": 9.0, "vocoder": 8.0}
    split = Split.of([rows_of(key="lsd_db", **levels)], "embedded")
    assert split is not None
    assert "Of LSD, the 80 mel bands cost 3.0 dB, the picture 1.0 dB and phase 5.0 dB" in split.sentence()
    assert Split.of([rows_of(**dict.fromkeys(levels, math.nan))], "embedded") is None


def test_means_leave_out_what_has_no_score() -> None:
    tables = [[Row(CLEAN, TRUE_PHASE, kbps, {"stoi": stoi})] for kbps, stoi in ((1.0, 0.8), (3.0, math.nan))]
    (row,) = mean_rows(tables)
    assert (row.kbps, row.scores) == (2.0, {"stoi": 0.8})


# Recordings


def test_long_recordings_are_cut_into_excerpts(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    stereo = np.repeat(np.tile(demo_clip(), 4)[: 33 * RATE_HZ, None], 2, axis=1)
    soundfile.write(path, stereo, RATE_HZ)
    recording, whole = Recording.of(path), read_audio(path)
    assert recording.seconds == 33 and len(recording.spans) > 1
    assert (note := recording.note()) is not None
    assert "33 s" in note and "excerpts of 10 s" in note
    for (start, length), excerpt in zip(recording.spans, recording.excerpts(), strict=True):
        np.testing.assert_array_equal(excerpt, whole[start : start + length])


def test_what_is_louder_than_full_scale_is_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", 30 * speech(1.0), RATE_HZ, subtype="FLOAT")
    (excerpt,) = Recording.of(tmp_path / "loud.wav").excerpts()
    assert np.abs(excerpt).max() == 1.0


# The command


@needs_scores
@pytest.mark.slow
def test_table_files_and_plot_tell_the_same(talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "more.wav", speech(2.5, 3.0), RATE_HZ)
    out = tmp_path / "out"
    assert main([str(talk), str(tmp_path / "more.wav"), "--quality", "60", "--output", str(out)]) == 0
    told = capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["analyze.csv", "analyze.json", "analyze.png"]
    found = json.loads((out / "analyze.json").read_text())
    tables = found["tables"]
    assert list(tables) == ["mean", str(talk), str(tmp_path / "more.wav")]
    assert len(tables["mean"]) == 10
    for mean, first, second in zip(*tables.values(), strict=True):
        assert mean["pesq_wb"] == pytest.approx((first["pesq_wb"] + second["pesq_wb"]) / 2, abs=1e-3)
        assert f"{mean['pesq_wb']:.2f}" in told and f"{mean['lsd_db']:.1f}" in told
    assert found["notes"][-1].startswith("Of PESQ-WB, the 80 mel bands cost") and found["notes"][-1] in told
    with (out / "analyze.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 30
    assert [float(line["stoi"]) for line in lines[:10]] == [row["stoi"] for row in tables["mean"]]
    with Image.open(out / "analyze.png") as plot:
        assert plot.width > 800 and len(set(plot.convert("L").tobytes())) > 10


def test_a_page_holds_cells_and_tiles_and_keeps_what_people_wrote(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs" / "loss.md"
    command = [str(talk), "--vocoder", "griffin-lim", "--page", str(page)]
    for options in (["--quality", "60"], ["--quality", "50", "--tile-frames", "8"]):
        assert main([*command, *options]) == 0
    page.write_text(page.read_text().replace("# Loss of each stage", "# By people"))
    assert main([*command, "--quality", "70"]) == 0
    told = capsys.readouterr().out
    text = page.read_text()
    assert text.startswith("# By people") and "--quality 60" not in text and str(tmp_path) not in text
    assert "    audio-avif analyze RECORDINGS --quality 70 --vocoder griffin-lim --page docs/" in text
    assert "--quality 50 --tile-frames 8" in text
    for name in ("loss.png", "loss-tiles.png"):
        assert f"(images/{name})" in text and (page.parent / "images" / name).stat().st_size > 5_000
    cells = [row.split("|")[1:-1] for row in text.splitlines() if row.startswith("|clean mel|griffin-lim|")]
    assert len(cells) == 2 and all(score in told for score in cells[0][2:])
    assert "\n> Of PESQ-WB, the 80 mel bands cost" in text


def test_without_scores_and_matplotlib_the_rest_stands(
    talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find, absent = importlib.util.find_spec, {"pesq", "pystoi", "matplotlib"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in absent else find(name, *rest))
    assert main([str(talk), "--vocoder", "griffin-lim", "--output", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    for sentence in ("PESQ-WB needs pesq; install", "STOI needs pystoi; install", "no plot: drawing needs matplotlib"):
        assert told.err.count(sentence) == 1
    assert "Of LSD, the 80 mel bands cost" in told.out
    assert json.loads((tmp_path / "out" / "analyze.json").read_text())["tables"]["mean"][1]["pesq_wb"] is None
    assert not (tmp_path / "out" / "analyze.png").exists()


@pytest.mark.parametrize(
    "samples", [np.zeros(RATE_HZ), np.full(1, 0.5), np.full(300, 0.5)], ids=["silence", "one sample", "19 ms"]
)
def test_what_has_no_score_is_told(samples: FloatArray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "in.wav", samples, RATE_HZ)
    assert main([str(tmp_path / "in.wav"), "--vocoder", "griffin-lim", "--output", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert "true phase" in told.out and "Traceback" not in told.err
    assert (tmp_path / "out" / "analyze.json").exists()
    if not samples.any():
        assert "The stages cannot be compared" in told.out


def test_failures_are_one_sentence(talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE_HZ)
    (tmp_path / "taken").write_text("a file")
    for arguments, sentence in (
        (["nowhere.wav"], "there is no sound file nowhere.wav"),
        ([str(tmp_path)], "is a folder"),
        ([str(talk), str(tmp_path / "text.wav")], "text.wav is not a sound file that can be read"),
        ([str(tmp_path / "empty.wav")], "empty.wav is empty"),
        ([str(talk), "--vocoder", "no-such"], "unknown vocoder 'no-such'"),
        ([str(talk), "--output", str(tmp_path / "taken")], "cannot be created"),
    ):
        assert main(arguments) == 1
        told = capsys.readouterr().err.strip()
        assert sentence in told and told.startswith("audio-avif analyze: ") and len(told.splitlines()) == 1
    assert main([str(talk), "--vocoder", "no-such", "--output", str(tmp_path / "deep" / "out")]) == 1
    assert not list(tmp_path.glob("**/*.part")) and not (tmp_path / "deep").exists()


@pytest.mark.parametrize(
    "arguments",
    [["-"], [], ["a.wav", "--quality", "101"], ["a.wav", "--tile-frames", "1"], ["a.wav", "--vae-bits", "4"]],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_help_loads_nothing_heavy() -> None:
    ask = "from audio_avif_tools.analyze.command import main\n"
    ask += "try: main(['--help'])\nexcept SystemExit: pass\nimport sys\n"
    ask += "print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert "--tile-frames" in done.stdout
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"numpy", "PIL", "onnxruntime", "rich", "torch", "diffusers", "matplotlib", "soundfile"}
