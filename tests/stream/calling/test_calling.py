"""The parts of a call without processes: keys, levels, lines of text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from audio_avif_stream.calling.display import text_of
from audio_avif_stream.calling.hosting import call_line, call_link
from audio_avif_stream.calling.sound import (
    SILENT_DB,
    TALK_S,
    ControlledOutput,
    ControlledSource,
    Controls,
    LevelMeter,
)
from audio_avif_stream.receiving.clocked import Clocked
from audio_avif_stream.runtime.device_keeper import NO_DEVICE
from audio_avif_stream.sending.capture import Block, nothing_missing
from support.speech import tone


class Kept(Clocked):
    """An output that keeps what it plays."""

    def __init__(self) -> None:
        super().__init__()
        self.played: list[Any] = []

    def _put(self, samples: Any) -> None:
        self.played.append(samples)

    def _put_gap(self, seconds: float) -> None:
        pass

    def close(self, has_failed: bool = False) -> None:
        pass


class Tones:
    """A source of three blocks; before the second, ``between`` is called."""

    device = NO_DEVICE

    def __init__(self, between: Any) -> None:
        self._between = between

    async def blocks(self, missing: Callable[[], int] = nothing_missing) -> AsyncIterator[Block]:
        for number in range(3):
            if number:
                self._between()
            yield Block(tone(1000, 16_000, 0.1), 0.01)

    def close(self) -> None:
        pass


def test_m_mutes_and_speaks_again() -> None:
    controls = Controls()
    source = ControlledSource(Tones(lambda: controls.press("m", 0.0)), controls)

    async def take() -> list[Block]:
        return [block async for block in source.blocks()]

    loud, muted, again = asyncio.run(take())
    assert np.array_equal(loud.samples, again.samples) and loud.samples.any()
    assert muted.samples.size == loud.samples.size and not muted.samples.any() and muted.age_s == loud.age_s


def test_space_opens_the_microphone_for_as_long_as_it_repeats() -> None:
    controls = Controls(is_push_to_talk=True)
    assert not controls.is_open(0.0)
    controls.press(" ", 1.0)
    assert controls.is_open(1.0 + 0.9 * TALK_S) and not controls.is_open(1.0 + TALK_S)
    controls.press("m", 2.0)
    controls.press(" ", 2.0)
    assert not controls.is_open(2.0)


def test_the_volume_changes_in_steps_within_limits_and_clips() -> None:
    controls, kept = Controls(), Kept()
    output = ControlledOutput(kept, controls)
    sound = tone(1000, 16_000, 0.1, level=0.5)
    output.begin(True)
    output.write(sound)
    controls.press("-", 0.0)
    output.write(sound)
    for _ in range(20):
        controls.press("+", 0.0)
    output.write(sound)
    same, quieter, clipped = kept.played
    assert np.array_equal(same, sound)
    assert quieter == pytest.approx(sound * 10 ** (-3 / 20), abs=1e-6)
    assert controls.volume_db == 12.0 and np.abs(clipped).max() == 1.0
    for _ in range(40):
        controls.press("-", 0.0)
    assert controls.volume_db == -30.0


def test_a_meter_tells_the_level_of_what_came_since() -> None:
    meter = LevelMeter()
    assert meter.take_db() == SILENT_DB
    for samples in np.split(tone(1000, 16_000, 0.2, level=1.0), 2):
        meter.push(samples)
    assert meter.take_db() == pytest.approx(-3.0, abs=0.1)
    meter.push(np.zeros(100, np.float32))
    assert meter.take_db() == SILENT_DB


@pytest.mark.parametrize("delay_ms", [None, 92.3, 1999.0])
@pytest.mark.parametrize("is_connected", [0, 1])
def test_the_lines_of_both_directions_fit_into_a_terminal(delay_ms: float | None, is_connected: int) -> None:
    sent = {"codec_kbps": 11.9, "dropped_tiles": 999, "round_trip_ms": 999.0, "is_connected": is_connected}
    figures = {
        "there_and_back_ms": None if delay_ms is None else 2 * delay_ms,
        "said_level_db": SILENT_DB,
        "heard_level_db": SILENT_DB,
        "is_silent": 1,
        "volume_db": -30.0,
        "sent": sent,
        "heard": {"codec_kbps": 11.9, "lost_tiles": 999, "delay_ms": delay_ms},
    }
    said, heard = text_of(figures).splitlines()
    assert max(len(said), len(heard)) <= 80
    assert said.endswith("silent" if is_connected else "reconnecting")
    at_first = text_of({**figures, "sent": None, "heard": None}).splitlines()
    assert len(at_first) == 2 and at_first[0].endswith(" connecting")


@pytest.mark.parametrize(
    ("where", "line", "link"),
    [
        (("h", 8765, False, None, "call"), "audio-avif-call h", "http://h:8765/call.html#room=call"),
        (
            ("h", 9, False, "t", "x"),
            "audio-avif-call h --port 9 --room x --token t",
            "http://h:9/call.html#room=x&token=t",
        ),
        (("::1", 8765, True, None, "call"), "audio-avif-call wss://[::1]", "https://[::1]:8765/call.html#room=call"),
        (("h", 9, True, None, "call"), "audio-avif-call wss://h:9", "https://h:9/call.html#room=call"),
    ],
)
def test_what_is_printed_reaches_the_host(where: tuple[str, int, bool, str | None, str], line: str, link: str) -> None:
    assert (call_line(*where), call_link(*where)) == (line, link)
