"""What carries a session: the line in use, the lines it replaced, and the record of what they carried."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from websockets.frames import CloseCode

from audio_avif.link.messages import Report
from audio_avif.link.takeover import RESUMED
from audio_avif_stream.receiving.stream_recording import Recorder
from audio_avif_stream.serving.connections import Closings, Line, say

if TYPE_CHECKING:
    from audio_avif_stream.receiving.web_view import WebView

_HELD_REPORTS = 256


class Carriage:
    """The line that carries a session now, if any; ``farewell`` is the close code and reason it ends with."""

    def __init__(self, recorder: Recorder | WebView) -> None:
        self.line: Line | None = None
        self.lines = 0
        """How many lines have carried the session."""
        self.farewell = (int(CloseCode.NORMAL_CLOSURE), "")
        self.closings = Closings()
        self._recorder = recorder
        self._reports: deque[Report] = deque(maxlen=_HELD_REPORTS)
        self._wants_reports = False

    def take_over(self, line: Line, hello: bytes, wants_reports: bool, now_s: float) -> None:
        """Carry the session over this line from now on; close the one before."""
        if self.line is not None:
            self._recorder.closed(now_s)
            self.closings.close(self.line, *RESUMED)
        self._recorder.opened(now_s)
        self._recorder.message(hello, now_s)
        self.lines += 1
        self.line, self._wants_reports = line, wants_reports

    def record(self, data: bytes, now_s: float) -> None:
        """Record a message as it came."""
        self._recorder.message(data, now_s)

    def record_end(self, line: Line, now_s: float) -> None:
        """Record the end of a line, unless another has replaced it: its end was recorded then."""
        if self.line is line or self.line is None:
            self._recorder.closed(now_s)

    def stop_recording(self, now_s: float) -> None:
        """Record nothing more: the next stream's record may begin before this one's line is closed."""
        if self.line is not None:
            self._recorder.closed(now_s)
        self._recorder = Recorder(None)

    def report(self, report: Report) -> None:
        """Hold a report for the sender, where it asked for reports."""
        if self._wants_reports:
            self._reports.append(report)

    async def send_reports(self) -> None:
        """Send the reports that the line takes now."""
        while self._reports and self.line is not None and not self.line.is_backed_up:
            await say(self.line, self._reports.popleft())

    async def part(self) -> None:
        """Close all lines with the farewell."""
        line, self.line = self.line, None
        if line is not None:
            await line.close(*self.farewell)
        await self.closings.wait()
