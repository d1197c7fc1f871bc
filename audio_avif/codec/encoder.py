"""Samples to packets."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy.typing as npt

from audio_avif.codec.noise import PauseDetector, noise_levels
from audio_avif.codec.rate_control import RateControl
from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.link.messages import Bye
from audio_avif.link.packets import Bundle, MediaPacket, PausePacket, TilePacket
from audio_avif.signal.features import LogMelStream
from audio_avif.signal.samples import as_samples
from audio_avif.still.avif import encode_still
from audio_avif.still.frame_headers import make_template
from audio_avif.still.tiles import PixelTile, TileCutter

_NOISE_UPDATE_S = 0.4  # how often a pause says what its noise is like, as Opus does (RFC 6716, 2.1.9)


_COPY_QUALITY_STEPS = 20  # a copy takes about half the bytes of its tile


class Encoder:
    """Samples to packets; any chunking gives the same packets."""

    def __init__(
        self, mel: MelConfig | None = None, tile: TileConfig | None = None, encoder: EncoderConfig | None = None
    ) -> None:
        self.mel = mel or MelConfig()
        self.tile = tile or TileConfig()
        self.encoder = encoder or EncoderConfig()
        max_quality = self.encoder.quality if self.encoder.bitrate_kbps is None else 100
        self.template = make_template(self.mel.n_mels, self.tile.frames, self.encoder.speed, max_quality)
        self._frames = LogMelStream(self.mel)
        self._cutter = TileCutter(self.mel.n_mels, self.tile)
        self._tile_s = self.tile.frames * self.mel.frame_s
        self._pauses = PauseDetector(self.mel) if self.encoder.dtx else None
        self._pause_tiles = 0
        self._copies: deque[TilePacket] = deque(maxlen=self.encoder.redundancy)
        self.rate = RateControl(self.encoder, self._tile_s)
        self.samples = 0
        self.packets = 0
        self.whole_stills = 0
        self.noise_tiles = 0

    @property
    def latency_samples(self) -> int:
        """From a tile's first frame centre to the newest sample it needs."""
        return self._cutter.latency_frames * self.mel.hop_samples + self._frames.latency_samples

    def push(self, audio: npt.ArrayLike) -> list[MediaPacket]:
        """Take mono ``[samples]`` at the configured rate, floats in -1..1 or integers of 8, 16 or 32 bits.

        Return the packets now ready. Raises TypeError for samples of another type, ValueError for another shape.
        """
        samples = as_samples(audio)
        self.samples += samples.size
        tiles = self._cutter.push(self._frames.push(samples))
        return [packet for tile in tiles if (packet := self._encode(tile, is_last=False)) is not None]

    def flush(self) -> list[MediaPacket]:
        """Return the stream's last packets."""
        tiles = self._cutter.push(self._frames.flush()) + self._cutter.flush()
        return [packet for tile in tiles if (packet := self._encode(tile, is_last=tile is tiles[-1])) is not None]

    def bye(self) -> Bye:
        """The message that ends this stream."""
        return Bye(self.packets, self.samples)

    def _encode(self, tile: PixelTile, is_last: bool) -> MediaPacket | None:
        """Encode a tile as a picture, or in a pause from time to time as a description of its noise."""
        copies = tuple(reversed(self._copies))
        packet: TilePacket | PausePacket
        if self._pauses is None or not self._pauses.push(tile.log_mel[:, : tile.frames]):
            self._pause_tiles = 0
            packet = self._picture(tile)
        else:
            is_due = self._pause_tiles % max(1, round(_NOISE_UPDATE_S / self._tile_s)) == 0
            self.noise_tiles += 1
            self._pause_tiles += 1
            if not (is_due or is_last):
                self.rate.spend(0, self._tile_s)
                return None
            packet = self._noise(tile)
        self.packets += 1
        self.rate.spend(sum(copy.payload_bytes for copy in copies))
        return Bundle(packet, copies) if copies else packet

    def _noise(self, tile: PixelTile) -> PausePacket:
        levels = noise_levels(tile.log_mel[:, : tile.frames], self.tile)
        self.rate.spend(len(levels), self._tile_s)
        if self._copies:
            self._copies.popleft()
        return PausePacket(self.packets, tile.first_frame, tile.frames, levels)

    def _picture(self, tile: PixelTile) -> TilePacket:
        made: dict[int, TilePacket] = {}

        def encode_at(quality: int) -> bytes:
            still = encode_still(tile.pixels, replace(self.encoder, quality=quality))
            made[quality] = self._packet(tile, still)
            return made[quality].payload

        self.rate.encode(encode_at)
        picture = made[self.rate.quality]
        self.whole_stills += picture.is_whole_still
        if self.encoder.redundancy:
            quality = max(0, self.rate.quality - _COPY_QUALITY_STEPS)
            encode_at(quality)
            self._copies.append(made[quality])
        return picture

    def _packet(self, tile: PixelTile, still: bytes) -> TilePacket:
        frame_body = self.template.strip(still)
        if frame_body is None:
            return TilePacket(self.packets, tile.first_frame, tile.frames, still, is_whole_still=True)
        is_full = tile.frames == self.tile.frames
        header, payload = self.template.shorten(frame_body) if is_full else (None, frame_body)
        return TilePacket(self.packets, tile.first_frame, tile.frames, payload, header=header)
