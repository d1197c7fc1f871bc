"""The codec without its I/O: samples to tile packets, and tile packets to samples.

``Encoder`` and ``Decoder`` compose the modules around them and hold the state of one stream. Whoever drives a Decoder
tells it how much sound is still waiting to be played; the Decoder decides what comes next.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_avif import concealment
from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.container import StillTemplate
from audio_avif.errors import TileError
from audio_avif.features import LogMelStream
from audio_avif.images import decode_still, encode_still
from audio_avif.jitter import DepthWatch, TileQueue
from audio_avif.tiles import PixelTile, TileCutter, from_pixels
from audio_avif.vocoders.protocol import VocoderStream
from audio_avif.wire import Bye, Hello, TilePacket

FloatArray = npt.NDArray[np.float32]

# Without a clock to say that a missing tile is late, this many later ones do.
_REORDER_TILES = 8


class Encoder:
    """Samples to tile packets; any chunking gives the same packets."""

    def __init__(
        self, mel: MelConfig | None = None, tile: TileConfig | None = None, encoder: EncoderConfig | None = None
    ) -> None:
        self.mel = mel or MelConfig()
        self.tile = tile or TileConfig()
        self.encoder = encoder or EncoderConfig()
        blank = np.zeros((self.mel.n_mels, self.tile.frames), np.uint8)
        self.template = StillTemplate.of(encode_still(blank, self.encoder))
        self._frames = LogMelStream(self.mel)
        self._cutter = TileCutter(self.mel.n_mels, self.tile)
        self.samples = 0
        self.tiles = 0
        self.whole_stills = 0

    @property
    def latency_samples(self) -> int:
        """From a tile's first frame centre to the newest sample it needs."""
        return self._cutter.latency_frames * self.mel.hop_samples + self._frames.latency_samples

    def push(self, samples: FloatArray) -> list[TilePacket]:
        """Take mono ``[samples] float32`` in -1..1 at the configured rate; return the tiles now full."""
        self.samples += samples.size
        return [self._encode(tile) for tile in self._cutter.push(self._frames.push(samples))]

    def flush(self) -> list[TilePacket]:
        """Return the stream's last tiles."""
        tiles = self._cutter.push(self._frames.flush()) + self._cutter.flush()
        return [self._encode(tile) for tile in tiles]

    def bye(self) -> Bye:
        """The message that ends this stream."""
        return Bye(self.tiles, self.samples)

    def _encode(self, tile: PixelTile) -> TilePacket:
        still = encode_still(tile.pixels, self.encoder)
        frame_body = self.template.strip(still)
        self.tiles += 1
        if frame_body is None:
            self.whole_stills += 1
            return TilePacket(tile.sequence, tile.first_frame, tile.frames, still, is_whole_still=True)
        return TilePacket(tile.sequence, tile.first_frame, tile.frames, frame_body)


@dataclass(frozen=True)
class PlayoutConfig:
    """How a live stream is kept in time.

    ``target_s`` of sound is held ready against jitter. With less than ``conceal_at_s`` left and no tile here,
    ``max_conceal_s`` of concealment is spoken, then silence until tiles come again. To both is added what is played
    while this machine makes sound of a tile.
    """

    target_s: float = 0.04
    conceal_at_s: float = 0.025
    max_conceal_s: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.target_s <= 10:
            raise ValueError(f"the playout buffer must be 0 to 10 s, not {self.target_s}")


WARM_UP_TILES = 4


def warm_up(hello: Hello, vocoder: VocoderStream) -> None:
    """Decode and speak WARM_UP_TILES silent tiles, so that no code or shape is met first in real time."""
    height, width = hello.mel.n_mels, hello.tile.frames
    still = encode_still(np.zeros((height, width), np.uint8), EncoderConfig())
    for _ in range(WARM_UP_TILES):
        vocoder.push(from_pixels(decode_still(still, width, height), hello.tile))
    vocoder.flush()
    vocoder.reset()


@dataclass(frozen=True)
class Frames:
    """Log-mel ``[n_mels, frames]`` to be spoken next, ``silence_s`` after their tile arrived.

    ``tile`` is where they come from, None if they are concealment.
    """

    log_mel: FloatArray
    tile: TilePacket | None
    silence_s: float = 0.0


@dataclass(frozen=True)
class Chunk:
    """Samples to be played next; ``first_sample`` is the stream position of the first of them."""

    samples: FloatArray
    first_sample: int


