"""Attempts to connect, by a clock that the test moves."""

from __future__ import annotations

import asyncio

import pytest

from audio_avif.errors import ConnectionFailed, RefusedForGood
from audio_avif_stream.client import reconnecting
from audio_avif_stream.client.reconnecting import Backoff, keep_trying


@pytest.fixture(autouse=True)
def no_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnecting, "_SPREAD", 0.0)


def test_pauses_double_up_to_the_longest_and_start_again() -> None:
    backoff = Backoff(0.5)
    assert [backoff.next_s() for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    backoff.reset()
    assert backoff.next_s() == 0.1


def test_with_several_servers_each_round_is_one_step() -> None:
    backoff = Backoff(1.0, attempts=2)
    assert [backoff.next_s() for _ in range(5)] == [0.1, 0.1, 0.2, 0.2, 0.4]


class Attempts:
    """Fails as often as it is told to, each time after ``takes_s``."""

    def __init__(self, failures: list[Exception], takes_s: float = 0.0) -> None:
        self.failures = failures
        self.takes_s = takes_s
        self.began_s: list[float] = []

    async def __call__(self) -> str:
        self.began_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes_s)
        if self.failures:
            raise self.failures.pop(0)
        return "connected"


def test_it_is_tried_until_it_succeeds() -> None:
    told: list[str] = []
    attempts = Attempts([ConnectionFailed("one"), ConnectionFailed("two")])

    async def connect() -> str:
        return await keep_trying(attempts, Backoff(1.0), lambda failure, next_s: told.append(str(failure)))

    assert asyncio.run(connect()) == "connected" and told == ["one", "two"]
    first, second, third = attempts.began_s
    assert second - first >= 0.09 and third - second >= 0.19


def test_a_refusal_for_good_ends_the_attempts_and_so_does_the_listener() -> None:
    def give_up(failure: ConnectionFailed, next_s: float) -> None:
        raise ConnectionFailed(f"given up: {failure}")

    attempts = Attempts([RefusedForGood("never"), ConnectionFailed("not now")])

    async def connect() -> str:
        return await keep_trying(attempts, Backoff(1.0), give_up)

    with pytest.raises(RefusedForGood, match="never"):
        asyncio.run(connect())
    with pytest.raises(ConnectionFailed, match="given up: not now"):
        asyncio.run(connect())
    assert len(attempts.began_s) == 2
