"""The figures of a stream as the receiver has it, be it live or replayed."""

from __future__ import annotations

from typing import Any

from audio_avif.link.messages import Bundle, Hello, MediaPacket, Ping, Report, TilePacket, wire_bytes
from audio_avif_stream.receiving.playout import Player, Playout
from audio_avif_stream.telemetry.live_line import RateMeter


class ReceiverStats:
    """What has been received of one stream, and what became of it."""

    def __init__(self, hello: Hello, vocoder: str) -> None:
        self.rates = RateMeter()
        self.reconnections = 0
        self._hello = hello
        self._vocoder = vocoder
        self._whole_stills = 0
        self._end_frame: int | None = None  # of what has come
        self._delay_s: float | None = None
        self._sample_zero_s: float | None = None

    def media(self, message: MediaPacket, message_bytes: int) -> None:
        """Count a message; a pause lasts until the one that follows it."""
        tile = message.tile if isinstance(message, Bundle) else message
        end_frame = tile.first_frame + tile.frames
        before = tile.first_frame if self._end_frame is None else self._end_frame
        sound_s = max(0, end_frame - before) * self._hello.mel.frame_s
        self.rates.tile(message.payload_bytes, wire_bytes(message_bytes), sound_s)
        self._end_frame = max(before, end_frame)
        self._whole_stills += isinstance(tile, TilePacket) and tile.is_whole_still

    def ping(self, message: Ping, message_bytes: int) -> None:
        """Count a message, and learn when the stream's first sample was captured, by this side's clock."""
        self.rates.control(wire_bytes(message_bytes))
        self._sample_zero_s = (message.sample_zero_us + message.receiver_ahead_us) / 1e6

    def report(self, report: Report) -> None:
        """Learn when a sample is heard, and with that the delay."""
        if self._hello.live and self._sample_zero_s is not None:
            waits_us = report.wait_us + report.decode_us + report.vocoder_us + report.buffer_us + report.device_us
            heard_s = (report.received_us + waits_us) / 1e6
            self._delay_s = heard_s - self._sample_zero_s - report.first_sample / self._hello.mel.rate_hz

    def figures(
        self, playout: Playout | Player, *, is_connected: bool = True, refused_connections: int = 0
    ) -> dict[str, Any]:
        """What ``--stats-json`` shows, as ``figures.RECEIVER`` describes it; rates are means over the stream so far."""
        decoder, hello = playout.decoder, self._hello
        counts = decoder.counts
        codec_kbps, wire_kbps = self.rates.mean_kbps()

        def ms(frames: int) -> int:
            return round(frames * hello.mel.frame_s * 1e3)

        return {
            "codec_kbps": round(codec_kbps, 3),
            "wire_kbps": round(wire_kbps, 3),
            "buffer_ms": round(playout.output.buffered_s * 1e3, 1),
            "target_ms": round(decoder.pacer.target_s * 1e3, 1),
            "delay_ms": None if self._delay_s is None else round(self._delay_s * 1e3, 1),
            "received_tiles": counts.received,
            "lost_tiles": counts.lost + counts.damaged,
            "late_tiles": counts.late,
            "repeated_tiles": counts.repeated,
            "skipped_tiles": counts.skipped,
            "recovered_tiles": counts.recovered,
            "concealed_tiles": -(-decoder.background.concealed_frames // hello.tile.frames),
            "concealed_ms": ms(decoder.background.concealed_frames),
            "noise_ms": ms(decoder.background.noise_frames),
            "shortened_ms": ms(decoder.pacer.shortened_frames),
            "lengthened_ms": ms(decoder.pacer.lengthened_frames),
            "underruns": playout.output.underruns,
            "whole_stills": self._whole_stills,
            "played_s": round(playout.played_samples / hello.mel.rate_hz, 3),
            "vocoder": self._vocoder,
            "session": hello.session,
            "is_connected": int(is_connected),
            "reconnections": self.reconnections,
            "refused_connections": refused_connections,
        }

    def live_text(self, figures: dict[str, Any]) -> str:
        """The line of ``--stats``, which fits into 80 columns."""
        codec_kbps, wire_kbps = self.rates.recent_kbps()
        delay = "  ?" if figures["delay_ms"] is None else f"{figures['delay_ms']:3.0f}"
        return (
            f"codec {codec_kbps:4.1f} wire {wire_kbps:4.1f} kbps buffer {figures['buffer_ms']:3.0f} delay {delay} ms "
            f"lost {figures['lost_tiles']} concealed {figures['concealed_tiles']} xruns {figures['underruns']}"
        )


def conclusion(figures: dict[str, Any]) -> str:
    """What is said when a stream is over."""
    return (
        "played {played_s:.1f} s: codec {codec_kbps:.2f} kbps, wire {wire_kbps:.2f} kbps, {lost_tiles} tiles lost, "
        "{concealed_ms} ms concealed, {underruns} underruns".format(**figures)
    )
