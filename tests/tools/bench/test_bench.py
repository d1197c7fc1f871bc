"""The bench measures what it says and writes it down."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from audio_avif.types import FloatArray
from audio_avif_tools.bench.call import call_rows
from audio_avif_tools.bench.processing import bench_encode, bench_resampling, time_ratio
from audio_avif_tools.bench.rows import Row, section_text, write_page
from audio_avif_tools.shared.signals import demo_clip


class _Worker:
    """A vocoder stream that takes ``seconds`` of a made-up clock for a call, and four times as long for its first."""

    latency_samples = 0

    def __init__(self, clock: list[float], seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._is_new = True

    def push(self, log_mel: FloatArray) -> FloatArray:
        self._clock[0] += self._seconds * (4 if self._is_new else 1)
        self._is_new = False
        return log_mel[0]

    def flush(self) -> FloatArray:
        raise NotImplementedError

    def reset(self) -> None:
        raise NotImplementedError


def test_a_ratio_of_times_is_that_of_settled_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "thread_time", lambda: clock[0])
    assert time_ratio(_Worker(clock, 1.0), _Worker(clock, 2.0), tile_frames=8, tiles=8) == pytest.approx(0.5)


def test_rows_hold_figures_and_verdicts(tmp_path: Path) -> None:
    rows = [*bench_encode(demo_clip()[:32_000]), *bench_resampling()]
    median_ms, high_ms = map(float, rows[0].result.split(" / "))
    assert 0 < median_ms <= high_ms
    assert rows[0].is_met == (high_ms < 3) or high_ms == 3  # which is rounded
    ours_ms, *theirs_ms = map(float, rows[1].result.split(" / "))
    assert ours_ms < 8 < min(theirs_ms)

    page = tmp_path / "bench.md"
    other = section_text([Row("something", "7", "< 5", False)], "Sound: another.", "A note.")
    write_page({"Sending": section_text(rows, "Sound: a clip."), "Other": other}, page)
    assert "|something|7|< 5|**no**|" in page.read_text() and "Sound: another. A note." in page.read_text()
    write_page({"Other": section_text([Row("something else", "8")], "Sound: a third.")}, page)
    text = page.read_text()
    assert "Sound: a clip." in text and "Sound: another." not in text
    assert "something|" not in text and "|something else|8|||" in text
    assert text.count("## ") == 2
    assert rows[0].cells().replace(" | ", "|")[2:-2] in text
    assert "numpy" in text and "cores" in text


def test_each_direction_of_a_call_is_held_against_one_direction() -> None:
    def delay(p50_ms: float, p95_ms: float) -> dict[str, float]:
        return {"p50_ms": p50_ms, "p95_ms": p95_ms, "p99_ms": p95_ms}

    call = {"to_caller": delay(160, 170), "from_caller": delay(160, 181), "lost_tiles": 0, "underruns": 1}
    shares = {"caller": 0.15, "host": 0.2}
    rows = list(call_rows({"one_direction": delay(160, 170), "calls": {"none": call}, "shares": shares}))
    assert [row.is_met for row in rows] == [None, False, None, True]
    assert [row.result for row in rows] == ["160 / 170", "160 / 170; 160 / 181", "1; 0", "0.150 / 0.200"]
