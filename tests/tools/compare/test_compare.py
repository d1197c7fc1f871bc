"""``audio-avif compare``, run as a user runs it, and the arithmetic behind its tables."""

from __future__ import annotations

import csv
import importlib.util
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from audio_avif.config import RATE_HZ
from audio_avif.signal.features import log_mel
from audio_avif_tools.compare import command as compare
from audio_avif_tools.compare import layouts as compare_layouts
from audio_avif_tools.compare.image_codecs import CODECS
from audio_avif_tools.compare.jobs import Point, Variant, cut, ladder
from audio_avif_tools.compare.plots import draw, spread
from audio_avif_tools.compare.tables import at_rate, beside_first, matched, rate_for_error
from audio_avif_tools.shared.signals import demo_clip
from support.speech import speech_like

pytestmark = pytest.mark.slow

ONE = ["--workers", "1"]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A second and a half of speech."""
    path = tmp_path / "speech.wav"
    soundfile.write(path, demo_clip()[: 3 * RATE_HZ // 2], RATE_HZ)
    return path


def rows(folder: Path, name: str = "compare.csv") -> list[dict[str, str]]:
    with (folder / name).open() as file:
        return list(csv.DictReader(file))


def without(*packages: str) -> Callable[[str], object]:
    """``find_spec`` where these packages are missing."""
    find_spec = importlib.util.find_spec
    return lambda name, *rest: None if name in packages else find_spec(name, *rest)


def test_formats_side_by_side(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "out"
    words = [str(clip), "--output", str(out), "--formats", "avif,jpeg,png", "--qualities", "20,60,90", *ONE]
    assert compare.main(words) == 0
    told = capsys.readouterr()
    found = rows(out)
    assert [row["format"] for row in found] == ["avif"] * 3 + ["jpeg"] * 3 + ["png"] * len(CODECS["png"].qualities)
    for name in ("avif", "jpeg", "png"):
        mine = [row for row in found if row["format"] == name]
        for key in ("file_kbps", "payload_kbps", "stoi"):
            values = [float(row[key]) for row in mine]
            assert values[-1] > values[0] > 0, key
        errors = [float(row["error_db"]) for row in mine]
        assert errors == sorted(errors, reverse=True)
        assert all(float(row["file_kbps"]) > float(row["payload_kbps"]) for row in mine)
    assert float(found[2]["pesq_wb"]) > 1.2
    assert "| AVIF |" in told.out and "| PNG |" in told.out and "beside AVIF" in told.out
    assert Image.open(out / "compare.png").size[0] > 900
    assert sorted(path.name for path in out.iterdir()) == ["compare.csv", "compare.png"]


def test_two_processes_measure_what_one_does(clip: Path, tmp_path: Path) -> None:
    words = [str(clip), "--formats", "avif,webp", "--qualities", "30,80"]
    for workers in ("1", "2"):
        assert compare.main([*words, "--workers", workers, "--output", str(tmp_path / workers)]) == 0
    assert rows(tmp_path / "1") == rows(tmp_path / "2")


def test_depths_ranges_and_tiles(clip: Path, tmp_path: Path) -> None:
    words = [str(clip), "--output", str(tmp_path / "out"), "--formats", "avif,webp", "--depth", "8,10", *ONE]
    words += ["--qualities", "50", "--range", "auto", "--range", "-11,4", "--tile-frames", "8", "--rate-of", "payload"]
    assert compare.main(words) == 0
    found = rows(tmp_path / "out")
    kinds = [(row["format"], row["depth"], row["range"]) for row in found]
    assert kinds == [
        (name, depth, values) for name, depth in (("avif", "8"), ("avif", "10"), ("webp", "8")) for values in
        ("auto", "-11..4")
    ]  # fmt: skip
    assert {row["tile_frames"] for row in found} == {"8"}
    assert all(float(row["file_kbps"]) > 3 * float(row["payload_kbps"]) for row in found if row["format"] == "avif")
    errors = {row["range"]: float(row["error_db"]) for row in found if row["format"] == "avif" and row["depth"] == "8"}
    assert errors["auto"] < errors["-11..4"], "a narrower range is finer at the same quality"


def test_a_format_without_its_package_is_named_and_the_others_go_on(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", without("pillow_heif", "pesq", "matplotlib"))
    out = tmp_path / "out"
    assert compare.main([str(clip), "--output", str(out), "--formats", "heic,avif", "--qualities", "50", *ONE]) == 0
    told = capsys.readouterr().err
    assert "left out: HEIC needs pillow-heif; install with: pip install 'audio-avif[formats]'" in told
    assert "left out: PESQ-WB needs pesq; install with" in told
    assert "no plot: drawing needs matplotlib" in told
    (row,) = rows(out)
    assert (row["format"], row["pesq_wb"]) == ("avif", "") and float(row["stoi"]) > 0.5
    assert not (out / "compare.png").exists()


def test_without_any_format_or_score_left(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", without("pillow_heif", "pesq", "pystoi"))
    words = [str(clip), "--output", str(tmp_path / "out"), "--qualities", "50", *ONE]
    assert compare.main([*words, "--formats", "heic,heic-10"]) == 1
    assert "no format is left to compare" in capsys.readouterr().err
    assert compare.main([*words, "--formats", "avif,jpeg"]) == 0
    assert Image.open(tmp_path / "out" / "compare.png").size[0] > 400
    assert {row["stoi"] for row in rows(tmp_path / "out")} == {""}


@pytest.mark.parametrize(
    "wrong",
    [
        ["--formats", "avfi"],
        ["--formats", "webp-10"],
        ["--formats", ","],
        ["--depth", "9"],
        ["--range", "1,-5.5"],
        ["--range", "wide"],
        ["--qualities", "101"],
        ["--tile-frames", "626"],
        ["--rate-of", "box"],
        ["--workers", "0"],
    ],
)
def test_wrong_usage(wrong: list[str], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        compare.main([str(clip), "--output", str(tmp_path / "out"), *wrong])
    assert exit.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def failure(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence that a failing command tells."""
    assert compare.main([*words, *ONE]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(line.startswith("audio-avif compare: ") for line in lines)
    return lines[-1]


def test_failures_are_one_sentence(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--output", str(tmp_path / "out")]
    text, silence, empty = tmp_path / "text.wav", tmp_path / "silence.wav", tmp_path / "empty"
    soundfile.write(tmp_path / "one.wav", np.ones(1), RATE_HZ)
    text.write_text("not a sound")
    soundfile.write(silence, np.zeros(RATE_HZ), RATE_HZ)
    empty.mkdir()
    assert "there is no sound file" in failure([str(tmp_path / "none.wav"), *out], capsys)
    assert "not a sound file" in failure([str(text), *out], capsys)
    assert "one.wav is shorter than 0.5 s" in failure([str(tmp_path / "one.wav"), *out], capsys)
    assert "silence.wav is silent" in failure([str(silence), *out], capsys)
    assert "there is no sound file in" in failure([str(empty), *out], capsys)
    assert "cannot be created" in failure([str(clip), "--output", str(text / "out")], capsys)
    assert "two recordings or more" in failure([str(clip), *out, "--layouts"], capsys)
    assert "unknown vocoder 'no-such'" in failure([str(clip), *out, "--vocoder", "no-such"], capsys)
    assert "JPEG XL has none of the qualities" in failure(
        [str(clip), *out, "--formats", "jxl", "--qualities", "100"], capsys
    )


def test_a_folder_goes_on_past_what_cannot_be_read(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a-text.wav").write_text("not a sound")
    words = [str(tmp_path), "--output", str(tmp_path / "out"), "--formats", "png", *ONE]
    assert compare.main(words) == 0
    assert "skipped: " in capsys.readouterr().err
    assert {Path(row["recording"]).name for row in rows(tmp_path / "out")} == {"speech.wav"}


def test_layouts(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_layouts, "QUALITIES", (5, 50, 95))
    for seed in (0, 1):
        soundfile.write(tmp_path / f"{seed}.wav", speech_like(1.5, seed=seed), RATE_HZ)
    assert compare.main([str(tmp_path), "--layouts", "--output", str(tmp_path / "out"), "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert all(scene in told for scene in compare_layouts.SCENES)
    found = rows(tmp_path / "out", "layouts.csv")
    assert len(found) == 2 * 5 * 3 * 3
    twice = [row for row in found if row["scene"] == "one voice twice" and row["quality"] == "95"]
    sizes = {row["layout"]: float(row["kbps"]) for row in twice}
    assert sizes["mid/side"] < 0.75 * sizes["left/right"], "an empty difference costs next to nothing"
    assert {row["side_pays"] for row in twice} == {"1"}
    assert all(float(row["heard_error_db"]) < 2 for row in twice)


def variant(name: str) -> Variant:
    return Variant("avif", (-5.5, 1.0), 625, name)


def point(name: str, recording: str, quality: int, kbps: float, error_db: float, stoi: float = 0.5) -> Point:
    return Point(recording, variant(name), quality, kbps, kbps / 2, error_db, error_db, {"stoi": stoi})


def test_rates_are_matched_along_their_logarithm() -> None:
    points = [point("x", "r", 2, 8.0, 1.0, 0.9), point("x", "r", 1, 2.0, 3.0, 0.7)]
    error_db, heard_db, pesq, stoi = at_rate(points, 4.0, "file")
    assert (error_db, heard_db, stoi) == pytest.approx((2.0, 2.0, 0.8)) and np.isnan(pesq)
    assert at_rate(points, 2.0, "payload")[0] == pytest.approx(2.0)
    assert np.isnan(at_rate(points, 1.9, "file")).all() and np.isnan(at_rate(points, 8.1, "file")).all()


def test_the_rate_for_an_error_passes_over_what_is_worse_and_dearer() -> None:
    curve = ((2.0, 3.0), (4.0, 3.5), (8.0, 1.0))
    points = [point("x", "r", number, kbps, error_db) for number, (kbps, error_db) in enumerate(curve)]
    assert rate_for_error(points, 3.0, "file") == pytest.approx(2.0)
    assert rate_for_error(points, 2.0, "file") == pytest.approx(4.0)
    assert rate_for_error(points, 2.0, "payload") == pytest.approx(2.0)
    assert np.isnan(rate_for_error(points, 0.9, "file")) and np.isnan(rate_for_error(points, 3.1, "file"))


def test_the_tables_say_where_a_rate_is_not_reached_and_how_sure_a_difference_is() -> None:
    points = [point("x", name, 1, 2.0, 3.0) for name in "ab"] + [point("x", name, 2, 20.0, 1.0) for name in "ab"]
    points += [point("y", "a", 1, 4.0, 3.0), point("y", "b", 1, 2.0, 4.0)]
    points += [point("y", name, 2, 20.0, 1.0) for name in "ab"]
    first, second = matched(points, [variant("x"), variant("y")], "file").splitlines()[4:]
    assert first.startswith("| x | 2.00 | 1.00 | 2.65 / 2.05 / 1.44 |")
    assert second.startswith("| y | 3.00 | 1.50 | - / ")
    lines = beside_first(points, [variant("x"), variant("y")], "file").splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == ["y, 3 kbps", "y, 6 kbps", "y, 12 kbps"]
    assert lines[0].split("|")[2].strip() == "-"
    assert "±" in lines[1]


def test_a_recording_without_a_score_leaves_the_others_theirs() -> None:
    points = [point("x", name, quality, 10.0**quality, 1.0, stoi) for quality in (0, 2) for name, stoi in
              (("a", 0.5), ("b", np.nan), ("c", 0.7))]  # fmt: skip
    (line,) = matched(points, [variant("x")], "file").splitlines()[4:]
    assert "| - / - / - | 0.600 / 0.600 / 0.600 |" in line


def test_cells_are_cut_as_files_are() -> None:
    frames = log_mel(demo_clip()[: RATE_HZ // 2])
    assert [cell.shape for cell in cut(frames, 625)] == [frames.shape]
    cells = cut(frames, 8)
    assert {cell.shape for cell in cells} == {(80, 8)}
    joined = np.concatenate(cells, axis=1)
    assert (joined[:, : frames.shape[1]] == frames).all()
    assert (joined[:, frames.shape[1] :] == frames[:, -1:]).all()


def test_ladders() -> None:
    assert ladder(CODECS["avif"], None) == CODECS["avif"].qualities
    assert ladder(CODECS["jpeg"], [0, 1, 50, 100]) == (1, 50, 100)
    assert ladder(CODECS["png"], [50]) == CODECS["png"].qualities


def test_a_score_without_an_answer_is_drawn_without_a_line() -> None:
    points = [point("x", "r", quality, kbps, 1.0, np.nan) for quality, kbps in ((1, 2.0), (2, 4.0))]
    assert Image.open(io.BytesIO(draw(points, [variant("x")], "file"))).size[0] > 500


def test_labels_keep_their_distance_and_their_order() -> None:
    wanted = np.array([0.5, 0.5, 0.52, 0.1, 0.99, 1.0])
    got = spread(wanted, 0.1, 0.0, 1.0)
    ordered = np.sort(got)
    assert np.diff(ordered).min() > 0.0999
    assert ordered[0] >= 0 and ordered[-1] <= 1
    assert (np.argsort(got, kind="stable") == np.argsort(wanted, kind="stable")).all()
    assert spread(np.array([0.2, 0.7]), 0.1, 0.0, 1.0) == pytest.approx([0.2, 0.7])


def test_every_format_is_a_default_and_help_loads_nothing_heavy() -> None:
    assert tuple(CODECS) == compare.DEFAULT_FORMATS
    code = "from audio_avif_tools.compare.command import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "import sys; print('HEAVY', {'numpy', 'PIL', 'matplotlib', 'onnxruntime', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "HEAVY set()"
