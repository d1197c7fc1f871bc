"""The decoder decides as the vectors that it shares with the web page's decoder say."""

from __future__ import annotations

from typing import Any

import pytest

from support.decoder_vectors import (
    FOLDER,
    ask,
    comparable,
    end,
    flush,
    load,
    open_decoder,
    push,
    record,
    scenarios,
    totals,
)

NAMES = sorted(scenarios())

# What a vector is about happens in it.
HAPPENS = {
    "loss": "lost",
    "bursts": "concealed_frames",
    "damaged": "damaged",
    "order": "late",
    "pauses": "noise_frames",
    "pause_to_the_end": "noise_frames",
    "copies": "recovered",
    "sender_fast": "shortened_samples",
    "sender_slow": "lengthened_samples",
    "short_tiles": "shortened_samples",
    "stall": "skipped",
    "silence": "concealed_frames",
    "slow_vocoder": "concealed_frames",
}


def agrees(answer: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether levels are the same to a hundredth of a pixel step, and all else to a microsecond."""
    levels, expected_levels = answer.get("levels"), expected.get("levels")
    rest, expected_rest = ({**each, "levels": None} for each in (answer, expected))
    return levels == pytest.approx(expected_levels, abs=2e-3) and rest == pytest.approx(expected_rest, abs=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_is_as_recorded(name: str) -> None:
    vector = load(name)
    with comparable():
        decoder = open_decoder(vector)
        for number, call in enumerate(vector["calls"]):
            if "push" in call:
                push(decoder, vector, call)
            elif "ask" in call:
                answer = ask(decoder, **call["ask"])
                assert agrees(answer, call["answer"]), f"call {number}: {answer}, not {call['answer']}"
            elif "end" in call:
                end(decoder, call)
            else:
                assert flush(decoder) == call["flush"]
        assert totals(decoder) == vector["totals"]


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_those_of_the_scenarios(name: str) -> None:
    """``python -m support.decoder_vectors`` was run after the last change of a scenario."""
    vector, again = load(name), record(scenarios()[name])
    for part in ("about", "tile_frames", "latency_samples", "processing_s", "playout"):
        assert vector[part] == again[part]
    pushes, pushed_again = ([call for call in each["calls"] if "push" in call] for each in (vector, again))
    assert pushes == pushed_again


def test_there_are_no_other_files() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == NAMES


@pytest.mark.parametrize(("name", "count"), HAPPENS.items())
def test_what_a_vector_is_about_happens(name: str, count: str) -> None:
    assert load(name)["totals"][count] > 0


def test_a_slow_vocoder_gets_longer_pieces() -> None:
    made_up = [
        len(call["answer"]["levels"])
        for call in load("slow_vocoder")["calls"]
        if call.get("answer", {}).get("levels") and call["answer"]["tile"] is None
    ]
    assert max(made_up) == 5  # 75 ms, half as long again as a tile's processing
