"""The blocks that commands wrote into the pages read as the commands would write them today, except figures."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from string import Formatter

import pytest

from audio_avif.metrics import SCORES
from audio_avif_tools.analyze.stages import MEASURES, Row, Split
from audio_avif_tools.bench import rows as bench
from audio_avif_tools.bench.delay import NOTE
from audio_avif_tools.bitrate import pauses, rate
from audio_avif_tools.compare import layouts, tables
from audio_avif_tools.microphone import command as microphone
from audio_avif_tools.network import call_soak, impair, reliability_page, soak
from audio_avif_tools.quality import page as quality_page
from audio_avif_tools.shared.pages import paragraph, read_block
from fuzz import __main__ as fuzzing
from support.paths import DOCS

MEASUREMENTS = DOCS / "measurements"
TABLES_AND_PICTURES = (r"\|.*\|", r"!\[.*\]\(images/[\w.-]+\.png\)")
ON_A_MACHINE = r"on \d{4}-\d\d-\d\d: .+, \d+ cores, .+\."


def unexplained(block: str, fixed_texts: Sequence[str], paragraphs: Sequence[str]) -> list[str]:
    """The paragraphs of a block that are none of these texts, all of which must be there, nor like ``paragraphs``."""
    for fixed in fixed_texts:
        assert fixed in block, f"the block lacks what its command writes: {fixed}"
        block = block.replace(fixed, "\n\n")
    lines = [line for line in block.splitlines() if not any(re.fullmatch(like, line) for like in TABLES_AND_PICTURES)]
    found = (" ".join(text.split()) for text in "\n".join(lines).split("\n\n"))
    return [text for text in found if text and not any(re.fullmatch(like, text) for like in paragraphs)]


def test_a_sentence_that_a_command_would_not_write_is_found() -> None:
    assert unexplained("## Title\n\nFixed.\n\n|1|\n", ["Fixed."], [r"## Title"]) == []
    assert unexplained("Fixed.\n\nBy\nhand.\n", ["Fixed."], []) == ["By hand."]
    with pytest.raises(AssertionError, match=r"lacks what its command writes: Fixed\."):
        unexplained("By hand.\n", ["Fixed."], [])


@pytest.mark.parametrize("module", [rate, pauses, microphone], ids=["rate", "pauses", "microphone"])
def test_a_block_that_is_a_text_with_fields(module: object) -> None:
    page, template, program = (getattr(module, key) for key in ("PAGE", "_BLOCK", "PROGRAM"))
    parts = Formatter().parse(template.strip())
    pattern = "".join(re.escape(text) + ("" if field is None else "(?s:.+)") for text, field, *_ in parts)
    assert re.fullmatch(pattern, read_block(MEASUREMENTS / page.name, program))


def test_the_block_on_quality() -> None:
    blind_spots = [paragraph(f"- **{score.title}** {score.blind_spot}.") for score in SCORES.values()]
    paragraphs = (
        r"Measured on \d{4}-\d\d-\d\d by",
        r"audio-avif-quality .*--page docs/measurements/quality\.md",
        r"on .+, \d+ cores, .+ Means over \d+ clips?, .+",
        r"Left out: .+\.",
        r"## (At most [\d.]+ kbps( on the wire)?|Limits of the scores|Rates and delays|All settings|Examples)",
        r"Above it at every setting: .+\.",
        r"- No score is a listener, .+",
        r"\[quality\.csv\]\(quality\.csv\) has all systems, .+",
        r"The worst, the median and the best clip by .+; the first four seconds\.",
        r"`.+`: .+, mean of these systems",
    )
    block = read_block(MEASUREMENTS / "quality.md", quality_page.PROGRAM)
    assert unexplained(block, [quality_page._WITHIN, quality_page._RATES, *blind_spots], paragraphs) == []


@pytest.mark.parametrize(
    ("section", "texts"),
    [
        (reliability_page.PATHS, impair._TEXTS),
        (reliability_page.SOAK, [soak._TEXT]),
        (reliability_page.CALL, [call_soak._TEXT]),
    ],
    ids=["paths", "soak", "call"],
)
def test_the_blocks_on_reliability(section: str, texts: Sequence[str]) -> None:
    command = reliability_page.COMMANDS[section]
    paragraphs = (f"## {section}", rf"Measured by `{command}` {ON_A_MACHINE} Sound: .+\.")
    assert unexplained(read_block(MEASUREMENTS / "reliability.md", command), texts, paragraphs) == []


def test_the_block_on_speed() -> None:
    measured = rf"Measured on \d{{4}}-\d\d-\d\d\.( Sound: [^.]+\.| {re.escape(NOTE)})?"
    paragraphs = (r"## .+", r"Measured by `make bench`: .+, \d+ cores, .+\.", measured)
    assert unexplained(read_block(MEASUREMENTS / "bench.md", bench.COMMAND), [], paragraphs) == []


def test_the_block_on_fuzzing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "version", lambda package: "1")
    block = read_block(fuzzing.PAGE, fuzzing.COMMAND)
    written = fuzzing.section([], "2026-01-01", block)
    there, today = (re.sub(r"^Measured.*?\n\n", "", text, flags=re.DOTALL) for text in (block, written))
    assert [re.sub(r" ?\| ?", "|", line) for line in today.splitlines()] == there.splitlines()


def cells(block: str) -> list[list[str]]:
    """The cells of a block's table, without its second line."""
    rows = [line[1:-1].split("|") for line in block.splitlines() if line.startswith("|")]
    return [rows[0], *rows[2:]]


@pytest.mark.parametrize("command", ["audio-avif compare", "audio-avif compare --tile-frames"])
def test_the_tables_of_image_formats(command: str) -> None:
    block = read_block(MEASUREMENTS / "formats.md", command)
    header, *rows = cells(block)
    assert header == [*("", *tables._RATES, *tables.VALUES), "rate for the error of AVIF"]
    assert [row[0] for row in rows] == ["AVIF", "WebP", "JPEG XL", "HEIC", "JPEG", "PNG"]
    assert unexplained(block, [], []) == []


def test_the_table_of_layouts() -> None:
    block = read_block(MEASUREMENTS / "formats.md", "audio-avif compare --layouts")
    header, *rows = cells(block)
    assert header == [*("scene", *layouts.LAYOUTS), "as chosen", "mid/side chosen", "chosen rightly"]
    assert [row[0] for row in rows] == list(layouts.SCENES)
    assert unexplained(block, [], []) == []


@pytest.mark.parametrize("options", ["", " --tile-frames"])
def test_the_blocks_on_the_loss_of_each_stage(options: str) -> None:
    block = read_block(MEASUREMENTS / "analyze.md", f"audio-avif analyze{options}")
    header, *lines = cells(block)
    assert header == ["picture", "voice", "kbps", *(score.title for score in MEASURES.values())]
    rows = []
    for picture, voice, _, *told in lines:
        values = [math.nan if value == "-" else float(value) for value in told]
        rows.append(Row(picture, voice, 0.0, dict(zip(MEASURES, values, strict=True))))
    split = Split.of([rows], "embedded")
    assert split is not None
    paragraphs = (
        r"Measured on \d{4}-\d\d-\d\d by",
        r"audio-avif analyze RECORDINGS .*--page docs/measurements/analyze\.md",
        r"on .+, \d+ cores, .+\. Means over \d+ s of .+\.",
    )
    (sentence,) = unexplained(block, [], paragraphs)
    masked = [re.sub(r"\d+\.\d+", "#", text) for text in (sentence.replace("> ", ""), split.sentence())]
    assert masked[0] == masked[1]
