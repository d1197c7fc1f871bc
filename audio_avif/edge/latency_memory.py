"""What latency each sound device of this machine was found to need, kept in the user's state folder."""

from __future__ import annotations

import json
import logging
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import platformdirs

from audio_avif.edge.device_choice import Device
from audio_avif.edge.device_latency import STEPS_S, Remembered

log = logging.getLogger(__name__)

_MAX_DEVICES = 200


class LatencyMemory:
    """Latencies by machine, host API, direction and device.

    A file that cannot be read or written costs nothing but the memory: the next start begins low again.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or platformdirs.user_state_path("audio-avif", appauthor=False) / "device-latency.json"

    def recall(self, device: Device, kind: str) -> Remembered | None:
        """What an ``input`` or ``output`` device needed the last time; None where nothing is known."""
        try:
            entry = self._read()[_key(device, kind)]
            found = Remembered(float(entry["latency_s"]), float(entry["quiet_s"]))
        except (KeyError, TypeError, ValueError):
            return None
        return found if STEPS_S[0] <= found.latency_s <= STEPS_S[-1] and found.quiet_s >= 0 else None

    def keep(self, device: Device, kind: str, found: Remembered) -> None:
        """Keep what a device needed."""
        entries = self._read()
        entries.pop(_key(device, kind), None)  # what was kept last stands last
        entries[_key(device, kind)] = asdict(found)
        newest = dict(list(entries.items())[-_MAX_DEVICES:])
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(newest, indent=1), encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            log.debug("%s cannot be written: %s", self._path, error)

    def _read(self) -> dict[str, Any]:
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return entries if isinstance(entries, dict) else {}


def _key(device: Device, kind: str) -> str:
    return "/".join((platform.node(), device.host_api, kind, device.name))
