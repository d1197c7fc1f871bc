"""The figures of a stream at the receiver, live or replayed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from audio_avif.edge import console
from audio_avif.link.hello import Hello
from audio_avif.link.messages import Ping, Report, wire_bytes
from audio_avif.link.packets import Bundle, MediaPacket, TilePacket
from audio_avif_stream.receiving.playout import Player, Playout
from audio_avif_stream.telemetry.live_line import JsonLines, RateMeter, TextLine


class _Target:
    """What raised the target of the jitter buffer last: copies that tiles wait for, or else late arrivals."""

    def __init__(self) -> None:
        self.copies = 0
        """The most copies that came with a tile."""
        self._seen_copies = 0
        self._seen_s: float | None = None
        self._raised_by = ""

    def raised_by(self, target_s: float) -> str:
        """Take the target as it is now; return ``copies``, ``jitter``, or nothing where it never rose."""
        before_s, self._seen_s = self._seen_s, target_s
        if before_s is not None and target_s > before_s + 1e-3:
            self._raised_by = "copies" if self.copies > self._seen_copies else "jitter"
            self._seen_copies = self.copies
        return self._raised_by


class ReceiverStats:
    """Counts what was received of one stream, and what was played."""

    def __init__(self, hello: Hello) -> None:
        self.rates = RateMeter()
        self.reconnections = 0
        self.newest_sequence = -1
        """The highest sequence number that has come, -1 before the first."""
        self._hello = hello
        self._whole_stills = 0
        self._end_frame: int | None = None  # of what has come
        self._delay_s: float | None = None
        self._sample_zero_s: float | None = None
        self._target = _Target()

    def media(self, message: MediaPacket, message_bytes: int) -> None:
        """Count a message; a pause lasts until the one that follows it."""
        self.newest_sequence = max(self.newest_sequence, message.sequence)
        tile = message.tile if isinstance(message, Bundle) else message
        self._target.copies = max(self._target.copies, len(message.copies) if isinstance(message, Bundle) else 0)
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
        """Compute the delay from a report, which says when a sample is heard."""
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
            "target_raised_by": self._target.raised_by(decoder.pacer.target_s),
            **asdict(playout.output.device),
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
            "shortened_ms": round(decoder.pacer.shortened_s * 1e3),
            "lengthened_ms": round(decoder.pacer.lengthened_s * 1e3),
            "underruns": playout.output.underruns,
            "whole_stills": self._whole_stills,
            "played_s": round(playout.played_samples / hello.mel.rate_hz, 3),
            "vocoder": playout.vocoder_name,
            "session": hello.session,
            "is_connected": int(is_connected),
            "reconnections": self.reconnections,
            "refused_connections": refused_connections,
        }

    def live_text(self, figures: dict[str, Any]) -> str:
        """The line of ``--stats``, which fits into 80 columns."""
        codec_kbps, wire_kbps = self.rates.recent_kbps()
        delay = "  ?" if figures["delay_ms"] is None else f"{figures['delay_ms']:3.0f}"
        device_ms = figures.get("device_latency_ms")
        buffer = f"{figures['buffer_ms']:3.0f}" + ("" if device_ms is None else f"+{device_ms:.0f}")
        return (
            f"codec {codec_kbps:4.1f} wire {wire_kbps:4.1f} kbps buffer {buffer} delay {delay} ms "
            f"lost {figures['lost_tiles']} concealed {figures['concealed_tiles']} xruns {figures['underruns']}"
        )


class FigureDisplay:
    """Shows a stream's figures: the live line at each call, a line of JSON once a second, and a sentence at the end."""

    def __init__(self, stats: ReceiverStats, live_line: TextLine, stats_json: JsonLines, now_s: float) -> None:
        self.stats = stats
        self.latest: dict[str, Any] | None = None
        """The figures that were shown last, for another thread to read."""
        self._live_line = live_line
        self._stats_json = stats_json
        self._told_s = now_s

    def show(self, figures: dict[str, Any], now_s: float) -> None:
        """Show the figures as they are now."""
        self.latest = figures
        self._live_line.update(self.stats.live_text(figures), now_s)
        if now_s >= self._told_s + 1:
            self._told_s = now_s
            self._stats_json.write(figures)

    def close(self) -> None:
        """Take the live line away."""
        self._live_line.close()

    def conclude(self, figures: dict[str, Any]) -> None:
        """Show the figures of the whole stream."""
        self.latest = figures
        self._stats_json.write({**figures, "is_final": True})
        console.tell(conclusion(figures))


def conclusion(figures: dict[str, Any]) -> str:
    """The summary of a stream in one sentence."""
    return (
        "played {played_s:.1f} s: codec {codec_kbps:.2f} kbps, wire {wire_kbps:.2f} kbps, {lost_tiles} tiles lost, "
        "{concealed_ms} ms concealed, {underruns} underruns".format(**figures)
    )
