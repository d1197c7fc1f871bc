"""A relay's figures, and where they are shown."""

from __future__ import annotations

from typing import Any

from audio_avif.link.rooms import Rooms
from audio_avif_stream.relay.listeners import Listeners
from audio_avif_stream.relay.publishers import Publishers
from audio_avif_stream.serving.admission import Complaints
from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine


class RelayStats:
    """Reads the figures of a relay, and shows them once a second; ``latest`` may be read by any thread."""

    def __init__(
        self,
        rooms: Rooms,
        publishers: Publishers,
        listeners: Listeners,
        complaints: Complaints,
        live_line: LiveLine,
        stats_json: JsonLines,
    ) -> None:
        self.latest: dict[str, Any] | None = None
        self._rooms = rooms
        self._publishers = publishers
        self._listeners = listeners
        self._complaints = complaints
        self._live_line = live_line
        self._stats_json = stats_json
        self._told_s: float | None = None
        self._told: dict[str, Any] | None = None

    def update(self, now_s: float) -> None:
        """Read the figures, and show them where a second has passed since they were shown last."""
        figures = self.latest = self._figures()
        if self._told_s is None:
            self._told_s = now_s
        elif now_s >= self._told_s + 1:
            self._stats_json.write(figures)
            self._live_line.update(_live_text(figures, self._told, now_s - self._told_s), now_s)
            self._told_s, self._told = now_s, figures

    def conclude(self) -> None:
        """Tell the figures as they are in the end."""
        self._live_line.close()
        self.latest = self._figures()
        self._stats_json.write({**self.latest, "is_final": True})

    def _figures(self) -> dict[str, Any]:
        traffic = self._rooms.traffic
        return {
            "rooms": len(self._rooms),
            "publishers": self._publishers.count,
            "listeners": len(self._listeners.connected),
            "slow_listeners": self._listeners.slow,
            "received_messages": traffic.received_messages,
            "sent_messages": traffic.sent_messages,
            "sent_bytes": traffic.sent_bytes,
            "dropped_messages": traffic.dropped_messages,
            "stalled_listeners": self._listeners.stalled,
            "refused_connections": self._complaints.count - self._listeners.stalled,
        }


def _live_text(figures: dict[str, Any], before: dict[str, Any] | None, passed_s: float) -> str:
    """The line of ``--stats``, which fits into 80 columns."""
    earlier = before or dict.fromkeys(figures, 0)
    messages = (figures["sent_messages"] - earlier["sent_messages"]) / passed_s
    kbps = (figures["sent_bytes"] - earlier["sent_bytes"]) * 8e-3 / passed_s
    return (
        f"rooms {figures['rooms']} publishers {figures['publishers']} listeners {figures['listeners']} "
        f"out {messages:.0f}/s {kbps:.0f} kbps dropped {figures['dropped_messages']}"
    )
