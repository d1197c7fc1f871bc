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


def _device(latency_help: str) -> dict[str, Figure]:
    """The figures of a sound device; unknown for files and pipes."""
    return {
        "device_latency_ms": Figure("ms", latency_help, "gauge"),
        "device_asked_ms": Figure("ms", "Latency that is asked of the device; follows its xruns.", "gauge"),
        "device_xruns": Figure("times", "Times the sound system lost or lacked samples of the device.", "counter"),
        "device_losses": Figure("times", "Times the device was lost.", "counter"),
    }


RECEIVER = FigureTable(
    "receiver",
    {
        "codec_kbps": Figure("kbps", "Codec rate, mean over the stream so far.", "gauge"),
        "wire_kbps": Figure("kbps", "Wire rate: with headers, WebSocket, TCP and IPv4.", "gauge"),
        "buffer_ms": Figure("ms", "Sound in the jitter buffer.", "gauge"),
        "target_ms": Figure("ms", "Target of the jitter buffer when a tile arrives; follows the jitter.", "gauge"),
        "target_raised_by": Figure("", "What raised that target last: jitter or copies.", "info"),
        **_device("Latency that the output device reports."),
        "delay_ms": Figure(
            "ms", "Delay from the sender's microphone to this ear; unknown until both clocks are known.", "gauge"
        ),
        "received_tiles": Figure("tiles", "Tiles that arrived in time.", "counter"),
        "lost_tiles": Figure("tiles", "Tiles that never arrived or were damaged.", "counter"),
        "late_tiles": Figure("tiles", "Tiles that arrived too late to be played.", "counter"),
        "repeated_tiles": Figure("tiles", "Tiles that arrived more than once.", "counter"),
        "skipped_tiles": Figure("tiles", "Tiles skipped to catch up after a stall.", "counter"),
        "recovered_tiles": Figure("tiles", "Lost tiles whose copy in a later message was played.", "counter"),
        "concealed_tiles": Figure("tiles", "Concealed sound in tiles, rounded up.", "counter"),
        "concealed_ms": Figure("ms", "Concealed sound.", "counter"),
        "noise_ms": Figure("ms", "Background noise played in the sender's pauses.", "counter"),
        "shortened_ms": Figure("ms", "Sound removed to shorten the delay, in speech and pauses.", "counter"),
        "lengthened_ms": Figure("ms", "Sound added to fill the buffer, in speech and pauses.", "counter"),
        "underruns": Figure("times", "Times the output found no sound ready.", "counter"),
        "whole_stills": Figure("tiles", "Tiles received as complete AVIF files.", "counter"),
        "played_s": Figure("s", "Sound given to the output.", "counter"),
        "vocoder": Figure("", "The vocoder.", "info"),
        "session": Figure("", "The random name of the stream.", "info"),
        "is_connected": Figure("0 or 1", "Whether the stream's sender is connected now.", "gauge"),
        "reconnections": Figure("times", "Times the stream's sender reconnected.", "counter"),
        "refused_connections": Figure(
            "times", "Connections refused since the receiver started, by a rule, a limit or the token.", "counter"
        ),
    },
)

SENDER = FigureTable(
    "sender",
    {
        "codec_kbps": Figure("kbps", "Codec rate, mean over the stream so far.", "gauge"),
        "wire_kbps": Figure("kbps", "Wire rate: with headers, WebSocket, TCP and IPv4.", "gauge"),
        "quality": Figure("0 to 100", "AVIF quality of the newest tile.", "gauge"),
        "limit_kbps": Figure("kbps", "Wire rate that the congested path carries; unknown without congestion.", "gauge"),
        "queue_ms": Figure("ms", "Queueing delay of the path: travel time of a message less the minimum.", "gauge"),
        "round_trip_ms": Figure("ms", "Minimum recent round trip to the receiver.", "gauge"),
        "sent_tiles": Figure("tiles", "Tiles and pauses sent.", "counter"),
        "dropped_tiles": Figure("tiles", "Tiles dropped, the oldest first, because the path was too slow.", "counter"),
        "waiting_tiles": Figure("tiles", "Tiles that wait to be sent.", "gauge"),
        "noise_tiles": Figure("tiles", "Tiles sent as pauses.", "counter"),
        "whole_stills": Figure("tiles", "Tiles sent as complete AVIF files.", "counter"),
        "captured_s": Figure("s", "Sound captured.", "counter"),
        "delay_ms": Figure(
            "ms", "Delay from this microphone to the receiver's ear, as the receiver reports it.", "gauge"
        ),
        **_device("Latency that the input device reports."),
        "is_connected": Figure("0 or 1", "Whether the receiver is connected now.", "gauge"),
        "reconnections": Figure("times", "Times the connection was lost and restored.", "counter"),
        "tile_frames": Figure("frames", "Width of a tile.", "gauge"),
        "vocoder": Figure("", "The receiver's vocoder.", "info"),
        "vocoder_latency_samples": Figure("samples", "Delay of the receiver's vocoder.", "gauge"),
    },
)

RELAY = FigureTable(
    "relay",
    {
        "rooms": Figure("rooms", "Rooms with a publisher or listener.", "gauge"),
        "publishers": Figure("connections", "Connected publishers.", "gauge"),
        "listeners": Figure("connections", "Connected listeners.", "gauge"),
        "slow_listeners": Figure("connections", "Listeners whose connection still holds unsent messages.", "gauge"),
        "received_messages": Figure("messages", "Messages received for the listeners of a room.", "counter"),
        "sent_messages": Figure("messages", "Messages sent, one for each listener.", "counter"),
        "sent_bytes": Figure("bytes", "Bytes sent, with WebSocket headers.", "counter"),
        "dropped_messages": Figure(
            "messages", "Tiles and pauses dropped for slow listeners, each of which is told how many.", "counter"
        ),
        "stalled_listeners": Figure("connections", "Listeners disconnected because they stopped reading.", "counter"),
        "refused_connections": Figure("times", "Connections refused by a rule, a limit or a token.", "counter"),
    },
)

CALL = FigureTable(
    "call",
    {
        "there_and_back_ms": Figure("ms", "Twice `delay_ms` of what is heard: mouth to ear and back.", "gauge"),
        "said_level_db": Figure("dB", "Level of what is sent.", "gauge"),
        "heard_level_db": Figure("dB", "Level of what is played.", "gauge"),
        "is_silent": Figure("0 or 1", "Whether the microphone is not sent.", "gauge"),
        "volume_db": Figure("dB", "Volume.", "gauge"),
        "is_other_here": Figure("0 or 1", "Whether the other end is here.", "gauge"),
    },
)
