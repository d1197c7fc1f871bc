"""Fuzzing: a short run of what ``make fuzz`` runs long, past findings, and that a finding would be one."""

from __future__ import annotations

import importlib.util
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from audio_avif.errors import TileError
from audio_avif.still.avif import decode_still
from fuzz import mutators, seeds, targets
from fuzz.__main__ import Finding, Result, fuzz, section
from fuzz.targets import TARGETS, Target

FINDINGS = sorted((Path(__file__).parent / "findings").glob("*.bin"))
SHORT_INPUTS = 1000

needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed; pip install 'audio-avif[fuzz]'"
)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_no_seed_is_a_finding(target: Target) -> None:
    for data in (b"", *target.seeds()):
        targets.run_within_bounds(target, data)


@pytest.mark.parametrize("file", FINDINGS, ids=[file.stem for file in FINDINGS])
def test_what_once_was_a_finding_is_none_any_more(file: Path) -> None:
    target = next(target for name, target in TARGETS.items() if file.stem.startswith(name))
    targets.run_within_bounds(target, file.read_bytes())


@needs_atheris
@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_short_run_finds_nothing(target: Target, tmp_path: Path) -> None:
    result = fuzz(target, SHORT_INPUTS, tmp_path)
    assert not result.findings
    assert result.inputs == SHORT_INPUTS
    assert result.edges >= 20


@needs_atheris
def test_a_run_can_be_repeated(tmp_path: Path) -> None:
    def kept(run: str) -> set[str]:
        result = fuzz(TARGETS["sender-wire"], 2000, tmp_path / run)
        assert not result.findings
        return {file.name for file in (tmp_path / run / "sender-wire" / "corpus").iterdir()}

    assert len(first := kept("first")) > 10
    assert kept("second") == first


DIES = """
import ctypes, os, sys, time
import atheris

def take(data):
    take.calls += 1
    if take.calls == 300 and "-seed=1" in sys.argv:
        {how}

take.calls = 0
sys.argv.pop(1)
atheris.Setup(sys.argv, take)
atheris.Fuzz()
"""


@needs_atheris
@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("ctypes.string_at(8)", "deadly signal"),
        ("os.abort()", "deadly signal"),
        ("raise ValueError('of no use')", "ValueError: of no use"),
    ],
)
def test_what_kills_a_target_is_kept_and_the_run_goes_on(how: str, what: str, tmp_path: Path) -> None:
    script = tmp_path / "dies.py"
    script.write_text(DIES.format(how=how))
    result = fuzz(TARGETS["sender-wire"], 1000, tmp_path, (str(script),))
    assert [finding.what for finding in result.findings] == [what]
    assert result.findings[0].input is not None and result.findings[0].input.is_file()
    assert result.inputs == 1000


@needs_atheris
def test_a_target_that_cannot_start_is_a_finding(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit('no target')")
    result = fuzz(TARGETS["sender-wire"], 1000, tmp_path, (str(script),))
    assert result.inputs == 0
    assert result.findings == [Finding(None, "the process ended with 1: no target")]


def test_an_input_that_takes_too_much_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def takes(what: Callable[[bytes], None]) -> Target:
        return Target("x", "", what, seeds.still, mutators.plain, 8)

    with pytest.raises(AssertionError, match=r"1 bytes took 1\.\d s"):
        targets.run_within_bounds(takes(lambda data: _spin(1.1)), b"x")
    monkeypatch.setattr(targets, "MAX_GROWTH_KB", -1)
    with pytest.raises(AssertionError, match="1 bytes took 0 MB"):
        targets.run_within_bounds(takes(lambda data: None), b"x")


def _spin(seconds: float) -> None:
    until_s = time.process_time() + seconds
    while time.process_time() < until_s:
        pass


def _without_libfuzzer(data: bytes, max_bytes: int) -> bytes:
    return mutators.spoil(data, random.Random(len(data)), 2)[:max_bytes]


def _mutations(target: Target, count: int) -> list[bytes]:
    started = list(target.seeds())
    inputs = []
    for number in range(count):
        dice = random.Random(number)
        inputs.append(target.mutate(dice.choice(started), target.max_bytes, dice, _without_libfuzzer))
    return inputs


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_mutations_are_many_and_fit(target: Target) -> None:
    inputs = _mutations(target, 500)
    assert len(set(inputs)) >= 350
    assert max(map(len, inputs)) <= target.max_bytes


def _outcomes(target: str, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    outcomes: Counter[str] = Counter()

    def decode(still: bytes, width: int, height: int) -> object:
        try:
            pixels = decode_still(still, width, height)
        except TileError as error:
            outcomes["refused by libavif" if "cannot be decoded" in str(error) else "refused before"] += 1
            raise
        outcomes["picture"] += 1
        return pixels

    monkeypatch.setattr(targets, "decode_still", decode)
    for data in _mutations(TARGETS[target], 600):
        TARGETS[target].take(data)
    return outcomes


def test_mutated_stills_are_refused_at_every_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = _outcomes("still", monkeypatch)
    assert min(outcomes[where] for where in ("refused before", "refused by libavif", "picture")) >= 18


def test_mutated_frames_reach_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = _outcomes("tile", monkeypatch)
    assert outcomes["refused before"] == 0
    assert outcomes["picture"] >= 200 and outcomes["refused by libavif"] >= 60


def test_mutated_pictures_are_refused_at_every_depth_and_played(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: Counter[str] = Counter()
    monkeypatch.setattr(targets, "_check_sentence", lambda error: outcomes.update([str(error)]))
    inputs = _mutations(TARGETS["grid"], 600)
    for data in inputs:
        TARGETS["grid"].take(data)
    refused = sum(outcomes.values()) // 2
    assert 100 < refused < 500, "some are refused, some are played"
    for what in (
        "metadata are damaged",
        "the picture's metadata describe",
        "is damaged after",
        "AVIF file is truncated",
    ):
        assert sum(count for sentence, count in outcomes.items() if what in sentence) >= 3, what


def test_a_real_still_has_its_places_right() -> None:
    for columns, rows in seeds.SIZES:
        still = seeds.blank_still(columns, rows)
        assert mutators.with_right_places(still) == still


def test_messages_and_records_are_taken_apart_and_joined() -> None:
    messages = list(seeds.sender_messages().values())
    assert seeds.split_messages(seeds.join_messages(messages)) == messages
    for recording in seeds.recording():
        assert seeds.join_records(seeds.split_records(recording)) == recording


@needs_atheris
def test_the_table_names_counts_and_findings() -> None:
    results = [
        Result(TARGETS["still"], 200_000, 61.4, 88, []),
        Result(TARGETS["tile"], 12, 1.0, 60, [Finding(Path("x"), "deadly signal")]),
    ]
    text = section(results, "2030-01-02")
    assert "on 2030-01-02: " in text
    assert "| 200,000 | 61 | 88 | none |" in text
    assert "| 12 | 1 | 60 | deadly signal |" in text


@needs_atheris
def test_what_was_not_run_again_keeps_its_row() -> None:
    names = ("receiver-wire", "still", "grid")
    before = section([Result(TARGETS[name], 200_000, 61.4, 88, []) for name in names], "2030-01-02")
    after = section([Result(TARGETS["still"], 7, 1.0, 90, [])], "2030-01-03", before)
    rows = [line for line in after.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(names)
    assert "| 7 | 1 | 90 | none |" in rows[1] and all("| 200,000 | 61 | 88 | none |" in rows[at] for at in (0, 2))
