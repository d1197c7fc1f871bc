"""The figures of the programs: keys of ``--stats-json``, meanings, and Prometheus names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# How a key's unit is written in it, the base unit that Prometheus wants instead, and how many of these it is.
_BASE_UNITS = {
    "ms": ("_ms", "_seconds", 1e-3),
    "s": ("_s", "_seconds", 1.0),
    "kbps": ("_kbps", "_bits_per_second", 1e3),
}


@dataclass(frozen=True)
class Figure:
    """One figure: its unit, one sentence on it, and whether it goes up and down, only up, or is text (``info``)."""

    unit: str
    help: str
    kind: Literal["gauge", "counter", "info"]

    @property
    def per_base_unit(self) -> float:
        """What to multiply a value with to have it in the base unit."""
        return _BASE_UNITS[self.unit][2] if self.unit in _BASE_UNITS else 1.0


class FigureTable(dict[str, Figure]):
    """The figures of one program by key, in the order in which they are told."""

    def __init__(self, program: str, figures: dict[str, Figure]) -> None:
        super().__init__(figures)
        self.prefix = f"audio_avif_{program}"

    def metric(self, key: str) -> str:
        """The figure's Prometheus name; that of the info metric for a text, which is a label there.

        Source: https://prometheus.io/docs/practices/naming/
        """
        figure = self[key]
        if figure.kind == "info":
            return f"{self.prefix}_info"
        suffix, base, _ = _BASE_UNITS.get(figure.unit, ("", "", 1.0))
        total = "_total" if figure.kind == "counter" else ""
        return f"{self.prefix}_{key.removesuffix(suffix)}{base}{total}"


RECEIVER = FigureTable(
    "receiver",
    {
        "codec_kbps": Figure("kbps", "Rate of the tiles' payload, over the stream so far.", "gauge"),
        "wire_kbps": Figure("kbps", "The same with all that carries it: headers, WebSocket, TCP, IPv4.", "gauge"),
        "buffer_ms": Figure("ms", "Sound that is ready to be played.", "gauge"),
        "target_ms": Figure("ms", "Sound that should be ready when a tile arrives; follows the jitter.", "gauge"),
        "delay_ms": Figure(
            "ms", "From the sender's microphone to this ear; not told until both clocks are known.", "gauge"
        ),
        "received_tiles": Figure("tiles", "Tiles that came in time.", "counter"),
        "lost_tiles": Figure("tiles", "Tiles that never came or were damaged.", "counter"),
        "late_tiles": Figure("tiles", "Tiles that came after their turn.", "counter"),
        "repeated_tiles": Figure("tiles", "Tiles that came more than once.", "counter"),
        "skipped_tiles": Figure("tiles", "Tiles left out to be in time again after a stall.", "counter"),
        "recovered_tiles": Figure("tiles", "Lost tiles whose copy in a later message was played.", "counter"),
        "concealed_tiles": Figure("tiles", "Concealed sound in tiles, rounded up.", "counter"),
        "concealed_ms": Figure("ms", "Sound made up for tiles that were not here.", "counter"),
        "noise_ms": Figure("ms", "Background noise played in the sender's pauses.", "counter"),
        "shortened_ms": Figure("ms", "Sound left out to catch up, within speech or pauses.", "counter"),
        "lengthened_ms": Figure("ms", "Sound added to fall back, within speech or pauses.", "counter"),
        "underruns": Figure("times", "Times the output found no sound.", "counter"),
        "whole_stills": Figure("tiles", "Tiles that came as complete AVIF files.", "counter"),
        "played_s": Figure("s", "Sound given to the output.", "counter"),
        "vocoder": Figure("", "The vocoder that speaks.", "info"),
        "session": Figure("", "The random name of the stream.", "info"),
        "is_connected": Figure("0 or 1", "Whether the stream's sender is connected now.", "gauge"),
        "reconnections": Figure("times", "Times the stream's sender came back.", "counter"),
        "refused_connections": Figure(
            "times", "Connections refused since the receiver began: a rule, a limit or the token.", "counter"
        ),
    },
)

SENDER = FigureTable(
    "sender",
    {
        "codec_kbps": Figure("kbps", "Rate of the tiles' payload, over the stream so far.", "gauge"),
        "wire_kbps": Figure("kbps", "The same with all that carries it: headers, WebSocket, TCP, IPv4.", "gauge"),
        "quality": Figure("0 to 100", "AVIF quality of the newest tile.", "gauge"),
        "limit_kbps": Figure("kbps", "Wire rate that the congested path carries; unknown while it is clear.", "gauge"),
        "queue_ms": Figure("ms", "How much longer than at best a message takes now: what waits on the path.", "gauge"),
        "round_trip_ms": Figure("ms", "The fastest recent round trip to the receiver.", "gauge"),
        "sent_tiles": Figure("tiles", "Tiles and pauses sent.", "counter"),
        "dropped_tiles": Figure(
            "tiles", "Tiles dropped, the oldest first, because the path did not take them.", "counter"
        ),
        "waiting_tiles": Figure("tiles", "Tiles that wait to be sent.", "gauge"),
        "noise_tiles": Figure("tiles", "Tiles that became a description of background noise.", "counter"),
        "whole_stills": Figure("tiles", "Tiles sent as complete AVIF files.", "counter"),
        "captured_s": Figure("s", "Sound captured.", "counter"),
        "delay_ms": Figure("ms", "From this microphone to the receiver's ear, as it reports.", "gauge"),
        "is_connected": Figure("0 or 1", "Whether the receiver is connected now.", "gauge"),
        "reconnections": Figure("times", "Times the connection broke and came back.", "counter"),
        "tile_frames": Figure("frames", "Width of a tile.", "gauge"),
        "vocoder": Figure("", "The vocoder that speaks at the receiver.", "info"),
        "vocoder_latency_samples": Figure("samples", "What that vocoder adds to the delay.", "gauge"),
    },
)

RELAY = FigureTable(
    "relay",
    {
        "rooms": Figure("rooms", "Rooms in which somebody is.", "gauge"),
        "publishers": Figure("connections", "Publishers that are connected.", "gauge"),
        "listeners": Figure("connections", "Listeners that are connected.", "gauge"),
        "slow_listeners": Figure("connections", "Listeners that have yet to take what was written.", "gauge"),
        "received_messages": Figure("messages", "Messages that came for all listeners of a room.", "counter"),
        "sent_messages": Figure("messages", "Messages written, one for each listener.", "counter"),
        "sent_bytes": Figure("bytes", "The same in bytes, with their WebSocket headers.", "counter"),
        "dropped_messages": Figure(
            "messages", "Tiles and pauses left out for slow listeners, each told of it.", "counter"
        ),
        "stalled_listeners": Figure("connections", "Listeners cut off since they took nothing any more.", "counter"),
        "refused_connections": Figure("times", "Connections refused: a rule, a limit or a token.", "counter"),
    },
)
