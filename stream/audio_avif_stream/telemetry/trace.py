"""Where each tile's time went, from the microphone to the ear: the sender's times and the receiver's reports joined."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from audio_avif.link.messages import Pong, Report

STAGES = ("capture", "tile", "encode", "network", "buffer", "decode", "vocoder", "playout")


class ClockOffset:
    """How far the receiver's clock is ahead, from round trips: the fastest lies least (RFC 5905, 10)."""

    def __init__(self) -> None:
        self._trips: deque[tuple[float, float]] = deque(maxlen=16)
        self._is_outdated = False

    def restart(self) -> None:
        """Expect another clock: what is known stays valid until its first answer."""
        self._is_outdated = True

    def push(self, pong: Pong, now_us: int) -> None:
        """Take the answer to a ping that came back at ``now_us`` of our clock."""
        if self._is_outdated:
            self._trips.clear()
            self._is_outdated = False
        round_trip_us = now_us - pong.ping_sent_us
        self._trips.append((round_trip_us, pong.receiver_us - (pong.ping_sent_us + now_us) / 2))

    @property
    def ahead_us(self) -> int:
        """Receiver's clock minus ours; 0 until a round trip is known."""
        return round(min(self._trips)[1]) if self._trips else 0

    @property
    def round_trip_ms(self) -> float | None:
        """The fastest recent round trip."""
        return min(self._trips)[0] / 1e3 if self._trips else None


@dataclass(frozen=True)
class _Sent:
    cut_s: float
    encoded_s: float
    payload_bytes: int
    wire_bytes: int


class Trace:
    """Joins what the sender knows of a tile with the receiver's report on it."""

    def __init__(self, rate_hz: int, clock: ClockOffset) -> None:
        self.vocoder_latency_samples = 0
        self._rate_hz = rate_hz
        self._clock = clock
        self._arrivals: deque[tuple[int, float, float]] = deque(maxlen=4096)
        self._sent: dict[int, _Sent] = {}

    def captured(self, end_sample: int, arrived_s: float, age_s: float) -> None:
        """A block whose newest sample is ``end_sample - 1``, captured ``age_s`` before it arrived, is here."""
        self._arrivals.append((end_sample, arrived_s, arrived_s - age_s))

    def sent(self, sequence: int, cut_s: float, encoded_s: float, payload_bytes: int, wire_bytes: int) -> None:
        """A tile whose last sample arrived at ``cut_s`` was encoded at ``encoded_s`` and is on its way."""
        self._sent[sequence] = _Sent(cut_s, encoded_s, payload_bytes, wire_bytes)
        if len(self._sent) > 4096:
            del self._sent[next(iter(self._sent))]

    def join(self, report: Report) -> dict[str, Any] | None:
        """The tile's stages in ms, whose sum is its mouth-to-ear delay; None for a tile no longer known.

        All stages are those of the first sample that the tile let the receiver speak. The vocoder's algorithmic delay
        counts as the vocoder's, so ``tile`` is the wait for the tile's other frames and the analysis window.
        """
        sent = self._sent.pop(report.sequence, None)
        arrival = next((a for a in self._arrivals if a[0] > report.first_sample), None)
        if sent is None or arrival is None:
            return None
        end_sample, available_s, newest_captured_s = arrival
        captured_s = newest_captured_s - (end_sample - 1 - report.first_sample) / self._rate_hz
        vocoder_latency_s = self.vocoder_latency_samples / self._rate_hz
        received_s = (report.received_us - self._clock.ahead_us) / 1e6
        stages_s = {
            "capture": available_s - captured_s,
            "tile": sent.cut_s - available_s - vocoder_latency_s,
            "encode": sent.encoded_s - sent.cut_s,
            "network": received_s - sent.encoded_s,
            "buffer": (report.wait_us + report.buffer_us) / 1e6,
            "decode": report.decode_us / 1e6,
            "vocoder": vocoder_latency_s + report.vocoder_us / 1e6,
            "playout": report.device_us / 1e6,
        }
        return {
            "sequence": report.sequence,
            "stages_ms": {name: round(seconds * 1e3, 3) for name, seconds in stages_s.items()},
            "mouth_to_ear_ms": round(sum(stages_s.values()) * 1e3, 3),
            "payload_bytes": sent.payload_bytes,
            "wire_bytes": sent.wire_bytes,
        }
