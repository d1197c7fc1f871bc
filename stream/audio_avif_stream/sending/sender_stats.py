"""The figures of a stream at the sender, and where they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from audio_avif.codec.encoder import Encoder
from audio_avif.link.congestion import Congestion
from audio_avif.link.outbox import Outbox
from audio_avif.link.packets import Bundle, MediaPacket
from audio_avif_stream.runtime.device_keeper import NO_DEVICE, DeviceFigures
from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine, RateMeter
from audio_avif_stream.telemetry.trace import ClockOffset

_COLUMNS = 80


@dataclass(frozen=True)
class FigureOutputs:
    """Where a stream's figures are written and shown."""

    trace: JsonLines = field(default_factory=lambda: JsonLines(None))
    stats_json: JsonLines = field(default_factory=lambda: JsonLines(None))
    live_line: LiveLine = field(default_factory=lambda: LiveLine(False))
    has_metrics: bool = False

    @property
    def wants_reports(self) -> bool:
        """Whether the receiver should report on each tile."""
        return bool(self.trace) or bool(self.stats_json) or self.live_line.is_shown or self.has_metrics


@dataclass(frozen=True)
class _Parts:
    """The parts of a stream that have figures of their own."""

    encoder: Encoder
    outbox: Outbox
    congestion: Congestion
    clock: ClockOffset


class _Sent:
    """How far the packets that were sent reach, and what the newest one took beside its payload."""

    def __init__(self) -> None:
        self.overhead_bytes = 0
        self._end_frame = 0

    def add(self, packet: MediaPacket, wire_bytes: int) -> int:
        """Take a packet; return the number of frames that none before it reached."""
        tile = packet.tile if isinstance(packet, Bundle) else packet
        before, self._end_frame = self._end_frame, max(self._end_frame, tile.first_frame + tile.frames)
        self.overhead_bytes = wire_bytes - packet.payload_bytes
        return self._end_frame - before


class SenderStats:
    """Counts what was sent of one stream, and what the receiver reported."""

    def __init__(self, encoder: Encoder, outbox: Outbox, congestion: Congestion, clock: ClockOffset) -> None:
        self.rates = RateMeter()
        self.tiles = 0
        self.limit_kbps: float | None = None
        self.is_connected = False
        self.reconnections = 0
        self.vocoder = ""
        self.vocoder_latency_samples = 0
        self.delay_ms: float | None = None
        self.device: Callable[[], DeviceFigures] = lambda: NO_DEVICE
        """The figures of the source's device."""
        self._parts = _Parts(encoder, outbox, congestion, clock)
        self._sent = _Sent()

    @property
    def overhead_bytes(self) -> int:
        """The newest message's wire bytes beside its payload."""
        return self._sent.overhead_bytes

    def sent(self, packet: MediaPacket, wire_bytes: int) -> None:
        """Count a message; a pause lasts until the one that follows it."""
        sound_s = self._sent.add(packet, wire_bytes) * self._parts.encoder.mel.frame_s
        self.rates.tile(packet.payload_bytes, wire_bytes, sound_s)
        self.tiles += 1

    def figures(self) -> dict[str, Any]:
        """What ``--stats-json`` shows, as ``figures.SENDER`` describes it; rates are means over the sound sent."""
        encoder, outbox = self._parts.encoder, self._parts.outbox
        codec_kbps, wire_kbps = self.rates.mean_kbps()
        return {
            "codec_kbps": round(codec_kbps, 3),
            "wire_kbps": round(wire_kbps, 3),
            "quality": encoder.rate.quality,
            "limit_kbps": None if self.limit_kbps is None else round(self.limit_kbps, 3),
            "queue_ms": round(self._parts.congestion.queue_s * 1e3, 1),
            "round_trip_ms": self._parts.clock.round_trip_ms,
            "sent_tiles": self.tiles,
            "dropped_tiles": outbox.dropped,
            "waiting_tiles": outbox.waiting,
            "noise_tiles": encoder.noise_tiles,
            "whole_stills": encoder.whole_stills,
            "captured_s": round(encoder.samples / encoder.mel.rate_hz, 3),
            "delay_ms": self.delay_ms,
            **asdict(self.device()),
            "is_connected": int(self.is_connected),
            "reconnections": self.reconnections,
            "tile_frames": encoder.tile.frames,
            "vocoder": self.vocoder,
            "vocoder_latency_samples": self.vocoder_latency_samples,
        }

    def live_text(self, figures: dict[str, Any]) -> str:
        """The line of ``--stats``, which fits into 80 columns."""
        codec_kbps, wire_kbps = self.rates.recent_kbps()
        delay = "   ? ms" if figures["delay_ms"] is None else f"{figures['delay_ms']:4.0f} ms"
        way = f"delay {delay}" if figures["is_connected"] else "reconnecting"
        line = (
            f"{figures['captured_s']:6.1f} s codec {codec_kbps:4.1f} wire {wire_kbps:4.1f} kbps "
            f"q {figures['quality']:3d} waiting {figures['waiting_tiles']} dropped {figures['dropped_tiles']}"
        )
        device_ms = figures.get("device_latency_ms")
        device = "" if device_ms is None else f" mic {device_ms:.0f}"
        fits = len(line) + len(device) + 1 + len(way) <= _COLUMNS
        return f"{line}{device if fits else ''} {way}"


def conclusion(figures: dict[str, Any]) -> str:
    """The summary of a stream in one sentence."""
    text = "sent {sent_tiles} tiles: codec {codec_kbps:.2f} kbps, wire {wire_kbps:.2f} kbps, {dropped_tiles} dropped"
    if figures["whole_stills"]:
        text += ", {whole_stills} whole stills"
    return text.format(**figures)
