"""What a device needed is known at the next start, whatever happens to the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from audio_avif.edge.device_choice import Device
from audio_avif.edge.device_latency import Remembered
from audio_avif.edge.latency_memory import LatencyMemory

HEADSET = Device("Headset", 0, 1, 2, 48_000, True, True, "ALSA")


def test_each_direction_of_each_device_has_its_own(tmp_path: Path) -> None:
    memory = LatencyMemory(tmp_path / "state" / "latency.json")
    assert memory.recall(HEADSET, "input") is None
    memory.keep(HEADSET, "input", Remembered(0.024, 100.0))
    memory.keep(HEADSET, "output", Remembered(0.048))
    again = LatencyMemory(tmp_path / "state" / "latency.json")
    assert again.recall(HEADSET, "input") == Remembered(0.024, 100.0)
    assert again.recall(HEADSET, "output") == Remembered(0.048)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["latency.json"]


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b'{"a": 1}', b"\xff\xfe"])
def test_a_damaged_file_is_written_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "latency.json"
    path.write_bytes(content)
    memory = LatencyMemory(path)
    assert memory.recall(HEADSET, "input") is None
    memory.keep(HEADSET, "input", Remembered(0.024))
    assert memory.recall(HEADSET, "input") == Remembered(0.024)


@pytest.mark.parametrize("latency_s", [-1.0, 3600.0, float("nan")])
def test_a_latency_that_no_step_has_is_not_used(tmp_path: Path, latency_s: float) -> None:
    memory = LatencyMemory(tmp_path / "latency.json")
    memory.keep(HEADSET, "input", Remembered(latency_s))
    assert memory.recall(HEADSET, "input") is None


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    memory = LatencyMemory(tmp_path / "file" / "latency.json")
    memory.keep(HEADSET, "input", Remembered(0.024))
    assert memory.recall(HEADSET, "input") is None
