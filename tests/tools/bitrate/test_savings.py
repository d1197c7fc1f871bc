"""The command that prints what encoder options and lean packets save."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_avif.config import RATE_HZ
from audio_avif_tools.bitrate import savings
from audio_avif_tools.bitrate.savings import BEFORE_QUALITIES, QUALITIES, Measured, report
from support.speech import speech_like


def measured(is_lean: bool, quality: int, tile_bytes: float) -> Measured:
    """A tile of that size whose message is 10 bytes longer, at an error that falls with the quality."""
    sizes = np.array([tile_bytes, tile_bytes + 10, tile_bytes + 100])
    return Measured(is_lean, 8, quality, sizes, 4 - quality / 30)


def test_rates_are_those_at_the_error_of_the_default_quality() -> None:
    results = [
        *(measured(False, quality, 2 * np.exp(quality / 25)) for quality in BEFORE_QUALITIES),
        *(measured(True, quality, 1.5 * np.exp(quality / 25)) for quality in QUALITIES),
    ]
    header, *lines = report(results)
    cells = [line.split() for line in lines]
    assert [line[:2] for line in cells] == [["8", "payload"], ["8", "message"], ["8", "wire"]]
    payload = cells[0]
    assert payload[4] == payload[5] == "-25.0%"
    before, after = float(payload[2]), float(payload[3])
    assert after == pytest.approx(1.5 * np.exp(savings.TOLD_QUALITY / 25) / 16, rel=0.02)
    assert before == pytest.approx(after / 0.75, rel=0.01)
    assert "mean change" in header


def test_the_command_prints_less_of_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(savings, "QUALITIES", (36, 60))
    monkeypatch.setattr(savings, "BEFORE_QUALITIES", (20, 40, 64))
    monkeypatch.setattr(savings, "run_jobs", lambda jobs, workers: [job.run() for job in jobs])
    soundfile.write(tmp_path / "a.wav", speech_like(1.2, seed=1), RATE_HZ)
    assert savings.main(["--clips", str(tmp_path), "--tile-frames", "16", "--workers", "1"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("16 ")]
    assert [row[1] for row in rows] == ["payload", "message", "wire"]
    assert all(float(row[5].removesuffix("%")) < -8 for row in rows)
