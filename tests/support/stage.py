"""A decoder with a loudspeaker beside it, both by one clock that a test moves: hours pass in seconds.

Its picture codec and vocoder show what was spoken: the pixels of frame k are k modulo 200, and its hop of samples is
that number throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np

from audio_avif.codec import background, decoder
from audio_avif.codec.decoder import Decoder, Frames
from audio_avif.codec.encoder import Encoder
from audio_avif.codec.playout import PlayoutConfig
from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.errors import TileError
from audio_avif.link.hello import Hello
from audio_avif.link.packets import MediaPacket, PausePacket, TilePacket
from audio_avif.types import FloatArray, Pixels

MEL = MelConfig()
HOP, FRAME_S = MEL.hop_samples, MEL.frame_s
DAMAGED = 0xFF
COUNTING = 200


class FrameTeller:
    """A vocoder that speaks the number of each frame, ``latency_frames`` late."""

    def __init__(self, latency_frames: int = 0) -> None:
        self.latency_samples = latency_frames * HOP
        self.reset()

    def reset(self) -> None:
        self._held: FloatArray = np.zeros(0, np.float32)

    def push(self, log_mel: FloatArray) -> FloatArray:
        config = TileConfig()
        numbers = (log_mel[0] - config.log10_min) * 255 / (config.log10_max - config.log10_min)
        samples = np.repeat(numbers, HOP)
        if not self.latency_samples:
            return samples
        held = np.concatenate([self._held, samples])
        ready = max(0, held.size - self.latency_samples)
        self._held = held[ready:]
        return held[:ready]

    def flush(self) -> FloatArray:
        held, self._held = self._held, np.zeros(0, np.float32)
        return held


class QuietRoom:
    """A background that is always the same, in place of one that takes hours to follow for hours."""

    def __init__(self, mel: MelConfig) -> None:
        self.floor: FloatArray = np.full(mel.n_mels, -6.0, np.float32)

    def push(self, log_mel: FloatArray) -> None:
        """Hear nothing new."""


@cache
def _numbers(first: int, width: int, height: int) -> Pixels:
    """The picture of frames from ``first`` on."""
    numbers = (np.arange(first, first + width) % COUNTING).astype(np.uint8)
    pixels = np.tile(numbers, (height, 1))
    pixels.setflags(write=False)
    return pixels


def tell_pixels(monkeypatch: Any) -> None:
    """Let pictures hold the numbers of their frames."""

    def decode(still: bytes, width: int, height: int) -> Pixels:
        if still[-1] == DAMAGED:
            raise TileError("damaged on purpose")
        return _numbers(still[-1], width, height)

    monkeypatch.setattr(decoder, "decode_still", decode)
    monkeypatch.setattr(background, "FloorTracker", QuietRoom)


def tile(sequence: int, frames: int = 8, first_frame: int | None = None) -> TilePacket:
    """A tile whose picture holds the numbers of its frames."""
    first = sequence * frames if first_frame is None else first_frame
    return TilePacket(sequence, first, frames, bytes([first % COUNTING]))


def damaged(sequence: int) -> TilePacket:
    """A tile that does not decode."""
    return replace(tile(sequence), payload=bytes([DAMAGED]))


def pause(sequence: int, first_frame: int, frames: int = 8, level: int = 60) -> PausePacket:
    """A pause with background of that pixel value."""
    return PausePacket(sequence, first_frame, frames, bytes([level] * 8))


@lru_cache
def hello_of(tile_frames: int, live: bool = True) -> Hello:
    """A stream's first message."""
    config = TileConfig(tile_frames)
    return Hello(MEL, config, Encoder(MEL, config, EncoderConfig(speed=10)).template, "", live)


class TimedDecoder(Decoder):
    """A decoder that remembers when the last packet came."""

    now_s = 0.0

    def push(self, packet: MediaPacket, now_s: float = 0.0) -> None:
        self.now_s = now_s
        super().push(packet, now_s)


def decoder_of(
    live: bool = True, latency_frames: int = 0, playout: PlayoutConfig | None = None, tile_frames: int = 8
) -> TimedDecoder:
    """A decoder with the telling vocoder."""
    return TimedDecoder(hello_of(tile_frames, live), FrameTeller(latency_frames), playout)


@dataclass
class Stage:
    """Plays what a live decoder says: packets ``arrive``, time goes on by ``run_until``, and ``heard`` grows.

    The speaker's clock runs ``speaker_ppm`` faster than the one that arrivals are told by.
    """

    decoder: Decoder
    speaker_ppm: float = 0.0
    now_s: float = 0.0
    until_s: float = 0.0
    underruns: int = 0
    heard: list[tuple[float, Frames]] = field(default_factory=list)
    spoken: list[tuple[float, float, int]] = field(default_factory=list)  # when, heard when, the tile's first frame
    _has_begun: bool = False

    @property
    def buffered_s(self) -> float:
        """Sound that waits to be played, by the speaker's clock."""
        return max(0.0, self.until_s - self.now_s) * (1 + self.speaker_ppm * 1e-6)

    def arrive(self, packet: MediaPacket, at_s: float) -> None:
        """Let time go on until then, and a packet arrive."""
        self.run_until(at_s)
        self.decoder.push(packet, at_s)
        self.speak()

    def delays_s(self, after_s: float = 0.0, frame_s: float = FRAME_S) -> FloatArray:
        """From capture to ear, of the tiles spoken after that time, if the sender takes ``frame_s`` for a frame."""
        return np.array([heard_s - first * frame_s for at_s, heard_s, first in self.spoken if at_s >= after_s])

    def run_until(self, at_s: float) -> None:
        """Let time go on."""
        while not self.decoder.is_waiting:
            due_s = self.until_s - self.decoder.urgent_s
            if due_s > at_s:
                break
            self.now_s = max(self.now_s, due_s)
            if not self.speak():
                self.now_s += 0.001
                if self.now_s >= at_s:
                    break
        self.now_s = max(self.now_s, at_s)

    def speak(self) -> bool:
        """Speak all that is due."""
        spoke = False
        while (frames := self.decoder.next_frames(self.buffered_s, self.now_s)) is not None:
            spoke = True
            if self._has_begun and self.until_s < self.now_s and not frames.silence_s:
                self.underruns += 1
            self.until_s = max(self.until_s, self.now_s) + frames.silence_s
            if frames.tile is not None:
                first = frames.tile.first_frame + frames.tile.frames - frames.log_mel.shape[1]
                self.spoken.append((self.now_s, self.until_s, first))
            chunk = self.decoder.speak(frames)
            self.until_s += chunk.samples.size / MEL.rate_hz / (1 + self.speaker_ppm * 1e-6)
            self._has_begun = True
            self.heard.append((self.now_s, frames))
        return spoke
