"""The codec without its I/O: samples to packets, and packets to samples.

``Encoder`` and ``Decoder`` compose the modules around them and hold the state of one stream. Whoever drives a Decoder
tells it the time and how much sound is still waiting to be played; the Decoder decides what comes next.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from audio_avif.codec import concealment
from audio_avif.codec.noise import FloorTracker, NoiseSource, PauseDetector, noise_envelope, noise_levels
from audio_avif.codec.rate_control import RateControl
from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.errors import TileError
from audio_avif.link.jitter import ArrivalWatch, DepthWatch, TileQueue
from audio_avif.link.messages import Bundle, Bye, Hello, MediaPacket, NoisePacket, TilePacket
from audio_avif.signal.features import LogMelStream
from audio_avif.signal.samples import as_samples
from audio_avif.signal.time_scaling import FrameStretcher
from audio_avif.still.avif import decode_still, encode_still
from audio_avif.still.boxes import StillTemplate
from audio_avif.still.tiles import PixelTile, TileCutter, from_pixels
from audio_avif.vocoders.protocol import VocoderStream

FloatArray = npt.NDArray[np.float32]

_NOISE_UPDATE_S = 0.4  # how often a pause says what its noise is like, as Opus does (RFC 6716, 2.1.9)
_COPY_QUALITY_STEPS = 20  # a copy takes about half the bytes of its tile

_REORDER_TILES = 8  # without a clock to say that a missing tile is late, this many later ones do
_MAX_INTERPOLATED_FRAMES = 32  # half a second; over longer gaps it would be heard as a held tone
_MAX_FILL_FRAMES = 128  # a gap that a peer claims is filled no further: the claim is only a number
_CATCH_UP_S = 0.3  # at 15 % faster this much too much is gone in two seconds; more of it is skipped
_FADE_LOG10_PER_S = 10.0
_PAUSE_FRAMES = 2  # one at a time would run the vocoder twice as often, more would be in the way of what comes next
_SPARE = 1.5  # a piece that is made up lasts so many times as long as making a tile's sound takes
_QUIET_LOG10 = 0.5
_TOLERANCE_FRAMES = 0.75
_TOLERANCE_IN_SPEECH_FRAMES = 2.0


class Encoder:
    """Samples to packets; any chunking gives the same packets."""

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
        """A picture, or in a pause from time to time what its noise is like."""
        copies = tuple(reversed(self._copies))
        packet: TilePacket | NoisePacket
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

    def _noise(self, tile: PixelTile) -> NoisePacket:
        levels = noise_levels(tile.log_mel[:, : tile.frames], self.tile)
        self.rate.spend(len(levels), self._tile_s)
        if self._copies:
            self._copies.popleft()
        return NoisePacket(self.packets, tile.first_frame, tile.frames, levels)

    def _picture(self, tile: PixelTile) -> TilePacket:
        whole_stills: set[bytes] = set()

        def encode_at(quality: int) -> bytes:
            still = encode_still(tile.pixels, replace(self.encoder, quality=quality))
            frame_body = self.template.strip(still)
            if frame_body is None:
                whole_stills.add(still)
            return still if frame_body is None else frame_body

        def packet(payload: bytes) -> TilePacket:
            return TilePacket(self.packets, tile.first_frame, tile.frames, payload, payload in whole_stills)

        picture = packet(self.rate.encode(encode_at))
        self.whole_stills += picture.is_whole_still
        if self.encoder.redundancy:
            self._copies.append(packet(encode_at(max(0, self.rate.quality - _COPY_QUALITY_STEPS))))
        return picture


@dataclass(frozen=True)
class PlayoutConfig:
    """How a live stream is kept in time.

    At least ``least_s`` of sound, and as much as 95 of 100 tiles need, up to ``most_s``, is held ready against jitter.
    With less than ``conceal_at_s`` left and no tile here, concealment is spoken: ``max_conceal_s`` of it, then it fades
    within ``fade_s`` until tiles come again. To the depths is added what is played while this machine makes sound of a
    tile.
    """

    least_s: float = 0.04
    most_s: float = 1.0
    conceal_at_s: float = 0.025
    max_conceal_s: float = 1.0
    fade_s: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.least_s <= 10:
            raise ValueError(f"the playout buffer must be 0 to 10 s, not {self.least_s}")

    def target_s(self, lateness_s: float, frame_s: float) -> float:
        """What to hold ready where 95 of 100 tiles come no later than ``lateness_s`` after the earliest."""
        margin_s = min(self.least_s, self.conceal_at_s + frame_s)
        return max(self.least_s, min(lateness_s, self.most_s) + margin_s)


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

    ``tile`` is where they come from, None if they are noise or concealment.
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
    """Packets to samples: order, decompression, concealment, pace, vocoder.

    Drive it as ``push`` for each packet, then ``next_frames`` and ``speak`` until ``next_frames`` is None, and ``end``,
    the same again and ``flush`` at the end. A live decoder must be asked again when the sound it was told of falls to
    ``urgent_s``. Times are seconds of one clock that may start anywhere.
    """

    def __init__(self, hello: Hello, vocoder: VocoderStream, playout: PlayoutConfig | None = None) -> None:
        self.hello = hello
        self.playout = playout or PlayoutConfig()
        self._frame_s = hello.mel.frame_s
        self.tile_s = hello.tile.frames * self._frame_s
        self._vocoder = vocoder
        self._tiles = TileQueue()
        self._arrivals = ArrivalWatch(self._frame_s)
        self._depth = DepthWatch(self.tile_s)
        self._stretcher = FrameStretcher()
        self._floor = FloorTracker(hello.mel)
        self._noise = NoiseSource(hello.mel)
        self._pause: NoisePacket | None = None
        self._copies = 0  # that come with a tile
        self._has_begun = False
        self._is_silent = True
        self._was_skipped = False
        self._last_frame: FloatArray = np.full(hello.mel.n_mels, hello.tile.log10_min, np.float32)
        self._fading_frame = self._last_frame
        self._next_frame = 0
        self._bridged_frames = 0
        self._unheard_of_frames = 0  # of the bridged ones, those since anything came
        self._pushed_samples = 0
        self._emitted_samples = 0
        self._jumps: deque[tuple[int, int]] = deque()  # (of the samples pushed, before which; how many are left out)
        self._left_out_samples = 0
        self._is_ending = False
        self._end: int | None = None
        self.counts = self._tiles.counts
        self.concealed_frames = 0
        self.noise_frames = 0
        self.processing_s = 0.0
        """How long this machine takes for a tile; whoever drives the decoder measures it."""

    @property
    def target_s(self) -> float:
        """How much sound is to be held ready against jitter, as the arrivals are now, and until copies have come."""
        copies_s = min(self._copies * self.tile_s, self.playout.most_s)
        return self.playout.target_s(self._arrivals.lateness_s, self._frame_s) + copies_s

    @property
    def shortened_frames(self) -> int:
        """Frames left out to catch up."""
        return self._stretcher.shortened_frames

    @property
    def lengthened_frames(self) -> int:
        """Frames put in to fall back."""
        return self._stretcher.lengthened_frames

    @property
    def urgent_s(self) -> float:
        """With less sound than this waiting to be played, some must be made up; a pause's noise is never made late."""
        if self._pause is not None and self._cut_off_s <= 0:
            return max(self._depth_s - self._frame_s, self.playout.conceal_at_s / 2 + self.processing_s)
        return self.playout.conceal_at_s + self.processing_s

    @property
    def is_waiting(self) -> bool:
        """Whether nothing will be said before a packet comes, however little sound is left."""
        return not self._is_timed or (self._is_silent and self._pause is None)

    @property
    def _depth_s(self) -> float:
        """How much sound should be waiting when a tile arrives on time."""
        return self.target_s + self.processing_s

    @property
    def _cut_off_s(self) -> float:
        """For how long nothing has come beyond what is concealed in full; in a pause a wide tile's time more."""
        expected_s = 0.0 if self._pause is None else self.tile_s
        return self._unheard_of_frames * self._frame_s - self.playout.max_conceal_s - expected_s

    def push(self, packet: MediaPacket, now_s: float = 0.0) -> None:
        """Take a packet that arrived at ``now_s``, which a live stream needs to be told."""
        if self._is_silent and not len(self._tiles):
            self._arrivals.reset()
        first_frame = packet.tile.first_frame if isinstance(packet, Bundle) else packet.first_frame
        self._arrivals.push(first_frame, now_s)
        if isinstance(packet, Bundle):
            self._copies = max(self._copies, len(packet.copies))
        self._unheard_of_frames = 0
        self._tiles.push(packet)

    def next_frames(self, buffered_s: float, now_s: float = 0.0) -> Frames | None:
        """What to speak next, given how much sound is waiting to be played; None to wait for more packets.

        A tile that does not decode counts as damaged and is concealed like a lost one.
        """
        buffered_s -= self._unfilled_s()
        if self._is_timed:
            self._skip_backlog(buffered_s)
        while (packet := self._next_packet(buffered_s)) is not None:
            if not self._has_begun:
                self._begin(packet.first_frame)
            if packet.first_frame < self._next_frame:
                self.counts.damaged += 1
            elif isinstance(packet, NoisePacket):
                self._pause = packet
                if not self._is_timed and (frames := self._speak_pause()) is not None:
                    return frames
            elif (log_mel := self._open(packet)) is not None:
                return self._join(packet, log_mel, buffered_s, now_s)
        if self._is_timed and buffered_s <= self.urgent_s and not len(self._tiles):
            return self._bridge()
        return self._speak_pause() if self._is_ending else None

    @property
    def _is_timed(self) -> bool:
        """Whether the clock decides what is spoken when."""
        return self.hello.live and not self._is_ending

    def _next_packet(self, buffered_s: float) -> TilePacket | NoisePacket | None:
        """The next one in order, once the missing ones before it have been waited for."""
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

    def _begin(self, first_frame: int) -> None:
        """The stream begins here, wherever that is."""
        self._has_begun = True
        self._next_frame = first_frame
        self._jumps.append((0, first_frame * self.hello.mel.hop_samples))

    def _unfilled_s(self) -> float:
        """How much of the silence at the start stands for frames that the vocoder has yet to take in."""
        held_samples = self._pushed_samples - self._emitted_samples
        return (
            max(0, self._vocoder.latency_samples - held_samples) / self.hello.mel.rate_hz
            if self._pushed_samples
            else 0.0
        )

    def _skip_backlog(self, buffered_s: float) -> None:
        """Drop the tiles for which the buffer, with what can be caught up with soon, has no room."""
        room_s = self._depth_s + self.tile_s + max(self.tile_s, _CATCH_UP_S) - buffered_s
        self._was_skipped |= self._tiles.keep_newest(max(0, int(room_s / self.tile_s)))

    def _join(self, tile: TilePacket, log_mel: FloatArray, buffered_s: float, now_s: float) -> Frames:
        """Put a tile's frames after the last ones spoken: fill a gap, keep the depth of the buffer."""
        gap = tile.first_frame - self._next_frame - self._bridged_frames
        due_s = self._depth_s - (now_s - tile.first_frame * self._frame_s - self._arrivals.base_s)
        frames, silence_s = log_mel, 0.0
        if self._is_silent:
            self._depth.reset()
            silence_s = max(0.0, due_s)
            if self._pushed_samples:
                frames = concealment.fade_in(log_mel, self._frame_s)
            else:
                silence_s += self._vocoder.latency_samples / self.hello.mel.rate_hz
        else:
            fill = self._fill(gap, log_mel[:, 0], round((due_s - buffered_s) / self._frame_s))
            if self._is_timed:
                if gap or self._was_skipped:
                    self._depth.reset()
                frames = self._paced(log_mel, buffered_s + fill.shape[1] * self._frame_s - due_s)
            frames = np.concatenate([fill, frames], axis=1)
        self._leave_out(gap + log_mel.shape[1] - frames.shape[1])
        self._next_frame = tile.first_frame + tile.frames
        self._bridged_frames = 0
        self._fading_frame = log_mel[:, -1]
        self._floor.push(log_mel)
        self._pause = None
        self._is_silent = self._was_skipped = False
        return Frames(frames, tile, silence_s if self.hello.live else 0.0)

    def _fill(self, gap: int, after: FloatArray, needed: int) -> FloatArray:
        """Frames for ``gap`` frames before a tile: a short gap's time is kept, of longer ones what the buffer needs."""
        is_short = 0 < gap <= _MAX_INTERPOLATED_FRAMES and not self._was_skipped
        if self._pause is None and is_short:
            self.concealed_frames += gap
            return concealment.interpolate(self._last_frame, after, gap)
        if not self._is_timed:
            needed = gap if self._pause is not None else 0
        frames = max(0, min(gap, needed, _MAX_FILL_FRAMES))
        return self._background(frames) if frames else np.zeros((after.size, 0), np.float32)

    def _paced(self, log_mel: FloatArray, surplus_s: float) -> FloatArray:
        """Make a tile shorter or longer where the buffer is too deep or shallow, in pauses sooner than in speech."""
        surplus_s = self._depth.push(surplus_s + self._depth_s) - self._depth_s
        is_pause = log_mel.mean(axis=0).max() < self._floor.floor.mean() + _QUIET_LOG10
        is_urgent = is_pause or surplus_s < 0  # of too little, none is lost yet
        tolerance_frames = _TOLERANCE_FRAMES if is_urgent else _TOLERANCE_IN_SPEECH_FRAMES
        if abs(surplus_s) < tolerance_frames * self._frame_s:
            return log_mel
        paced = self._stretcher.push(self._last_frame, log_mel, -round(surplus_s / self._frame_s))
        self._depth.adjust((paced.shape[1] - log_mel.shape[1]) * self._frame_s)
        return paced

    def _bridge(self) -> Frames | None:
        """A bit of background, over which the last sound decays, while nothing comes; silence after long."""
        if self.is_waiting:
            return None
        if self._cut_off_s >= self.playout.fade_s:
            self._is_silent = True
            self._pause = None
            return None
        frames = self._background(self._piece_frames())
        if self._cut_off_s > 0:
            frames = np.maximum(frames - np.float32(self._cut_off_s * _FADE_LOG10_PER_S), self.hello.tile.log10_min)
        self._is_silent = False
        self._bridged_frames += frames.shape[1]
        self._unheard_of_frames += frames.shape[1]
        return Frames(frames, None)

    def _piece_frames(self) -> int:
        """How much is made up at once: little, but where a vocoder is slow, enough for its sound to stay ahead."""
        least = 1 if self._pause is None else _PAUSE_FRAMES
        sustained = math.ceil(_SPARE * self.processing_s / self._frame_s)
        return max(least, min(sustained, self.hello.tile.frames))

    def _background(self, frames: int) -> FloatArray:
        """Noise ``[n_mels, frames]`` as the pause's or as heard so far, over it what is left of the last sound."""
        if self._pause is not None:
            self.noise_frames += frames
            floor = noise_envelope(self._pause.levels, self.hello.mel.n_mels, self.hello.tile)
        else:
            self.concealed_frames += frames
            floor = self._floor.floor
        fading = concealment.decay(self._fading_frame, floor, frames, self._frame_s)
        self._fading_frame = fading[:, -1]
        noise = self._noise.frames(floor, frames)
        return np.maximum(concealment.over_noise(fading, floor, noise), np.float32(self.hello.tile.log10_min))

    def _speak_pause(self) -> Frames | None:
        """All of the pause that is known, where no clock says when more is needed."""
        if self._pause is None:
            return None
        frames = self._pause.first_frame + self._pause.frames - self._next_frame - self._bridged_frames
        spoken = min(frames, _MAX_FILL_FRAMES)
        if spoken <= 0:
            return None
        noise = self._background(spoken)
        self._leave_out(frames - spoken)
        self._next_frame = self._pause.first_frame + self._pause.frames
        self._bridged_frames = 0
        self._is_silent = False
        return Frames(noise, None)

    def _leave_out(self, frames: int) -> None:
        """What is spoken next lies so many frames later in the stream than what was spoken would put it."""
        if frames:
            self._jumps.append((self._pushed_samples, frames * self.hello.mel.hop_samples))

    def speak(self, frames: Frames) -> Chunk:
        """Run the vocoder on the frames; return the samples that are now final."""
        self._last_frame = frames.log_mel[:, -1]
        self._pushed_samples += frames.log_mel.shape[1] * self.hello.mel.hop_samples
        return self._cut(self._vocoder.push(frames.log_mel))

    def end(self, bye: Bye | None) -> None:
        """No more packets will come; without a bye the stream broke off. What is here is still to be asked for."""
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
        return Chunk(samples, max(0, first_sample))  # what goes on from a frame long past may lie before the first

    def _position(self) -> int:
        """Stream position of the vocoder's next sample, which may lie before a jump that its input has passed."""
        while self._jumps and self._jumps[0][0] <= self._emitted_samples:
            self._left_out_samples += self._jumps.popleft()[1]
        return self._emitted_samples + self._left_out_samples
