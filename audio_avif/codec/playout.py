"""The depth of a live stream's playout buffer: its target, and the changes that keep it there."""

from __future__ import annotations

from dataclasses import dataclass

from audio_avif.link.jitter import ArrivalWatch, DepthWatch
from audio_avif.link.packets import Bundle, MediaPacket
from audio_avif.signal.time_scaling import FrameStretcher
from audio_avif.types import FloatArray

_CATCH_UP_S = 0.3  # at 15 % faster this much too much is gone in two seconds; more of it is skipped
_TOLERANCE_FRAMES = 0.75
_TOLERANCE_BELOW_FRAMES = 0.375
_TOLERANCE_IN_SPEECH_FRAMES = 1.25
_TOLERANCE_OF_SPLICING_FRAMES = 0.2
_MARGIN_FRAMES = 0.5  # for a tile that is later than all before


@dataclass(frozen=True)
class Unsteadiness:
    """How much sound must be waiting because this machine is not punctual.

    ``alone_s`` makes concealment safe whenever it begins. ``beyond_latest_s`` is what any tile needed beyond the
    lateness of the latest one: mostly less, since a tile is rarely late on the way and in this machine at once.
    """

    alone_s: float
    beyond_latest_s: float


@dataclass(frozen=True)
class PlayoutConfig:
    """The playout buffer and the concealment of a live stream.

    At least ``min_s`` of sound, and as much as the tiles need, up to ``max_s``, is held ready against jitter. With less
    than ``conceal_at_s`` left and no tile here, or less where this machine is punctual, concealment is spoken:
    ``max_conceal_s`` of it, then it fades within ``fade_s`` until tiles come again. To the depths is added what is
    played while this machine makes sound of a tile.
    """

    min_s: float = 0.0
    max_s: float = 1.0
    conceal_at_s: float = 0.025
    max_conceal_s: float = 1.0
    fade_s: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.min_s <= 10:
            raise ValueError(f"the playout buffer must be 0 to 10 s, not {self.min_s}")

    def target_s(self, arrivals: ArrivalWatch, unsteady: Unsteadiness, frame_s: float) -> float:
        """How much sound to hold ready for tiles that come like this, on a machine that is so unsteady.

        It is what the latest arrival needs, but no more than makes 95 of 100 safe: one that is alone is concealed.
        """
        usual_s = min(arrivals.lateness_s, self.max_s) + self.conceal_at_s + frame_s
        latest_s = arrivals.latest_s + min(unsteady.beyond_latest_s, self.conceal_at_s) + _MARGIN_FRAMES * frame_s
        return max(self.min_s, min(usual_s, latest_s))


class Pacer:
    """Keeps the playout buffer as deep as the arrivals require.

    ``processing_s`` is how long this machine takes for a tile, and ``unsteady`` how unpunctual it is; the caller of the
    decoder measures and sets them.
    """

    def __init__(self, config: PlayoutConfig, tile_s: float, frame_s: float) -> None:
        self.config = config
        self._tile_s = tile_s
        self._frame_s = frame_s
        self._arrivals = ArrivalWatch(frame_s)
        self._depth = DepthWatch(tile_s)
        self._stretcher = FrameStretcher()
        self._copies = 0  # that come with a tile
        self._shortened_s = self._lengthened_s = 0.0
        self.processing_s = 0.0
        self.unsteady = Unsteadiness(config.conceal_at_s, config.conceal_at_s)

    @property
    def target_s(self) -> float:
        """How much sound to hold ready against jitter, and until copies of lost tiles have come."""
        copies_s = min(self._copies * self._tile_s, self.config.max_s)
        return self.config.target_s(self._arrivals, self.unsteady, self._frame_s) + copies_s

    @property
    def depth_s(self) -> float:
        """How much sound should be waiting when a tile arrives on time."""
        return self.target_s + self.processing_s

    @property
    def urgent_s(self) -> float:
        """With less sound than this, concealment must be made, or it comes too late; never before the latest tile."""
        for_latest_s = self.unsteady.beyond_latest_s + _MARGIN_FRAMES * self._frame_s
        return min(self.config.conceal_at_s, self.unsteady.alone_s, for_latest_s) + self.processing_s

    @property
    def shortened_s(self) -> float:
        """Sound left out to catch up."""
        return self._shortened_s + self._stretcher.shortened_frames * self._frame_s

    @property
    def lengthened_s(self) -> float:
        """Sound put in to fall back."""
        return self._lengthened_s + self._stretcher.lengthened_frames * self._frame_s

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

    def lateness_s(self, first_frame: int, at_s: float) -> float:
        """How late a tile which begins at ``first_frame`` is at that time, compared with the earliest."""
        return at_s - first_frame * self._frame_s - self._arrivals.base_s

    def due_s(self, first_frame: int, now_s: float) -> float:
        """How much sound should be waiting now that a tile which begins at ``first_frame`` is opened."""
        return self.depth_s - self.lateness_s(first_frame, now_s)

    def room_tiles(self, buffered_s: float) -> int:
        """How many tiles the buffer has room for, counting what can soon be shortened away."""
        room_s = self.depth_s + self._tile_s + max(self._tile_s, _CATCH_UP_S) - buffered_s
        return max(0, int(room_s / self._tile_s))

    def push_frames(
        self, before: FloatArray, log_mel: FloatArray, surplus_s: float, is_quiet: bool
    ) -> tuple[FloatArray, float]:
        """Make a tile ``[n_mels, frames]`` shorter or longer where the buffer is too deep or too shallow.

        ``before`` ``[n_mels]`` is the frame spoken last. Quiet frames are changed sooner than speech, and a shallow
        buffer is filled sooner than a deep one is emptied: of too little, none is lost yet. Returns the tile, and how
        many seconds should be put into its samples, left out of them where negative: what is less than a frame.
        """
        surplus_s = self._depth.push(surplus_s + self.depth_s) - self.depth_s
        above_frames = _TOLERANCE_FRAMES if is_quiet else _TOLERANCE_IN_SPEECH_FRAMES
        if -_TOLERANCE_BELOW_FRAMES * self._frame_s <= surplus_s < above_frames * self._frame_s:
            return log_mel, -surplus_s if abs(surplus_s) > _TOLERANCE_OF_SPLICING_FRAMES * self._frame_s else 0.0
        change_frames = -(round(surplus_s / self._frame_s) or -1)  # half a frame too little is one too few
        paced = self._stretcher.push(before, log_mel, change_frames)
        self._depth.adjust((paced.shape[1] - log_mel.shape[1]) * self._frame_s)
        return paced, 0.0

    def spliced(self, change_s: float) -> None:
        """Record that so much sound was put in or, where negative, left out."""
        self._depth.adjust(change_s)
        self._shortened_s += max(0.0, -change_s)
        self._lengthened_s += max(0.0, change_s)
