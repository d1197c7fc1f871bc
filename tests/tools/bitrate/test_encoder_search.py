"""The search for encoder options, run as a user runs it, and the arithmetic behind its tables."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_avif.config import RATE_HZ
from audio_avif_tools.bitrate import encoder_search
from audio_avif_tools.bitrate.candidates import DEFAULTS, TODAY, Candidate, candidates
from audio_avif_tools.bitrate.curves import Curve, change_percent
from audio_avif_tools.bitrate.encoder_search import finalists, main
from support.speech import speech_like

NOTHING = np.zeros(0)
scored = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("pesq", "pystoi", "speechmos")),
    reason="PESQ, STOI or DNSMOS is not installed",
)


def curve(kbps: list[float], errors_db: list[float], candidate: Candidate = TODAY) -> Curve:
    return Curve(candidate, 8, np.array(kbps), np.array(errors_db), 1e-3)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder of two clips."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for seed in (1, 2):
        soundfile.write(folder / f"{seed}.wav", speech_like(2.5, seed=seed), RATE_HZ)
    return folder


def test_rates_are_compared_at_equal_error() -> None:
    today = curve([1, 2, 4], [4, 3, 2])
    assert change_percent(today, today) == pytest.approx(0)
    assert change_percent(today, curve([1.2, 2.4, 4.8], [4, 3, 2])) == pytest.approx(20)
    # Between two points along the logarithm of the rate; errors that the other does not have do not count.
    assert change_percent(today, curve([1, 4], [3.5, 2.5])) == pytest.approx(0)
    # A quality that errs more than a lower one does is not the best at its rate.
    assert change_percent(today, curve([1, 2, 3, 4], [4, 3, 3.5, 2])) == pytest.approx(0)
    assert np.isnan(change_percent(today, curve([1, 2], [9, 8])))


def test_finalists_are_those_that_save_most() -> None:
    worse, better, best, idle = candidates(["a=1", "b=1", "c=1", "d=1"], [])
    curves = [
        curve([1, 2], [4, 3]),
        curve([0.5, 1], [4, 3], DEFAULTS),
        curve([1.1, 2.2], [4, 3], worse),
        curve([0.9, 1.8], [4, 3], better),
        curve([0.8, 1.6], [4, 3], best),
        Curve(idle, 8, NOTHING, NOTHING),
    ]
    assert finalists(curves, 5) == [best, better]
    assert finalists(curves, 1) == [best]


def test_a_candidate_adds_to_todays_options_or_replaces_one() -> None:
    speed, added, replaced = candidates(["enable-cdef=1 sharpness=2", "tune=iq"], [8])
    assert (speed.options, speed.speed) == (TODAY.options, 8)
    assert dict(added.options) == {**dict(TODAY.options), "enable-cdef": "1", "sharpness": "2"}
    assert dict(replaced.options) == {**dict(TODAY.options), "tune": "iq"}


@scored
@pytest.mark.slow
def test_the_command_writes_its_page(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(encoder_search, "OPTIONS", ("tune=iq", "num-tile-groups=1", "no-such-option=1"))
    monkeypatch.setattr(encoder_search, "SPEEDS", (5,))
    monkeypatch.setattr(encoder_search, "SCORED_KBPS", (6.0,))
    # Processes finish in any order.
    monkeypatch.setattr(encoder_search, "run_jobs", lambda jobs, workers: [job.run() for job in reversed(jobs)])
    page = tmp_path / "encoder.md"
    arguments = ["--clips", str(clips), "--tile-frames", "8,16", "--workers", "1", "--finalists", "1"]
    assert main([*arguments, "--out", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    saved = [float(cells[-1].removesuffix(" %")) for cells in rows if cells[0] in ("8", "16") and "%" in cells[-1]]
    assert len(saved) == 2 and max(saved) < -3
    options = [line.split(",") for line in page.with_suffix(".csv").read_text(encoding="utf-8").splitlines()]
    photographs = next(cells for cells in options if cells[0] == "tune=iq")
    assert all(float(cell) > 3 for cell in photographs[1:3])
    assert "No effect: `num-tile-groups=1`." in text
    assert "Refused by this libavif: `no-such-option=1`." in text
    assert {"today's options", "libavif's defaults"} <= {cells[0] for cells in rows}
    assert "speed 5" in {cells[0] for cells in options}
    assert str(page) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--clips", "nowhere"], "there is no folder nowhere"),
        (["--clips", "CLIPS", "--every", "2"], "needs two clips or more"),
        (["--clips", "CLIPS", "--out", "no/such/folder.md"], "cannot be written"),
    ],
)
def test_what_cannot_work_is_told_before_any_work(
    clips: Path, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(clips) if argument == "CLIPS" else argument for argument in arguments]
    assert main([*given, "--workers", "1"]) != 0
    assert complaint in capsys.readouterr().err