class Decoder:
    """Tile packets to samples: order, decompression, concealment, vocoder.

    Drive it as ``push`` for each packet, then ``next_frames`` and ``speak`` until ``next_frames`` is None, and ``end``,
    the same again and ``flush`` at the end. A live decoder must be asked again when the sound it was told of falls to
    ``urgent_s``.
    """

    def __init__(self, hello: Hello, vocoder: VocoderStream, playout: PlayoutConfig | None = None) -> None:
        self.hello = hello
        self.playout = playout or PlayoutConfig()
        self._vocoder = vocoder
        self._tiles = TileQueue()
        self.tile_s = hello.tile.frames * hello.mel.frame_s
        self._depth = DepthWatch(self.tile_s, hello.mel.frame_s)
        self._last_frame: FloatArray | None = None
        self._next_frame = 0
        self._bridged_frames = 0
        self._was_skipped = False
        self._pushed_samples = 0
        self._emitted_samples = 0
        self._jumps: deque[tuple[int, int]] = deque()  # (of the samples pushed, before which; how many are left out)
        self._left_out_samples = 0
        self._is_ending = False
        self._end: int | None = None
        self.counts = self._tiles.counts
        self.concealed_frames = 0
        self.processing_s = 0.0
        """How long this machine takes for a tile; whoever drives the decoder measures it."""

    @property
    def urgent_s(self) -> float:
        """With less sound than this waiting to be played, there is just time to make some up."""
        return self.playout.conceal_at_s + self.processing_s

    @property
    def _depth_s(self) -> float:
        """How much sound should be waiting when a tile arrives."""
        return self.playout.target_s + self.processing_s

    def push(self, tile: TilePacket) -> None:
        """Take a tile as it arrives."""
        self._tiles.push(tile)

    def next_frames(self, buffered_s: float) -> Frames | None:
        """What to speak next, given how much sound is waiting to be played; None to wait for more tiles.

        A tile that does not decode counts as damaged and is concealed like a lost one.
        """
        is_live = self.hello.live and not self._is_ending
        buffered_s -= self._unfilled_s()
        has_waited = buffered_s <= self.urgent_s if is_live else len(self._tiles) > _REORDER_TILES
        is_urgent = has_waited or self._is_ending
        if is_live:
            self._skip_backlog(buffered_s)
        while (tile := self._tiles.pop()) is not None or (is_urgent and self._tiles.give_up_missing()):
            if tile is None:
                continue
            if tile.first_frame < self._next_frame:
                self.counts.damaged += 1
                continue
            try:
                pixels = decode_still(tile.still(self.hello.template), self.hello.tile.frames, self.hello.mel.n_mels)
            except TileError:
                self.counts.damaged += 1
                continue
            log_mel = from_pixels(pixels, self.hello.tile)[:, : tile.frames]
            return self._join(tile, log_mel, buffered_s)
        return self._bridge() if is_live and is_urgent and not len(self._tiles) else None

    def _unfilled_s(self) -> float:
        """How much of the silence at the start stands for frames that the vocoder has yet to take in."""
        held_samples = self._pushed_samples - self._emitted_samples
        return (
            max(0, self._vocoder.latency_samples - held_samples) / self.hello.mel.rate_hz
            if self._pushed_samples
            else 0.0
        )

    def _skip_backlog(self, buffered_s: float) -> None:
        """Drop the tiles for which the buffer, with one tile more than it should hold, has no room."""
        room_s = self._depth_s + 2 * self.tile_s - buffered_s
        self._was_skipped |= self._tiles.keep_newest(max(0, int(room_s / self.tile_s)))

    def _join(self, tile: TilePacket, log_mel: FloatArray, buffered_s: float) -> Frames:
        """Put a tile's frames after the last ones spoken: fill a short gap, shorten a buffer too deep."""
        hop = self.hello.mel.hop_samples
        lost = tile.first_frame - self._next_frame
        unspoken = lost - self._bridged_frames + log_mel.shape[1]
        silence_s = 0.0
        if self._last_frame is None:
            silence_s = self._depth_s + self._vocoder.latency_samples / self.hello.mel.rate_hz
        elif self._has_fallen_silent():
            silence_s = self._depth_s
        elif 0 < (fill := lost - self._bridged_frames) <= 2 * self.hello.tile.frames and not self._was_skipped:
            log_mel = np.concatenate([concealment.interpolate(self._last_frame, log_mel[:, 0], fill), log_mel], axis=1)
            self.concealed_frames += fill
        if self.hello.live and (surplus := self._depth.surplus_frames(buffered_s - self._depth_s)):
            log_mel = log_mel[:, min(surplus, log_mel.shape[1] - 1) :]
        self._jumps.append((self._pushed_samples, (unspoken - log_mel.shape[1]) * hop))
        self._bridged_frames = 0
        self._was_skipped = False
        self._next_frame = tile.first_frame + tile.frames
        return Frames(log_mel, tile, silence_s if self.hello.live else 0.0)

    def _has_fallen_silent(self) -> bool:
        return self._bridged_frames * self.hello.mel.frame_s >= self.playout.max_conceal_s

    def _bridge(self) -> Frames | None:
        """A decaying frame while the next tile is late; that tile is spoken whole when it comes."""
        if self._last_frame is None or self._has_fallen_silent():
            return None
        self._bridged_frames += 1
        self.concealed_frames += 1
        frame_s, log10_min = self.hello.mel.frame_s, self.hello.tile.log10_min
        return Frames(concealment.decay(self._last_frame, 1, frame_s, log10_min), None)

    def speak(self, frames: Frames) -> Chunk:
        """Run the vocoder on the frames; return the samples that are now final."""
        self._last_frame = frames.log_mel[:, -1]
        self._pushed_samples += frames.log_mel.shape[1] * self.hello.mel.hop_samples
        return self._cut(self._vocoder.push(frames.log_mel))

    def end(self, bye: Bye | None) -> None:
        """No more tiles will come; without a bye the stream broke off. What is here is still to be asked for."""
        self._is_ending = True
        if bye is not None:
            self._tiles.end(bye.tiles)
            self._end = bye.samples

    def flush(self) -> Chunk:
        """The vocoder's last samples; a stream that said bye ends at its last sample exactly."""
        return self._cut(self._vocoder.flush())

    def _cut(self, samples: FloatArray) -> Chunk:
        first_sample = self._position()
        self._emitted_samples += samples.size
        if self._end is not None:
            samples = samples[: samples.size - min(samples.size, max(0, self._position() - self._end))]
        return Chunk(samples, first_sample)

    def _position(self) -> int:
        """Stream position of the vocoder's next sample, which may lie before a jump that its input has passed."""
        while self._jumps and self._jumps[0][0] <= self._emitted_samples:
            self._left_out_samples += self._jumps.popleft()[1]
        return self._emitted_samples + self._left_out_samples
