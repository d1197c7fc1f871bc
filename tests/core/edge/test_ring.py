"""The ring hands over every sample once, in order, and never more than it has."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.edge.ring import Ring

_STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=60)


@given(capacity=st.integers(1, 32), steps=_STEPS)
def test_any_writes_and_reads_give_the_samples_in_order(capacity: int, steps: list[tuple[bool, int]]) -> None:
    ring, queue, next_sample = Ring(capacity), [], 1
    for is_write, size in steps:
        if is_write:
            samples = np.arange(next_sample, next_sample + size, dtype=np.float32)
            accepted = ring.write(samples)
            assert accepted == min(size, capacity - len(queue))
            queue += samples[:accepted].tolist()
            next_sample += accepted
        else:
            out = np.full(size, np.nan, np.float32)
            real = ring.read_into(out)
            assert real == min(size, len(queue))
            assert out.tolist() == queue[:real] + [0.0] * (size - real)
            del queue[:real]
        assert ring.fill == len(queue) == ring.written - ring.consumed


def test_a_full_ring_keeps_the_oldest_and_refuses_the_rest() -> None:
    ring = Ring(3)
    assert ring.write(np.array([1, 2, 3, 4], np.float32)) == 3
    assert ring.write(np.array([5], np.float32)) == 0
    out = np.empty(3, np.float32)
    ring.read_into(out)
    assert out.tolist() == [1, 2, 3]


def test_clear_drops_what_is_there_and_keeps_the_counters_going() -> None:
    ring = Ring(4)
    ring.write(np.ones(3, np.float32))
    ring.clear()
    assert (ring.fill, ring.written, ring.consumed) == (0, 3, 3)
    assert ring.write(np.ones(9, np.float32)) == 4


def test_a_ring_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Ring(0)
