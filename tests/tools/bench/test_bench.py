"""The bench measures what it says and writes it down."""

from __future__ import annotations

from pathlib import Path

from audio_avif_tools.bench.command import Row, bench_encode, bench_resampling, write_page
from audio_avif_tools.shared.signals import demo_clip


def test_rows_hold_figures_and_verdicts(tmp_path: Path) -> None:
    rows = [*bench_encode(demo_clip()[:32_000]), *bench_resampling()]
    median_ms, high_ms = map(float, rows[0].result.split(" / "))
    assert 0 < median_ms <= high_ms
    assert rows[0].is_met == (high_ms < 3) or high_ms == 3  # which is rounded
    ours_ms, *theirs_ms = map(float, rows[1].result.split(" / "))
    assert ours_ms < 8 < min(theirs_ms)

    page = tmp_path / "bench.md"
    write_page({"Sending": rows, "Other": [Row("something", "7", "< 5", False)]}, "a clip", page)
    assert "|something|7|< 5|**no**|" in page.read_text()
    write_page({"Other": [Row("something else", "8")]}, "a clip", page)
    text = page.read_text()
    assert "something|" not in text and "|something else|8|||" in text
    assert text.count("## ") == 2
    assert rows[0].cells().replace(" | ", "|")[2:-2] in text
    assert "numpy" in text and "cores" in text
