"""One stream at its sender: what it is and what has become of it, whichever connection carries it."""

from __future__ import annotations

import asyncio
import secrets

from audio_avif import __version__
from audio_avif.codec.encoder import Encoder
from audio_avif.link.congestion import Congestion
from audio_avif.link.hello import Hello
from audio_avif.link.messages import Welcome
from audio_avif.link.outbox import Outbox
from audio_avif_stream.sending.sender_stats import SenderStats
from audio_avif_stream.telemetry.trace import ClockOffset, Trace

_AGENT = f"audio-avif/{__version__}"


class OutgoingStream:
    """The encoder, the tiles that the receiver does not have yet, the path's state and the figures of one stream.

    ``changed`` is set when the outbox has changed, or what the path takes. ``sample_zero_s`` is when the first sample
    was captured, ``captured_s`` when the source ended, None before; both by the clock of the event loop.
    """

    def __init__(self, encoder: Encoder, is_live: bool, wants_reports: bool) -> None:
        self.encoder = encoder
        self.hello = Hello(
            encoder.mel,
            encoder.tile,
            encoder.template,
            session=secrets.token_hex(8),
            live=is_live,
            report=is_live and wants_reports,
            agent=_AGENT,
        )
        self.clock = ClockOffset()
        self.trace = Trace(encoder.mel.rate_hz, self.clock)
        self.outbox = Outbox(is_live, self.tile_s)
        self.congestion = Congestion()
        self.stats = SenderStats(encoder, self.outbox, self.congestion, self.clock)
        self.changed = asyncio.Event()
        self.sample_zero_s = 0.0
        self.captured_s: float | None = None

    @property
    def tile_s(self) -> float:
        """How much sound a tile holds."""
        return self.encoder.tile.frames * self.encoder.mel.frame_s

    @property
    def is_live(self) -> bool:
        """Whether the stream is played against the clock, and drops what is late."""
        return self.hello.live

    def resume(self, welcome: Welcome, now_s: float) -> None:
        """Go on over a new connection, with the tiles that the receiver does not have."""
        self.stats.is_connected = True
        self.stats.vocoder = welcome.vocoder
        self.stats.vocoder_latency_samples = self.trace.vocoder_latency_samples = welcome.vocoder_latency_samples
        self.clock.restart()
        self.congestion.reset(now_s)
        self.stats.tiles -= self.outbox.resume(welcome.received, now_s)

    def wake(self) -> None:
        """Tell who waits for ``changed``."""
        self.changed.set()

    async def wait_for_change(self) -> None:
        """Wait until the outbox or the path's state changes."""
        self.changed.clear()
        await self.changed.wait()
