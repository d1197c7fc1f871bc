"""When a sound device counts as lost, and when to look for it again; the caller says what it sees, and when."""

from __future__ import annotations

from enum import Enum

STALLED_S = 3.0
"""A device that takes or gives nothing for so long has stopped, though nobody says so."""
_FIRST_TRY_S = 0.2
_MAX_TRY_S = 1.5  # what a user waits at most after plugging a device in again
_GROWTH = 1.3


class Event(Enum):
    """What became of a device."""

    NOTHING = ""
    RUNS = "runs"
    STOPPED = "has stopped"
    STALLED = "takes or gives no sound any more"
    SILENT = "was opened, but takes or gives no sound"

    @property
    def is_loss(self) -> bool:
        """Whether the device is to be closed and looked for."""
        return self not in (Event.NOTHING, Event.RUNS)


class DeviceLife:
    """The life of one device: opened, running, lost, looked for, opened again.

    Times are seconds of a clock that stops while the program is suspended. A device runs from its first block on: one
    that opens and never asks for sound is not back yet.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.lost_s: float | None = None
        """Since when the device has been missing; None while it is there."""
        self._blocks = 0
        self._heard_s = 0.0
        self._wait_s = _FIRST_TRY_S
        self._next_try_s = 0.0

    def opened(self, now_s: float) -> None:
        """The device was opened; its blocks are counted from 0."""
        self.is_open = True
        self._blocks = 0
        self._heard_s = now_s

    def watch(self, blocks: int, has_stopped: bool, now_s: float) -> Event:
        """Judge an open device by the number of its blocks so far; after a loss it counts as closed."""
        if has_stopped:
            return self._lose(Event.STOPPED, now_s)
        if blocks != self._blocks:
            is_first, self._blocks, self._heard_s = self._blocks == 0, blocks, now_s
            return self._run() if is_first else Event.NOTHING
        if now_s - self._heard_s > STALLED_S:
            return self._lose(Event.STALLED if self._blocks else Event.SILENT, now_s)
        return Event.NOTHING

    def failed(self, now_s: float) -> None:
        """The device could not be opened: wait a little longer each time."""
        self.is_open = False
        self.lost_s = now_s if self.lost_s is None else self.lost_s
        self._next_try_s = now_s + self._wait_s
        self._wait_s = min(self._wait_s * _GROWTH, _MAX_TRY_S)

    def is_due(self, now_s: float) -> bool:
        """Whether to try to open a missing device now."""
        return not self.is_open and now_s >= self._next_try_s

    def _run(self) -> Event:
        self.lost_s = None
        self._wait_s = _FIRST_TRY_S
        return Event.RUNS

    def _lose(self, event: Event, now_s: float) -> Event:
        self.failed(now_s)
        return event
