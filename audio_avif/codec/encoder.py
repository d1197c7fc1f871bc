"""Samples to packets."""

from __future__ import annotations

import numpy.typing as npt

from audio_avif.codec.noise import noise_levels
from audio_avif.codec.pauses import PauseSchedule
from audio_avif.codec.rate_control import RateControl
from audio_avif.codec.tile_encoder import TileEncoder
from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.link.messages import Bye
from audio_avif.link.packets import Bundle, MediaPacket, PausePacket, TilePacket
from audio_avif.signal.features import LogMelStream
from audio_avif.signal.samples import as_samples
from audio_avif.still.template import StillTemplate
from audio_avif.still.tiles import PixelTile, TileCutter


class Encoder:
    """Samples to packets; any chunking gives the same packets."""

    def __init__(
        self, mel: MelConfig | None = None, tile: TileConfig | None = None, encoder: EncoderConfig | None = None
    ) -> None:
        self.mel = mel or MelConfig()
        self.tile = tile or TileConfig()
        self.encoder = encoder or EncoderConfig()
        self.samples = 0
        self.packets = 0
        self._frames = LogMelStream(self.mel)
        self._cutter = TileCutter(self.mel.n_mels, self.tile)
        self._pauses = PauseSchedule(self.mel, self.tile, self.encoder.dtx)
        self._tiles = TileEncoder(self.mel, self.tile, self.encoder)

    @property
    def template(self) -> StillTemplate:
        """The bytes that the stills of this stream share."""
        return self._tiles.template

    @property
    def rate(self) -> RateControl:
        """The rate control, which holds the newest quality and takes the limit of a congested path."""
        return self._tiles.rate

    @property
    def whole_stills(self) -> int:
        """Tiles so far whose still did not fit the template."""
        return self._tiles.whole_stills

    @property
    def noise_tiles(self) -> int:
        """Tiles of pauses so far, sent or not."""
        return self._pauses.tiles

    @property
    def latency_samples(self) -> int:
        """From a tile's first frame centre to the newest sample it needs."""
        return self._cutter.latency_frames * self.mel.hop_samples + self._frames.latency_samples

    @property
    def missing_samples(self) -> int:
        """How many more samples complete the next tile."""
        return self._frames.missing_samples(self._cutter.missing_frames)

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
        copies = self._tiles.copies()
        packet: TilePacket | PausePacket
        if not self._pauses.push(tile.log_mel[:, : tile.frames]):
            packet = self._tiles.encode(tile, self.packets)
        elif self._pauses.is_due or is_last:
            packet = self._noise(tile)
        else:
            self.rate.spend(0, self._tiles.tile_s)
            return None
        self.packets += 1
        self.rate.spend(sum(copy.payload_bytes for copy in copies))
        return Bundle(packet, copies) if copies else packet

    def _noise(self, tile: PixelTile) -> PausePacket:
        levels = noise_levels(tile.log_mel[:, : tile.frames], self.tile)
        self.rate.spend(len(levels), self._tiles.tile_s)
        self._tiles.drop_copy()
        return PausePacket(self.packets, tile.first_frame, tile.frames, levels)
