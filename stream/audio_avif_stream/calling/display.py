"""What a call shows of both directions: lines in the terminal, figures, and warnings."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from audio_avif.edge import console
from audio_avif.signal.howling import HowlingWatch
from audio_avif_stream.calling.call import Call, Presence
from audio_avif_stream.calling.sound import ControlledOutput, ControlledSource, Controls
from audio_avif_stream.telemetry.live_line import JsonLines, TextLine

log = logging.getLogger(__name__)

_TICK_S = 0.1
_HOWLING = "the call howls: both ends hear their loudspeakers; use headphones at one end, or turn the volume down (-)"


class CallDisplay:
    """Follows a call."""

    def __init__(
        self,
        call: Call,
        source: ControlledSource,
        output: ControlledOutput,
        controls: Controls,
        line: TextLine,
        stats_json: JsonLines,
    ) -> None:
        self.latest: dict[str, Any] | None = None
        """The figures as of a moment ago, for another thread to read."""
        self._call = call
        self._meters = source.meter, output.meter
        self._controls = controls
        self._line = line
        self._stats_json = stats_json
        self._presence = Presence()
        self._howling = HowlingWatch()

    async def run(self) -> None:
        """Ten times a second the lines in the terminal, once a second a line of JSON, until cancelled."""
        loop = asyncio.get_running_loop()
        ticks = 0
        try:
            while True:
                figures = self._update(loop.time())
                if not self._call.is_hung_up:
                    self._line.update(text_of(figures), loop.time())
                ticks += 1
                if ticks % 10 == 0:
                    self._stats_json.write(figures)
                await asyncio.sleep(_TICK_S)
        finally:
            self._line.close()
            if self._call.is_hung_up:
                console.tell("(you have hung up)")
            self._stats_json.write({**self._update(loop.time()), "is_final": True})

    def _update(self, now_s: float) -> dict[str, Any]:
        said_db, heard_db = (meter.take_db() for meter in self._meters)
        if not self._call.is_hung_up:
            self._presence.update(self._call.receiver.is_playing)
        if self._howling.push(said_db, heard_db, now_s):
            log.warning(_HOWLING)
        sent = None if self._call.sender is None else self._call.sender.latest
        heard = self._call.receiver.figures()
        delay_ms = None if heard is None else heard["delay_ms"]
        self.latest = {
            "there_and_back_ms": None if delay_ms is None else round(2 * delay_ms, 1),
            "said_level_db": said_db,
            "heard_level_db": heard_db,
            "is_silent": int(not self._controls.is_open(now_s)),
            "volume_db": self._controls.volume_db,
            "is_other_here": int(self._presence.is_here),
            "sent": sent,
            "heard": heard,
        }
        return self.latest


def text_of(figures: dict[str, Any]) -> str:
    """Two lines for the terminal, of at most 80 columns."""
    sent, heard = figures["sent"] or {}, figures["heard"] or {}
    delay = _ms(heard.get("delay_ms"))
    if not sent:
        state = "connecting"
    elif not sent["is_connected"]:
        state = "reconnecting"
    else:
        state = "silent" if figures["is_silent"] else "open"
    said_line = (
        f"said  {figures['said_level_db']:3.0f} dB {sent.get('codec_kbps', 0):4.1f} kbps "
        f"lost {sent.get('dropped_tiles', 0):3d} delay about {delay} ms network {_ms(sent.get('round_trip_ms'))} ms "
        f"{state}"
    )
    heard_line = (
        f"heard {figures['heard_level_db']:3.0f} dB {heard.get('codec_kbps', 0):4.1f} kbps "
        f"lost {heard.get('lost_tiles', 0):3d} delay {delay} ms "
        f"there and back {_ms(figures['there_and_back_ms'])} ms volume {figures['volume_db']:+.0f}"
    )
    return f"{said_line}\n{heard_line}"


def _ms(value: float | None) -> str:
    return "  ?" if value is None else f"{value:3.0f}"
