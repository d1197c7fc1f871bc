"""What a training run leaves to judge it by: TensorBoard, a log, scores, the best weights and a curve."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from support.training import command, configuration, weights, write_speech

pytest.importorskip("torch")
accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
from audio_avif_onnx.train import curve, evaluate, journal, trainer
from audio_avif_onnx.train import run as train

SCORES = ("pesq_wb", "stoi", "dnsmos", "mel_distance", "kbps")


def board(folder: Path) -> accumulator.EventAccumulator:
    """What TensorBoard would show of a run."""
    events = accumulator.EventAccumulator(str(folder), size_guidance={"audio": 0, "scalars": 0})
    return events.Reload()


def steps(events: accumulator.EventAccumulator, tag: str) -> list[int]:
    return [event.step for event in events.Scalars(tag)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speech(tmp_path_factory.mktemp("speech"), 0.7)


@pytest.fixture(scope="module")
def scored(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps of the wave task that was scored at its end."""
    out = tmp_path_factory.mktemp("scored")
    clips = write_speech(tmp_path_factory.mktemp("clips"), 1.2)  # eight of it fill one window of DNSMOS
    train.train(configuration(data, out, task="wave", steps=2, log_every_steps=1, clips=clips))
    return out


def test_tensorboard_holds_losses_rate_speed_and_scores(scored: Path) -> None:
    events = board(scored)
    for tag in ("loss", "log", "power", "magnitude", "learning_rate", "steps_per_s"):
        assert steps(events, tag) == [1, 2]
    conditions = ("clean", *(f"quality_{quality}" for quality in evaluate.QUALITIES))
    for tag in ("merit", *(f"{condition}/{score}" for condition in conditions for score in SCORES)):
        assert steps(events, tag) == [2]
        assert math.isfinite(events.Scalars(tag)[0].value)
    rates = [events.Scalars(f"quality_{quality}/kbps")[0].value for quality in evaluate.QUALITIES]
    assert 1.5 < rates[0] < rates[1] < rates[2] < 8


def test_tensorboard_plays_a_clip_clean_and_through_tiles(scored: Path) -> None:
    events = board(scored)
    middle = evaluate.QUALITIES[1]
    assert set(events.Tags()["audio"]) == {"clip/original", "clip/clean", f"clip/quality_{middle}"}
    sounds = {}
    for tag in events.Tags()["audio"]:
        (event,) = events.Audio(tag)
        sounds[tag], rate_hz = soundfile.read(io.BytesIO(event.encoded_audio_string))
        assert rate_hz == 16_000 and sounds[tag].size >= 1.2 * rate_hz
    assert np.abs(sounds["clip/clean"]).max() > 0.01
    size = min(each.size for each in sounds.values())
    assert not np.allclose(sounds["clip/clean"][:size], sounds[f"clip/quality_{middle}"][:size], atol=1e-3)


def test_the_log_holds_the_same_figures(scored: Path) -> None:
    entries = list(journal.read_log(scored / journal.LOG))
    assert [entry["step"] for entry in entries] == [1, 2, 2]
    assert all(entry["trained_s"] > 0 for entry in entries)
    (event,) = board(scored).Scalars("merit")
    assert entries[-1]["merit"] == pytest.approx(event.value, abs=1e-3)


def test_a_resumed_run_goes_on_in_the_same_record(data: Path, tmp_path: Path) -> None:
    def run(last: int, resume: bool) -> None:
        train.train(configuration(data, tmp_path, steps=last, log_every_steps=1), resume=resume)

    run(2, False)
    checkpoint = (tmp_path / "last.pt").read_bytes()
    run(4, True)
    (tmp_path / "last.pt").write_bytes(checkpoint)  # as if it had been killed before it saved again
    with (tmp_path / journal.LOG).open("a") as out:
        out.write('{"step": 5, "los')
    run(3, True)
    assert [entry["step"] for entry in journal.read_log(tmp_path / journal.LOG)] == [1, 2, 3]
    assert len((tmp_path / journal.LOG).read_text().splitlines()) == 3
    assert steps(board(tmp_path), "loss") == [1, 2, 3]


