"""How much sound is held ready against jitter, and when concealment begins."""

from __future__ import annotations

from dataclasses import dataclass


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
