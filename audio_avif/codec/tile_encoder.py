"""Tiles to packets that carry their pictures, and copies of these at lower quality."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from audio_avif.codec.rate_control import RateControl
from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.link.packets import TilePacket
from audio_avif.still.avif import encode_still
from audio_avif.still.frame_headers import make_template
from audio_avif.still.tiles import PixelTile

_COPY_QUALITY_STEPS = 20  # a copy takes about half the bytes of its tile


class TileEncoder:
    """Encodes the tiles of one stream, each at the quality that the rate control chooses."""

    def __init__(self, mel: MelConfig, tile: TileConfig, config: EncoderConfig) -> None:
        max_quality = config.quality if config.bitrate_kbps is None else 100
        self.template = make_template(mel.n_mels, tile.frames, config.speed, max_quality)
        self.tile_s = tile.frames * mel.frame_s
        self.rate = RateControl(config, self.tile_s)
        self.whole_stills = 0
        self._tile_frames = tile.frames
        self._config = config
        self._copies: deque[TilePacket] = deque(maxlen=config.redundancy)

    def copies(self) -> tuple[TilePacket, ...]:
        """Return the copies that ride along with the next packet, the newest first."""
        return tuple(reversed(self._copies))

    def drop_copy(self) -> None:
        """Forget the oldest copy, if there is one: a packet without a picture was sent."""
        if self._copies:
            self._copies.popleft()

    def encode(self, tile: PixelTile, sequence: int) -> TilePacket:
        """Return the packet of a tile, and keep a copy of it where the stream has copies."""
        made: dict[int, TilePacket] = {}

        def encode_at(quality: int) -> bytes:
            still = encode_still(tile.pixels, replace(self._config, quality=quality))
            made[quality] = self._packet(tile, sequence, still)
            return made[quality].payload

        self.rate.encode(encode_at)
        picture = made[self.rate.quality]
        self.whole_stills += picture.is_whole_still
        if self._config.redundancy:
            quality = max(0, self.rate.quality - _COPY_QUALITY_STEPS)
            encode_at(quality)
            self._copies.append(made[quality])
        return picture

    def _packet(self, tile: PixelTile, sequence: int, still: bytes) -> TilePacket:
        frame_body = self.template.strip(still)
        if frame_body is None:
            return TilePacket(sequence, tile.first_frame, tile.frames, still, is_whole_still=True)
        is_full = tile.frames == self._tile_frames
        header, payload = self.template.shorten(frame_body) if is_full else (None, frame_body)
        return TilePacket(sequence, tile.first_frame, tile.frames, payload, header=header)
