"""What the latency command says of devices and buffer."""

from __future__ import annotations

from typing import Any

from audio_avif_tools.latency.command import describe_devices


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
