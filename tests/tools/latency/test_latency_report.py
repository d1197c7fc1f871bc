"""What the latency command says of devices and buffer."""

from __future__ import annotations

from typing import Any

import pytest

from audio_avif_tools.latency.command import describe_devices
from audio_avif_tools.shared.delays import drift_ms
from audio_avif_tools.shared.loopback import StreamRecord


def device(latency_ms: float | None) -> dict[str, Any]:
    return {
        "device_latency_ms": latency_ms,
        "device_asked_ms": latency_ms,
        "device_xruns": 0 if latency_ms else None,
    }


def test_devices_buffer_and_what_raised_them_are_told() -> None:
    result = {
        "input": device(10.4),
        "output": device(24.0),
        "buffer_ms": 44.6,
        "target_ms": 61.2,
        "target_raised_by": "jitter",
    }
    assert describe_devices(result) == [
        "input device 10 ms, asked for 10, 0 xruns",
        "output device 24 ms, asked for 24, 0 xruns",
        "buffer 45 ms, target 61 (raised last by jitter)",
    ]


def test_files_have_no_devices_and_a_receiver_elsewhere_no_buffer() -> None:
    assert describe_devices({"input": device(None)}) == []


def test_a_delay_that_drifts_is_told_from_one_that_settles() -> None:
    assert drift_ms([400.0] * 10 + [150.0] * 90) == 0.0
    assert drift_ms([150.0 + 0.1 * k for k in range(100)]) == pytest.approx(8.0)
    assert drift_ms([150.0]) == 0.0


def test_underruns_count_as_settled_only_after_a_while() -> None:
    course = [{"played_s": second, "underruns": min(second, 12)} for second in range(1, 60)]
    assert StreamRecord(course=course).settled_underruns(10.0) == 2
    assert StreamRecord(course=course[:5]).settled_underruns(10.0) == 0
