"""Who may take over the place of a stream: a receiver's output, or a room of a relay.

The sender of the stream may always come back over another connection. Another sender may begin once nothing carries the
stream, once its sender has been silent for SILENT_S, or once it is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from audio_avif.config import MelConfig, TileConfig
from audio_avif.errors import RemoteProtocolError
from audio_avif.link.hello import Hello
from audio_avif.link.messages import CLOSE_BUSY, CLOSE_REPLACED
from audio_avif.still.template import StillTemplate

SILENT_S = 3.0
"""A sender that has not been heard for so long loses its place to another one that asks for it."""

RESUMED = CLOSE_REPLACED, "the stream continues on a newer connection"
"""The close code and reason for a connection whose stream goes on over another one."""

DISPLACED = CLOSE_BUSY, "another stream has started here"
"""The close code and reason for a connection whose stream has lost its place."""


class Verdict(Enum):
    """What a sender that says hello may do."""

    RESUME = auto()
    """Go on with the stream that holds the place."""
    BEGIN = auto()
    """Begin a stream of its own in that place."""
    WAIT = auto()
    """Nothing: the place is taken."""


@dataclass
class Tenure:
    """A stream's hold on its place; times are seconds of any clock.

    ``plays_out`` says that the stream keeps its place after its bye, until it has been played. ``broke_off_s`` is when
    the last connection was lost, None while one carries the stream.
    """

    hello: Hello
    heard_s: float
    plays_out: bool = False
    broke_off_s: float | None = None
    has_bye: bool = False
    is_given_up: bool = False
    """Whether the stream ended without a bye; its sender cannot go on with it."""

    def connect(self, now_s: float) -> None:
        """Record that a connection carries the stream from now on."""
        self.heard_s, self.broke_off_s = now_s, None

    def hear(self, now_s: float) -> None:
        """Record a message of the sender."""
        self.heard_s = now_s

    def break_off(self, now_s: float) -> None:
        """Record that nothing carries the stream any more."""
        self.broke_off_s = now_s

    def silent_s(self, now_s: float) -> float:
        """Return for how long nothing has come."""
        return now_s - self.heard_s

    def lost_s(self, now_s: float) -> float:
        """Return for how long nothing has carried the stream; 0 while a connection does."""
        return 0.0 if self.broke_off_s is None else now_s - self.broke_off_s

    def judge(self, session: str, now_s: float) -> Verdict:
        """Decide what the sender of that session may do now."""
        if session == self.hello.session and not self.is_given_up:
            return Verdict.RESUME
        if self.has_bye:
            return Verdict.WAIT if self.plays_out else Verdict.BEGIN
        is_free = self.broke_off_s is not None or self.silent_s(now_s) > SILENT_S
        return Verdict.BEGIN if is_free else Verdict.WAIT

    def require_same_settings(self, hello: Hello) -> None:
        """Raise RemoteProtocolError where a hello goes on with this stream under other settings."""
        if _settings(hello) != _settings(self.hello):
            raise RemoteProtocolError("a resumed stream cannot change its settings; start a new stream")


def _settings(hello: Hello) -> tuple[MelConfig, TileConfig, StillTemplate, bool]:
    return hello.mel, hello.tile, hello.template, hello.live
