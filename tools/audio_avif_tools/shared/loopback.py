"""Run the sender and the receiver as processes, or the sender against a receiver elsewhere, and follow their output."""

from __future__ import annotations

import json
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from audio_avif.config import MelConfig
from audio_avif.errors import AudioAvifError, ConnectionFailed

_START_S = 60.0
_STOP_S = 20.0


@dataclass
class StreamRecord:
    """The record of one stream: a trace line for each tile, the sender's summary and the receiver's figures.

    ``course`` has the receiver's figures of every second, ``receiver`` the last; both are empty for one elsewhere.
    """

    tiles: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    course: list[dict[str, Any]] = field(default_factory=list)

    @property
    def receiver(self) -> dict[str, Any]:
        """The receiver's last figures."""
        return self.course[-1] if self.course else {}

    def settled_underruns(self, after_s: float) -> int:
        """Underruns after so much of the stream was played."""
        before = [line["underruns"] for line in self.course if line["played_s"] <= after_s]
        return int(self.receiver["underruns"] - (before[-1] if before else 0))

    @property
    def lost_tiles(self) -> int:
        """Tiles that were not played: counted by a local receiver, else the tiles without a report.

        A receiver elsewhere sends no report for the first tiles, from which its vocoder made no sound yet.
        """
        if self.receiver:
            return int(self.receiver["lost_tiles"] + self.receiver["skipped_tiles"])
        silent = self.summary["vocoder_latency_samples"] // (self.summary["tile_frames"] * MelConfig().hop_samples)
        cut = self.summary["sent_tiles"] + self.summary["dropped_tiles"]
        return max(0, int(cut - len(self.tiles) - silent))


class Program:
    """A command of this project as a process whose standard error is read as it is written."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        # -P: import the installed package, not a checkout in the current folder.
        command = [sys.executable, "-P", "-m", f"audio_avif_stream.commands.{module}", *arguments]
        self.process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        assert self.process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self._reader.start()

    def _read(self, stderr: IO[str]) -> None:
        for line in stderr:
            self.said.append(line.rstrip())
            self._lines.put(line.rstrip())
        self._lines.put(None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a matching line of standard error. Raises AudioAvifError with its last line where there is none."""
        while True:
            try:
                line = self._lines.get(timeout=_START_S)
            except queue.Empty as error:
                raise ConnectionFailed(f"the program did not start within {_START_S:.0f} s") from error
            if line is None:
                raise AudioAvifError(self.last_words())
            if found := re.search(pattern, line):
                return found

    def last_words(self) -> str:
        """The message with which the program failed."""
        self._reader.join(2)
        return self.said[-1].split(": ", 1)[-1] if self.said else "the program ended without a message"

    def stop(self) -> None:
        """Interrupt the program as Ctrl-C does, wait for it, and kill it if it does not end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run_stream(
    send: Sequence[str],
    receive: Sequence[str] | None,
    on_tile: Callable[[dict[str, Any]], None],
    *,
    on_sending: Callable[[Program], None] | None = None,
) -> StreamRecord:
    """Run a stream with these options and return its record; without ``receive`` the receiver runs elsewhere.

    ``on_tile`` is called with each trace line as it arrives, ``on_sending`` with the sender once it runs. Raises
    AudioAvifError with the message of the program that failed.
    """
    record = StreamRecord()
    with tempfile.TemporaryDirectory() as folder:
        stats = Path(folder) / "stats.json"
        receiver = None
        try:
            where: list[str] = []
            if receive is not None:
                receiver = Program("recv", [*receive, "--port", "0", "--once", "--stats-json", str(stats)])
                port = receiver.wait_for(r"--port (\d+)")[1]
                where = ["--host", "127.0.0.1", "--port", port]
            _follow_sender([*where, *send], record, on_tile, on_sending)
            if receiver is not None:
                receiver.process.wait(_STOP_S)
                if receiver.process.returncode:
                    raise AudioAvifError(receiver.last_words())
                record.course = [json.loads(line) for line in stats.read_text().splitlines()]
        finally:
            if receiver is not None:
                receiver.stop()
    return record


def _follow_sender(
    send: Sequence[str],
    record: StreamRecord,
    on_tile: Callable[[dict[str, Any]], None],
    on_sending: Callable[[Program], None] | None,
) -> None:
    sender = Program("send", [*send, "--trace", "-"], stdout=subprocess.PIPE)
    try:
        if on_sending is not None:
            on_sending(sender)
        assert sender.process.stdout is not None
        for text in sender.process.stdout:
            line = json.loads(text)
            if "summary" in line:
                record.summary = line["summary"]
            else:
                record.tiles.append(line)
                on_tile(line)
        if sender.process.wait(_STOP_S):
            raise AudioAvifError(sender.last_words())
    finally:
        sender.stop()
