"""Runs the two stream commands as processes, a receiver of our own or one elsewhere, and follows what they tell."""

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
    """What one stream left behind: a trace line per tile, the sender's summary and the receiver's last figures."""

    tiles: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    receiver: dict[str, Any] = field(default_factory=dict)

    @property
    def lost_tiles(self) -> int:
        """Tiles that were not spoken: as the receiver counts them if it is ours, else those of which no report came.

        A receiver that is not ours still owes the reports of the first tiles, from which its vocoder made no sound yet.
        """
        if self.receiver:
            return int(self.receiver["lost_tiles"] + self.receiver["skipped_tiles"])
        silent = self.summary["vocoder_latency_samples"] // (self.summary["tile_frames"] * MelConfig().hop_samples)
        cut = self.summary["sent_tiles"] + self.summary["dropped_tiles"]
        return max(0, int(cut - len(self.tiles) - silent))


class Program:
    """One of our commands as a process, with its standard error read as it comes."""

    def __init__(self, module: str, arguments: Sequence[str], *, stdout: int | None = None) -> None:
        # -P: a checkout in the current folder is not what is installed.
        command = [sys.executable, "-P", "-m", f"audio_avif_stream.commands.{module}", *arguments]
        self.process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
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
        """Wait for a line of standard error with the pattern. Raises AudioAvifError with the last line at its end."""
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
        """The sentence with which the program failed."""
        self._reader.join(2)
        return self.said[-1].split(": ", 1)[-1] if self.said else "the program ended without a word"

    def stop(self) -> None:
        """Interrupt the program as Ctrl-C does, wait for it, and kill it if it will not end."""
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
    """Stream with these options of the two commands and return the record; ``receive`` None uses a receiver elsewhere.

    ``on_tile`` gets each trace line as it comes, ``on_sending`` the sender once it runs. Raises AudioAvifError with the
    sentence of whichever program failed.
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
                record.receiver = json.loads(stats.read_text().splitlines()[-1])
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
