"""Packets to samples, without any I/O.

The caller of a ``Decoder`` passes the time and how much sound waits to be played; the decoder decides what is played
next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from audio_avif.codec import concealment
from audio_avif.codec.background import Background
from audio_avif.codec.playout import Pacer, PlayoutConfig
from audio_avif.codec.position import Chunk
from audio_avif.codec.voice import Voice
from audio_avif.config import EncoderConfig
from audio_avif.errors import TileError
from audio_avif.link.hello import Hello
from audio_avif.link.jitter import TileCounts, TileQueue
from audio_avif.link.messages import Bye
from audio_avif.link.packets import MediaPacket, PausePacket, TilePacket
from audio_avif.still.avif import decode_still, encode_still
from audio_avif.still.tiles import from_pixels
from audio_avif.types import FloatArray
from audio_avif.vocoders.protocol import VocoderStream

_REORDER_TILES = 8  # without a clock to say that a missing tile is late, this many later ones do
_MAX_INTERPOLATED_FRAMES = 32  # half a second; over longer gaps it would be heard as a held tone
_MAX_FILL_FRAMES = 128  # a gap that a peer claims is filled no further: the claim is only a number
_FADE_LOG10_PER_S = 10.0
_SPARE = 1.5  # a piece that is made up lasts so many times as long as making a tile's sound takes

WARM_UP_TILES = 4


def warm_up(hello: Hello, vocoder: VocoderStream) -> None:
    """Decode and speak WARM_UP_TILES silent tiles, so that no code or shape runs for the first time in a stream."""
    height, width = hello.mel.n_mels, hello.tile.frames
    still = encode_still(np.zeros((height, width), np.uint8), EncoderConfig())
    for _ in range(WARM_UP_TILES):
        vocoder.push(from_pixels(decode_still(still, width, height), hello.tile))
    vocoder.flush()
    vocoder.reset()


@dataclass(frozen=True)
class Frames:
    """Log-mel ``[n_mels, frames]`` to be spoken next, ``silence_s`` after their tile arrived.

    ``tile`` is where they come from, None if they are noise or concealment. The first ``made_up`` frames are that in
    any case: noise where ``is_pause``, else concealment. So much sound as ``splice_s`` should be put into their
    samples, or left out where negative.
    """

    log_mel: FloatArray
    tile: TilePacket | None
    silence_s: float = 0.0
    made_up: int = 0
    is_pause: bool = False
    is_quiet: bool = False
    splice_s: float = 0.0


class _Gap:
    """The frames of the stream between the last tile that was spoken and the next one."""

    def __init__(self) -> None:
        self.next_frame: int | None = None
        """The frame of the stream that comes after the last tile; None before the first."""
        self.bridged_frames = 0
        """Frames made up since that tile."""
        self.unheard_of_frames = 0
        """Those of them made up since any packet came."""

    def frames_before(self, first_frame: int) -> int:
        """Count the frames of the stream between what was spoken and this frame."""
        return first_frame - (self.next_frame or 0) - self.bridged_frames

    def bridge(self, frames: int) -> None:
        """Record frames that were made up."""
        self.bridged_frames += frames
        self.unheard_of_frames += frames

    def close(self, next_frame: int) -> None:
        """Record that all frames before this one are spoken or left out."""
        self.next_frame = next_frame
        self.bridged_frames = 0


class Decoder:
    """Packets to samples: order, decompression, concealment, pace, vocoder.

    Drive it as ``push`` for each packet, then ``next_frames`` and ``speak`` until ``next_frames`` is None, and ``end``,
    the same again and ``flush`` at the end. A live decoder must be asked again when the sound it was told of falls to
    ``urgent_s``. Times are seconds of one clock that may start anywhere.
    """

    def __init__(self, hello: Hello, vocoder: VocoderStream, playout: PlayoutConfig | None = None) -> None:
        self.hello = hello
        self.tile_s = hello.tile.frames * hello.mel.frame_s
        self.pacer = Pacer(playout or PlayoutConfig(), self.tile_s, hello.mel.frame_s)
        self.background = Background(hello.mel, hello.tile)
        self._voice = Voice(hello, vocoder)
        self._tiles = TileQueue()
        self._gap = _Gap()
        self._is_silent = True
        self._was_skipped = False
        self._is_ending = False

    @property
    def counts(self) -> TileCounts:
        """Counts of the tiles by what happened to them."""
        return self._tiles.counts

    @property
    def vocoder_latency_samples(self) -> int:
        """How many samples the vocoder's output ends before the newest frame's centre."""
        return self._voice.latency_samples

    @property
    def urgent_s(self) -> float:
        """With less sound than this waiting to be played, concealment or a pause's noise is due."""
        pacer = self.pacer
        if self.background.pause is not None and self._cut_off_s <= 0:
            return max(pacer.depth_s - self._frame_s / 2, pacer.urgent_s)
        return pacer.urgent_s

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is played before a packet comes, however little sound is left."""
        return not self._is_timed or (self._is_silent and self.background.pause is None)

    @property
    def _frame_s(self) -> float:
        return self.hello.mel.frame_s

    @property
    def _is_timed(self) -> bool:
        """Whether the clock decides what is spoken when."""
        return self.hello.live and not self._is_ending

    @property
    def _cut_off_s(self) -> float:
        """How long nothing has come beyond the time that is concealed in full; in a pause a wide tile's time more."""
        expected_s = 0.0 if self.background.pause is None else self.tile_s
        return self._gap.unheard_of_frames * self._frame_s - self.pacer.config.max_conceal_s - expected_s

    def push(self, packet: MediaPacket, now_s: float = 0.0) -> None:
        """Take a packet that arrived at ``now_s``; only a live stream needs the time."""
        if self._is_silent and not len(self._tiles):
            self.pacer.forget_arrivals()
        self.pacer.push(packet, now_s)
        self._gap.unheard_of_frames = 0
        self._tiles.push(packet)

    def next_frames(self, buffered_s: float, now_s: float = 0.0) -> Frames | None:
        """What to speak next, given how much sound is waiting to be played; None to wait for more packets.

        A tile that does not decode counts as damaged and is concealed like a lost one.
        """
        buffered_s -= self._voice.unfilled_s
        if self._is_timed:
            self._was_skipped |= self._tiles.keep_newest(self.pacer.room_tiles(buffered_s))
        while (packet := self._next_packet(buffered_s)) is not None:
            if self._gap.next_frame is None:
                self._gap.next_frame = packet.first_frame  # the stream begins here, wherever that is
                self._voice.position.leave_out(packet.first_frame)
            if packet.first_frame < self._gap.next_frame:
                self.counts.damaged += 1
            elif isinstance(packet, PausePacket):
                self.background.pause = packet
                if not self._is_timed and (frames := self._speak_pause()) is not None:
                    return frames
            elif (log_mel := self._open(packet)) is not None:
                return self._join(packet, log_mel, buffered_s, now_s)
        if self._is_timed and buffered_s <= self.urgent_s and not len(self._tiles):
            return self._bridge()
        return self._speak_pause() if self._is_ending else None

    def _next_packet(self, buffered_s: float) -> TilePacket | PausePacket | None:
        """Return the next packet in order, once the wait for missing ones before it is over."""
        has_waited = buffered_s <= self.urgent_s if self._is_timed else len(self._tiles) > _REORDER_TILES
        packet = self._tiles.pop()
        if packet is None and (has_waited or self._is_ending) and self._tiles.give_up_missing():
            packet = self._tiles.pop()
        return packet

    def _open(self, tile: TilePacket) -> FloatArray | None:
        """The tile's frames ``[n_mels, frames]``, None if its picture is damaged."""
        try:
            pixels = decode_still(tile.still(self.hello.template), self.hello.tile.frames, self.hello.mel.n_mels)
        except TileError:
            self.counts.damaged += 1
            return None
        return from_pixels(pixels, self.hello.tile)[:, : tile.frames]

    def _went_on_to(self, next_frame: int) -> None:
        """Record that all frames before this one are spoken or left out."""
        self._gap.close(next_frame)
        self._is_silent = False

    def _join(self, tile: TilePacket, log_mel: FloatArray, buffered_s: float, now_s: float) -> Frames:
        """Put a tile's frames after the last ones spoken: fill a gap, keep the depth of the buffer."""
        gap = self._gap.frames_before(tile.first_frame)
        due_s = self.pacer.due_s(tile.first_frame, now_s)
        silence_s, splice_s, made_up, is_pause = 0.0, 0.0, 0, self.background.pause is not None
        is_quiet = self.background.is_quiet(log_mel)
        if self._is_silent:
            frames, silence_s = self._after_silence(log_mel, due_s)
        else:
            needed = round((due_s - buffered_s) / self._frame_s)
            fill = self._fill(gap, log_mel[:, 0], needed)
            frames = log_mel
            if self._is_timed:
                frames = log_mel[:, self._replaced_by_noise(log_mel, min(-gap, -needed)) :]
                if gap or self._was_skipped:
                    self.pacer.forget_depths()
                surplus_s = buffered_s + (fill.shape[1] + frames.shape[1] - log_mel.shape[1]) * self._frame_s - due_s
                frames, splice_s = self.pacer.push_frames(self._voice.last_frame, frames, surplus_s, is_quiet)
            frames, made_up = np.concatenate([fill, frames], axis=1), fill.shape[1]
        self._voice.position.leave_out(gap + log_mel.shape[1] - frames.shape[1])
        self.background.push(log_mel)
        self._went_on_to(tile.first_frame + tile.frames)
        self._was_skipped = False
        return Frames(frames, tile, silence_s if self.hello.live else 0.0, made_up, is_pause, is_quiet, splice_s)

    def _after_silence(self, log_mel: FloatArray, due_s: float) -> tuple[FloatArray, float]:
        """The frames of the first tile after silence, and how long the silence goes on before them."""
        self.pacer.forget_depths()
        silence_s = max(0.0, due_s)
        if self._voice.has_begun:
            return concealment.fade_in(log_mel, self._frame_s), silence_s
        return log_mel, silence_s + self._voice.latency_samples / self.hello.mel.rate_hz

    def _fill(self, gap: int, after: FloatArray, needed: int) -> FloatArray:
        """Frames for ``gap`` frames before a tile: a short gap's time is kept, of longer ones what the buffer needs."""
        is_pause = self.background.pause is not None
        if not is_pause and 0 < gap <= _MAX_INTERPOLATED_FRAMES and not self._was_skipped:
            return self.background.interpolate(self._voice.last_frame, after, gap)
        if not self._is_timed:
            needed = gap if is_pause else 0
        frames = max(0, min(gap, needed, _MAX_FILL_FRAMES))
        return self.background.frames(frames) if frames else np.zeros((after.size, 0), np.float32)

    def _replaced_by_noise(self, log_mel: FloatArray, most: int) -> int:
        """Count a tile's first frames, ``most`` at most, that are no louder than the pause's noise spoken for them."""
        if self.background.pause is None:
            return 0
        counts = range(min(most, log_mel.shape[1] - 1), 0, -1)
        return next((count for count in counts if self.background.is_quiet(log_mel[:, :count])), 0)

    def _bridge(self) -> Frames | None:
        """Return concealment while nothing comes: background, over which the last sound decays; at last silence."""
        if self.is_waiting:
            return None
        if self._cut_off_s >= self.pacer.config.fade_s:
            self._is_silent = True
            self.background.pause = None
            return None
        frames = self.background.frames(self._piece_frames())
        if self._cut_off_s > 0:
            frames = np.maximum(frames - np.float32(self._cut_off_s * _FADE_LOG10_PER_S), self.hello.tile.log10_min)
        self._is_silent = False
        self._gap.bridge(frames.shape[1])
        is_pause = self.background.pause is not None
        return Frames(frames, None, 0.0, frames.shape[1], is_pause, is_quiet=is_pause)

    def _piece_frames(self) -> int:
        """How many frames are concealed at once: few, but enough that a slow vocoder's sound stays ahead."""
        sustained = math.ceil(_SPARE * self.pacer.processing_s / self._frame_s)
        return max(1, min(sustained, self.hello.tile.frames))

    def _speak_pause(self) -> Frames | None:
        """Return all known frames of a pause, for a stream without a clock."""
        pause = self.background.pause
        if pause is None:
            return None
        end_frame = pause.first_frame + pause.frames
        frames = self._gap.frames_before(end_frame)
        spoken = min(frames, _MAX_FILL_FRAMES)
        if spoken <= 0:
            return None
        noise = self.background.frames(spoken)
        self._voice.position.leave_out(frames - spoken)
        self._went_on_to(end_frame)
        return Frames(noise, None, 0.0, spoken, is_pause=True, is_quiet=True)

    def speak(self, frames: Frames) -> Chunk:
        """Run the vocoder on the frames; return the samples that are now final."""
        chunk, change_s = self._voice.speak(frames.log_mel, frames.is_quiet, frames.splice_s)
        self.pacer.spliced(change_s)
        return chunk

    def end(self, bye: Bye | None) -> None:
        """End the stream; without a bye it was cut off. The frames that are here can still be asked for."""
        self._is_ending = True
        if bye is not None:
            self._tiles.end(bye.tiles)
            self._voice.position.end_at(bye.samples)

    def flush(self) -> Chunk:
        """Return the vocoder's last samples; a stream with a bye ends at its last sample exactly."""
        return self._voice.flush()
