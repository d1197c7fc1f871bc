"""Clock offsets come from the fastest round trip, and a tile's stages add up to its delay."""

from __future__ import annotations

import pytest

from audio_avif.link.messages import Pong, Report
from audio_avif_stream.telemetry.trace import STAGES, ClockOffset, Trace

RATE_HZ = 16_000
AHEAD_US = 5_000_000


def clock(ahead_us: int = AHEAD_US) -> ClockOffset:
    offset = ClockOffset()
    offset.push(Pong(0, 500 + ahead_us), 1000)
    return offset


def test_nothing_is_known_before_the_first_answer() -> None:
    offset = ClockOffset()
    assert (offset.ahead_us, offset.round_trip_ms) == (0, None)


def test_the_fastest_round_trip_counts() -> None:
    offset = ClockOffset()
    offset.push(Pong(1_000, 9_000_000), 90_000)  # slow and lopsided
    offset.push(Pong(100_000, 100_000 + 400 + AHEAD_US), 100_800)
    offset.push(Pong(200_000, 9_900_000), 240_000)
    assert offset.ahead_us == AHEAD_US
    assert offset.round_trip_ms == pytest.approx(0.8)


def test_old_round_trips_are_forgotten_since_clocks_drift() -> None:
    offset = clock()
    for second in range(1, 17):
        sent_us = second * 1_000_000
        offset.push(Pong(sent_us, sent_us + 1000 + 7_000), sent_us + 2000)
    assert offset.ahead_us == 7_000


def test_another_connection_may_lead_to_another_clock() -> None:
    offset = clock()
    offset.restart()
    assert offset.ahead_us == AHEAD_US
    offset.push(Pong(1_000_000, 1_000_000 + 5_000 + 7_000), 1_010_000)  # slower than the old round trips
    assert offset.ahead_us == 7_000
    assert offset.round_trip_ms == pytest.approx(10.0)


def test_stages_add_up_to_the_delay() -> None:
    """A tile whose first new sample is captured at 1.25 s and heard at 1.4 s by the sender's clock."""
    trace = Trace(RATE_HZ, clock())
    trace.vocoder_latency_samples = 256
    trace.captured(20_001 + 160, 1.265, 0.005)  # newest sample of this block is 20160, captured at 1.260
    trace.captured(40_000, 2.6, 0.005)
    trace.sent(7, cut_s=1.300, encoded_s=1.302, payload_bytes=70, wire_bytes=137)
    report = Report(
        sequence=7,
        first_sample=20_000,
        received_us=1_310_000 + AHEAD_US,
        wait_us=1_000,
        decode_us=2_000,
        vocoder_us=3_000,
        buffer_us=64_000,
        device_us=20_000,
    )
    line = trace.join(report)
    assert line is not None
    assert tuple(line["stages_ms"]) == STAGES
    assert line["stages_ms"] == pytest.approx(
        {
            "capture": 15.0,
            "tile": 1300 - 1265 - 16,
            "encode": 2.0,
            "network": 8.0,
            "buffer": 65.0,
            "decode": 2.0,
            "vocoder": 16 + 3,
            "playout": 20.0,
        }
    )
    assert line["mouth_to_ear_ms"] == pytest.approx(1400 - 1250)
    assert (line["sequence"], line["payload_bytes"], line["wire_bytes"]) == (7, 70, 137)


def report_of(sequence: int, first_sample: int = 0) -> Report:
    return Report(sequence, first_sample, 0, 0, 0, 0, 0, 0)


def test_a_tile_is_joined_once_and_only_if_it_is_known() -> None:
    trace = Trace(RATE_HZ, clock())
    trace.captured(1000, 1.0, 0.0)
    trace.sent(0, 1.0, 1.0, 1, 1)
    assert trace.join(report_of(1)) is None
    assert trace.join(report_of(0)) is not None
    assert trace.join(report_of(0)) is None


def test_a_sample_that_was_never_captured_is_no_delay() -> None:
    trace = Trace(RATE_HZ, clock())
    trace.captured(1000, 1.0, 0.0)
    trace.sent(0, 1.0, 1.0, 1, 1)
    assert trace.join(report_of(0, first_sample=2**63)) is None


def test_memory_is_bounded_without_reports() -> None:
    trace = Trace(RATE_HZ, clock())
    for sequence in range(5000):
        trace.captured(sequence + 1, 0.0, 0.0)
        trace.sent(sequence, 0.0, 0.0, 1, 1)
    assert trace.join(report_of(0, 4999)) is None
    assert trace.join(report_of(4999, 4999)) is not None
