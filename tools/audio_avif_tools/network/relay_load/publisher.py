"""The publisher of a load test: one live stream in real time."""

from __future__ import annotations

import asyncio
import os
import time
from array import array
from contextlib import suppress
from dataclasses import replace
from typing import Any

from audio_avif.link.hello import Hello
from audio_avif.link.messages import SUBPROTOCOL, Bye, Ping
from audio_avif.link.packets import TilePacket

PROGRAM = "audio-avif relay-load"
"""The name of the command, which the publisher's hello carries."""
ROOM = "load"

_SETTLING_S = 1.0
_PING_S = 1.0


def _hurry() -> None:
    """Request real-time scheduling where the system allows it, as ``audio-avif-send`` does."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))


async def publish(port: int, tile_frames: int, seconds: float) -> array[float]:
    """Publish the repeated bundled clip in real time; return when each message was written, by its sequence."""
    from websockets.asyncio.client import connect
    from websockets.typing import Subprotocol

    from audio_avif.codec.encoder import Encoder
    from audio_avif.config import EncoderConfig, TileConfig
    from audio_avif_tools.shared.signals import demo_clip

    encoder = Encoder(tile=TileConfig(tile_frames), encoder=EncoderConfig(dtx=False))
    tiles = [tile for tile in encoder.push(demo_clip()) if isinstance(tile, TilePacket)]
    tile_s = tile_frames * encoder.mel.frame_s
    written_s = array("d")
    hello = Hello(encoder.mel, encoder.tile, encoder.template, f"load {os.getpid()}", agent=PROGRAM)
    url = f"ws://127.0.0.1:{port}/publish/{ROOM}"
    async with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, proxy=None) as connection:
        await connection.send(hello.to_bytes())
        await connection.recv()
        reading = asyncio.create_task(_read(connection))
        _hurry()
        began_s = pinged_s = time.monotonic()
        for sequence in range(round(seconds / tile_s)):
            await asyncio.sleep(max(0.0, began_s + (sequence + 1) * tile_s - time.monotonic()))
            tile = tiles[sequence % len(tiles)]
            data = replace(tile, sequence=sequence, first_frame=sequence * tile_frames).to_bytes()
            written_s.append(time.time())
            await connection.send(data)
            if (now_s := time.monotonic()) > pinged_s + _PING_S:
                pinged_s = now_s
                await connection.send(Ping(round(now_s * 1e6), round(began_s * 1e6), 0).to_bytes())
        await asyncio.sleep(_SETTLING_S)
        await connection.send(Bye(len(written_s), len(written_s) * tile_frames * encoder.mel.hop_samples).to_bytes())
        await reading
    return written_s


async def _read(connection: Any) -> None:
    """Read receipts until the relay closes."""
    async for _ in connection:
        pass
