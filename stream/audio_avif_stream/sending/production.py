"""From the source to the outbox: capture, encoding, and the rate that the path allows."""

from __future__ import annotations

import asyncio

from audio_avif.link.messages import Ping, wire_bytes
from audio_avif.link.packets import MediaPacket
from audio_avif.types import FloatArray
from audio_avif_stream.sending.capture import Source
from audio_avif_stream.sending.outgoing import OutgoingStream

PING_S = 1.0
"""How often a sender pings once the receiver's clock is known."""

_PING_BYTES = wire_bytes(len(Ping(0, 0, 0).to_bytes()))


class Producer:
    """Encodes the blocks of a source and puts the packets into the stream's outbox."""

    def __init__(self, stream: OutgoingStream, source: Source, stop: asyncio.Event) -> None:
        self._stream = stream
        self._source = source
        self._stop = stop

    async def run(self) -> None:
        """Produce until the source ends or ``stop`` is set. Raises FileError or DeviceError where the source breaks."""
        loop = asyncio.get_running_loop()
        stream, encoder = self._stream, self._stream.encoder
        stream.sample_zero_s = loop.time()  # until the first block says it better
        stopped = asyncio.create_task(self._stop.wait())
        blocks = aiter(self._source.blocks(lambda: encoder.missing_samples))
        try:
            while True:
                block = asyncio.ensure_future(anext(blocks, None))
                await asyncio.wait({block, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not block.done():
                    block.cancel()
                    break
                if (captured := block.result()) is None:
                    break
                arrived_s = loop.time()
                samples_after = encoder.samples + captured.samples.size
                stream.sample_zero_s = arrived_s - captured.age_s - samples_after / encoder.mel.rate_hz
                stream.trace.captured(samples_after, arrived_s, captured.age_s)
                self._limit_rate(arrived_s)
                for packet in await self._encode(captured.samples):
                    await self._enqueue(packet, arrived_s)
            for packet in await asyncio.to_thread(encoder.flush):
                await self._enqueue(packet, loop.time())
        finally:
            stopped.cancel()
            stream.captured_s = loop.time()
            stream.wake()

    async def _encode(self, samples: FloatArray) -> list[MediaPacket]:
        """Encode; in a thread where that takes long, because a tile becomes complete."""
        encoder = self._stream.encoder
        if samples.size < encoder.missing_samples:
            return encoder.push(samples)
        return await asyncio.to_thread(encoder.push, samples)

    def _limit_rate(self, now_s: float) -> None:
        """Give the encoder the rate that the path carries, less what carries its payloads."""
        stream = self._stream
        limit_kbps = stream.stats.limit_kbps = stream.congestion.limit_kbps(now_s) if stream.is_live else None
        if limit_kbps is not None:
            limit_kbps -= 8e-3 * (stream.stats.overhead_bytes / stream.tile_s + _PING_BYTES / PING_S)
            limit_kbps = max(limit_kbps, 0.1)
        stream.encoder.rate.limit_kbps = limit_kbps

    async def _enqueue(self, packet: MediaPacket, cut_s: float) -> None:
        loop, stream = asyncio.get_running_loop(), self._stream
        size = wire_bytes(len(packet.to_bytes()))
        stream.trace.sent(packet.sequence, cut_s, loop.time(), packet.payload_bytes, size)
        while not stream.outbox.has_room:
            await stream.wait_for_change()
        stream.outbox.put(packet, loop.time())
        stream.wake()
