"""Pages that a command writes hold what the command would write today, and nothing that it would delete."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from string import Formatter

import pytest

from audio_avif.metrics import SCORES
from audio_avif_tools.bitrate import rate
from audio_avif_tools.network import impair, soak
from audio_avif_tools.quality import page as quality_page
from fuzz import __main__ as fuzzing

DOCS = Path(__file__).parents[1] / "docs"
TABLES_AND_PICTURES = (r"\|.*\|", r"!\[.*\]\(images/[\w.-]+\.png\)")
ON_A_MACHINE = r"on \d{4}-\d\d-\d\d: .+, \d+ cores, .+\."


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def unexplained(text: str, fixed_texts: Sequence[str], lines: Sequence[str]) -> list[str]:
    """The lines of a page that are neither of these texts, each of which must be there, nor like one of ``lines``."""
    for fixed in fixed_texts:
        assert fixed in text, f"the page lacks what its command writes: {fixed}"
        text = text.replace(fixed, "")
    return [line for line in text.splitlines() if line and not any(re.fullmatch(like, line) for like in lines)]


def test_a_sentence_that_a_command_would_delete_is_found() -> None:
    assert unexplained("# Title\n\nFixed.\n| 1 |\n", ["Fixed."], [r"# Title", *TABLES_AND_PICTURES]) == []
    assert unexplained("Fixed.\nBy hand.\n", ["Fixed."], []) == ["By hand."]
    with pytest.raises(AssertionError, match=r"lacks what its command writes: Fixed\."):
        unexplained("By hand.\n", ["Fixed."], [])


def test_the_page_on_rate_control() -> None:
    """All of it is a text with fields, of which some are tables."""
    tables = {"accuracy", "cost", "ranges"}
    pattern = ""
    for text, field, _, _ in Formatter().parse(rate._PAGE):
        pattern += re.escape(text)
        if field == "verdict":
            pattern += re.escape(rate._VERDICT)
        elif field is not None:
            pattern += r"(?:\|.*\|\n?)+" if field in tables else r".+"
    assert re.fullmatch(pattern, page("rate.md")), "docs/rate.md differs from tools/rate.py"


def test_the_page_on_quality() -> None:
    hears = [f"- **{score.title}** {score.blind_spot}." for score in SCORES.values()]
    lines = (
        *TABLES_AND_PICTURES,
        r"# Quality against rate",
        r"Written on \d{4}-\d\d-\d\d by",
        r"    audio-avif-quality .*--page docs/quality\.md",
        r"on .+, \d+ cores, .+ Means over \d+ clips?, .+",
        r"Left out: .+\.",
        r"## (Vocoders alone|At most [\d.]+ kbps|What each score does not hear|How rates and delays are counted)",
        r"## (All settings|Examples|Quality bench)",
        r"The mel as it is, without pictures\.",
        r"Of each system the highest rate that keeps to the limit, but for the 1 % at most by which a last",
        r"packet reaches beyond its clip\.",
        r"- None of them is a listener, and they disagree: a codec is better where none of them got worse\.",
        r"The worst, the middling and the best clip by .+, each system at [\d.]+ kbps at most;",
        r"the first \w+ seconds\.",
        r"`.+`: .+, mean of these systems",
    )
    assert unexplained(page("quality.md"), [quality_page._RATES, quality_page._HOW_TO, *hears], lines) == []


def test_the_page_on_reliability() -> None:
    lines = (
        *TABLES_AND_PICTURES,
        r"# Reliability",
        r"## (Impaired paths|The long run)",
        rf"Written by `make (impair|soak)` {ON_A_MACHINE} Sound: .+\.",
    )
    assert unexplained(page("reliability.md"), [*impair._TEXTS, soak._TEXT], lines) == []


def test_the_page_on_speed() -> None:
    lines = (
        *TABLES_AND_PICTURES,
        r"# Speed, delay and memory",
        r"## .+",
        rf"Written by `make bench` {ON_A_MACHINE} Sound: .+\.",
        r"Timings are of one run on a shared machine; between machines compare ratios, not milliseconds\.",
    )
    assert unexplained(page("bench.md"), [], lines) == []


def test_the_section_on_fuzzing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "version", lambda package: "1")
    text = page("security.md")
    there = text[text.index(fuzzing.BEGIN) : text.index(fuzzing.END) + len(fuzzing.END)].splitlines()
    written = fuzzing.section([], "2026-01-01", text).splitlines()
    is_dated = "Written by `make fuzz`"
    assert [line for line in there if is_dated not in line] == [line for line in written if is_dated not in line]