def test_training_needs_no_tensorboard(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    train.train(configuration(data, tmp_path, steps=1, log_every_steps=1))
    assert len(list(journal.read_log(tmp_path / journal.LOG))) == 1
    assert not list(tmp_path.glob("events*"))
    assert (
        "TensorBoard is missing, so no curves and sounds are kept; install with: pip install -e '.[train]'"
        in capsys.readouterr().err
    )


def test_the_best_weights_are_kept(scored: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights(scored / trainer.BEST)
    merits = iter([3.0, 5.0, 4.0])
    monkeypatch.setattr(train, "_examination", lambda *_: Scorer(merits))
    train.train(configuration(data, tmp_path, steps=3, evaluate_every_minutes=0))
    best = trainer.Trainer(configuration(data, tmp_path))
    (tmp_path / trainer.CHECKPOINT).write_bytes((tmp_path / trainer.BEST).read_bytes())
    best.resume()
    assert best.state.step == 2 and best.state.best_merit == 5.0


class Scorer:
    """An examination whose merits are given."""

    ruler = "given"

    def __init__(self, merits: object) -> None:
        self._merits = merits

    def examine(self, vocoder: object) -> tuple[float, dict[str, float]]:
        return next(self._merits), {}

    def original(self) -> np.ndarray:
        return np.zeros(100, np.float32)

    def sounds(self, vocoder: object) -> dict[str, np.ndarray]:
        return {}


def test_merits_of_other_clips_are_not_compared() -> None:
    state = trainer.RunState()
    assert state.score(5.0, "eight clips")
    assert not state.score(4.0, "eight clips")
    assert state.score(3.0, "nine clips")


def row(**scores: float) -> evaluate.Row:
    return evaluate.Row("clip", "clean", "system", {"kbps": 3.0} | scores)


def test_merit_weighs_all_scores_and_counts_silence_as_the_worst() -> None:
    good = row(pesq_wb=3.0, stoi=0.9, dnsmos=3.0, mel_distance=0.1)
    silent = row(pesq_wb=math.nan, stoi=math.nan, dnsmos=math.nan, mel_distance=2.0)
    assert evaluate.merit([good]) == pytest.approx(15.0)
    assert evaluate.merit([good, silent]) == pytest.approx((15.0 + 2.0) / 2)
    assert evaluate.merit([row(pesq_wb=3.0, stoi=0.9)]) == pytest.approx(12.0)


@pytest.mark.parametrize(
    ("missing", "said"),
    [("pesq", "PESQ-WB needs pesq; install with"), ("pystoi", "STOI needs pystoi; install with")],
)
def test_a_missing_score_is_told_before_training(
    missing: str,
    said: str,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hide(missing, monkeypatch)
    assert train.main(command(data, tmp_path / "out", "--task=wave", f"--clips={data}")) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "cache").exists()


def hide(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from audio_avif import metrics

    found = metrics.importlib.util.find_spec
    monkeypatch.setattr(metrics.importlib.util, "find_spec", lambda name: None if name == package else found(name))


def test_without_speechmos_the_rest_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    hide("speechmos", monkeypatch)
    assert list(evaluate.usable_scores(said.append)) == ["pesq_wb", "stoi", "mel_distance"]
    assert said == [
        "scoring without DNSMOS: DNSMOS needs speechmos and onnxruntime; install with: pip install -e '.[train]'"
    ]


@pytest.mark.parametrize(("silent", "said"), [(False, "is not a folder"), (True, "is silent and cannot be scored")])
def test_clips_that_cannot_be_scored_are_told_before_training(
    silent: bool, said: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = tmp_path / "clips"
    if silent:
        clips.mkdir()
        soundfile.write(clips / "nothing.wav", np.zeros(16_000), 16_000)
    assert train.main(command(data, tmp_path / "out", "--task=wave", f"--clips={clips}")) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "cache").exists()


def test_a_task_without_sound_is_not_scored(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(command(data, tmp_path, "--task=magnitude", f"--clips={data}", "--steps=0")) == 0
    assert "--clips are not scored: --task magnitude makes no sound" in capsys.readouterr().err


def test_the_evaluation_command_scores_a_checkpoint_beside_the_baseline(
    scored: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    arguments = ["--clips", str(data), "--model", str(scored / "last.pt"), "--conditions=66", "--rows", str(rows)]
    assert evaluate.main(arguments) == 0
    table = capsys.readouterr().out
    assert "| 66 | rtisi-la | " in table and f"merit of {scored / 'last.pt'}: " in table
    assert [json.loads(line)["system"] for line in rows.read_text().splitlines()] == [
        "rtisi-la",
        str(scored / "last.pt"),
    ]


@pytest.mark.parametrize("options", [["--conditions=dirty"], ["--conditions=101"], ["--every=0"], ["--no-baseline"]])
def test_evaluation_options_that_cannot_be_meant(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        evaluate.main(["--clips", str(tmp_path), *options])
    assert ended.value.code == 2


def test_the_curve_of_a_chain_is_a_picture(scored: Path, tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"
    assert curve.main([str(scored), str(scored), "--chain", "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    first, second = curve.read_runs([scored, scored], chained=True)
    assert first[1] == 0.0
    assert second[1] == pytest.approx(first[2][-1]["trained_s"] / 60)


@pytest.mark.parametrize("content", [None, ""])
def test_a_curve_of_nothing(content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if content is not None:
        (tmp_path / journal.LOG).write_text(content)
    assert curve.main([str(tmp_path), "--out", str(tmp_path / "curve.png")]) == 1
    assert journal.LOG in capsys.readouterr().err
