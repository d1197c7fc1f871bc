"""What several test modules share."""

import gc
import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings

from audio_avif_tools.shared.virtual_sound_card import VirtualSoundCard


@pytest.fixture(scope="session")
def sound_card() -> Iterator[VirtualSoundCard]:
    """A microphone and a speaker without hardware; a test is skipped, with the reason, where it can't be."""
    if reason := VirtualSoundCard.missing():
        pytest.skip(reason)
    with VirtualSoundCard() as card:
        yield card


# The same examples every time in CI; new ones on every run elsewhere. A busy machine is no reason to fail.
_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", _UNHURRIED, derandomize=True)
settings.register_profile("dev", _UNHURRIED)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


_USUAL_SLOW_TEST_S = 5


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while modules are imported, and never among what they hold: it stays, and there is much."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Count no lines in a test marked ``no_cover``: in xdist's processes, pytest-cov stops only one of two counters."""
    counting = Coverage.current() if item.get_closest_marker("no_cover") else None
    if counting is None:
        return (yield)
    counting.stop()
    try:
        return (yield)
    finally:
        counting.start()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run modules without slow tests first, then those that take longest, so that no worker ends alone with them."""
    seconds: Counter[Path] = Counter()
    for item in items:
        for mark in item.iter_markers():
            if mark.name in ("slow", "device"):
                seconds[item.path] += mark.kwargs.get("seconds", _USUAL_SLOW_TEST_S)
    items.sort(key=lambda item: (item.path in seconds, -seconds[item.path]))
