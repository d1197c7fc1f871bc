"""The depth of a live stream's playout buffer: its target, and the changes that keep it there."""

from __future__ import annotations

from dataclasses import dataclass

from audio_avif.link.jitter import ArrivalWatch, DepthWatch
from audio_avif.link.messages import Bundle, MediaPacket
from audio_avif.signal.time_scaling import FrameStretcher
from audio_avif.types import FloatArray

_CATCH_UP_S = 0.3  # at 15 % faster this much too much is gone in two seconds; more of it is skipped
_TOLERANCE_FRAMES = 0.75
_TOLERANCE_IN_SPEECH_FRAMES = 2.0


@dataclass(frozen=True)
class PlayoutConfig:
    """The playout buffer and the concealment of a live stream.

    At least ``min_s`` of sound, and as much as 95 of 100 tiles need, up to ``max_s``, is held ready against jitter.
    With less than ``conceal_at_s`` left and no tile here, concealment is spoken: ``max_conceal_s`` of it, then it fades
    within ``fade_s`` until tiles come again. To the depths is added what is played while this machine makes sound of a
    tile.
    """

    min_s: float = 0.04
    max_s: float = 1.0
    conceal_at_s: float = 0.025
    max_conceal_s: float = 1.0
    fade_s: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.min_s <= 10:
            raise ValueError(f"the playout buffer must be 0 to 10 s, not {self.min_s}")

    def target_s(self, lateness_s: float, frame_s: float) -> float:
        """How much sound to hold ready where 95 of 100 tiles come at most ``lateness_s`` after the earliest."""
        margin_s = min(self.min_s, self.conceal_at_s + frame_s)
        return max(self.min_s, min(lateness_s, self.max_s) + margin_s)


class Pacer:
    """Keeps the playout buffer as deep as the arrivals require.

    ``processing_s`` is how long this machine takes for a tile; the caller of the decoder measures and sets it.
    """

    def __init__(self, config: PlayoutConfig, tile_s: float, frame_s: float) -> None:
        self.config = config
        self._tile_s = tile_s
        self._frame_s = frame_s
        self._arrivals = ArrivalWatch(frame_s)
        self._depth = DepthWatch(tile_s)
        self._stretcher = FrameStretcher()
        self._copies = 0  # that come with a tile
        self.processing_s = 0.0

    @property
    def target_s(self) -> float:
        """How much sound to hold ready against jitter, and until copies of lost tiles have come."""
        copies_s = min(self._copies * self._tile_s, self.config.max_s)
        return self.config.target_s(self._arrivals.lateness_s, self._frame_s) + copies_s

    @property
    def depth_s(self) -> float:
        """How much sound should be waiting when a tile arrives on time."""
        return self.target_s + self.processing_s

    @property
    def shortened_frames(self) -> int:
        """Frames left out to catch up."""
        return self._stretcher.shortened_frames

    @property
    def lengthened_frames(self) -> int:
        """Frames put in to fall back."""
        return self._stretcher.lengthened_frames

    def push(self, packet: MediaPacket, now_s: float) -> None:
        """Record a packet that arrived at ``now_s``."""
        first_frame = packet.tile.first_frame if isinstance(packet, Bundle) else packet.first_frame
        self._arrivals.push(first_frame, now_s)
        if isinstance(packet, Bundle):
            self._copies = max(self._copies, len(packet.copies))

    def forget_arrivals(self) -> None:
        """Forget earlier arrivals: the next packet comes after silence."""
        self._arrivals.reset()

    def forget_depths(self) -> None:
        """Forget earlier depths of the buffer: the sound was interrupted."""
        self._depth.reset()

    def due_s(self, first_frame: int, now_s: float) -> float:
        """How much sound should be waiting now that a tile which begins at ``first_frame`` is opened."""
        return self.depth_s - (now_s - first_frame * self._frame_s - self._arrivals.base_s)

    def room_tiles(self, buffered_s: float) -> int:
        """How many tiles the buffer has room for, counting what can soon be shortened away."""
        room_s = self.depth_s + self._tile_s + max(self._tile_s, _CATCH_UP_S) - buffered_s
        return max(0, int(room_s / self._tile_s))

    def push_frames(self, before: FloatArray, log_mel: FloatArray, surplus_s: float, is_quiet: bool) -> FloatArray:
        """Make a tile ``[n_mels, frames]`` shorter or longer where the buffer is too deep or too shallow.

        ``before`` ``[n_mels]`` is the frame spoken last. Quiet frames are changed sooner than speech, and a shallow
        buffer is filled sooner than a deep one is emptied: of too little, none is lost yet.
        """
        surplus_s = self._depth.push(surplus_s + self.depth_s) - self.depth_s
        tolerance_frames = _TOLERANCE_FRAMES if is_quiet or surplus_s < 0 else _TOLERANCE_IN_SPEECH_FRAMES
        if abs(surplus_s) < tolerance_frames * self._frame_s:
            return log_mel
        paced = self._stretcher.push(before, log_mel, -round(surplus_s / self._frame_s))
        self._depth.adjust((paced.shape[1] - log_mel.shape[1]) * self._frame_s)
        return paced
