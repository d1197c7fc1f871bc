"""The figures that follow a stream."""

from __future__ import annotations

import pytest

from audio_avif.codec.encoder import Encoder
from audio_avif.link.hello import Hello
from audio_avif_stream.receiving.receiver_stats import ReceiverStats
from audio_avif_stream.telemetry.live_line import RateMeter
from audio_avif_tools.shared.loopback import StreamRecord


def test_the_live_line_fits_a_terminal() -> None:
    codec = Encoder()
    stats = ReceiverStats(Hello(codec.mel, codec.tile, codec.template, "a"))
    stats.rates.tile(3000, 6000, 1.0)
    figures = {"delay_ms": 876.5, "buffer_ms": 999.0, "lost_tiles": 99, "concealed_tiles": 99, "underruns": 99}
    assert "codec 24.0 wire 48.0 kbps" in stats.live_text(figures)
    assert len(stats.live_text(figures)) < 80
    assert "delay   ? ms" in stats.live_text(figures | {"delay_ms": None})


def test_rates_are_of_the_last_two_seconds_and_of_the_whole() -> None:
    meter = RateMeter()
    assert meter.mean_kbps() == meter.recent_kbps() == (0.0, 0.0)
    for _ in range(80):
        meter.tile(100, 200, 0.125)
    for _ in range(16):
        meter.tile(50, 150, 0.125)
    assert meter.recent_kbps() == pytest.approx((3.2, 9.6))
    assert meter.mean_kbps() == pytest.approx(((8000 + 800) * 8e-3 / 12, (16000 + 2400) * 8e-3 / 12))


def test_a_tile_repeated_for_ever_takes_no_memory() -> None:
    meter = RateMeter()
    for _ in range(100):
        meter.tile(100, 200, 0.125)
    for _ in range(10_000):
        meter.tile(100, 200, 0.0)
    assert len(meter._past) < 20
    assert meter.recent_kbps()[0] == pytest.approx((16 * 100 + 1_000_000) * 8e-3 / 2)


def test_control_messages_are_wire_and_not_codec() -> None:
    meter = RateMeter()
    meter.tile(100, 200, 1.0)
    meter.control(125)
    assert meter.mean_kbps() == pytest.approx((0.8, 2.6))


@pytest.mark.parametrize(
    ("receiver", "reports", "lost"),
    [
        ({"lost_tiles": 7, "skipped_tiles": 1}, 50, 8),  # what the sender dropped is a gap the receiver counted
        ({}, 49, 0),  # 2-frame tiles, RTISI-LA: the first tile makes no sound yet
        ({}, 44, 5),
    ],
)
def test_lost_tiles_are_counted_once(receiver: dict[str, int], reports: int, lost: int) -> None:
    summary = {"sent_tiles": 45, "dropped_tiles": 5, "tile_frames": 2, "vocoder_latency_samples": 768}
    assert StreamRecord([{}] * reports, summary, [receiver] if receiver else []).lost_tiles == lost
