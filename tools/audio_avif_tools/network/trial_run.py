"""One trial: the real sender and receiver with the proxy between them, and what became of the stream."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.edge.sound_files import WavWriter
from audio_avif.errors import AudioAvifError
from audio_avif.types import FloatArray
from audio_avif_tools.network.hostile import Crowd
from audio_avif_tools.network.memory_watch import watching_memory
from audio_avif_tools.network.outcome import HeardTile, Outcome, join, timeline
from audio_avif_tools.network.proxy import Proxy, relaying
from audio_avif_tools.network.scenario import Window
from audio_avif_tools.network.trials import TOKEN, Trial
from audio_avif_tools.shared.loopback import Program

_PATIENCE_S = 30.0
_WAV_HEADER_BYTES = 44
_DOWN_S = 1.0  # between a program's end and its restart


class _Receiver:
    """The receiver and its restarts on one port; each run leaves sound and figures."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self._folder = folder
        self._options = options
        self._lives = 0
        self.port = "0"
        self.program = self.start()

    def start(self) -> Program:
        """Start the receiver, a restarted one on the same port, and wait until it listens."""
        self._lives += 1
        stats, heard = self._file("json"), self._file("wav")
        options = ["--output", str(heard), "--port", self.port, "--stats-json", str(stats), *self._options]
        self.program = Program("recv", options)
        self.port = self.program.wait_for(r"--port (\d+)")[1]
        return self.program

    def _file(self, suffix: str, life: int | None = None) -> Path:
        return self._folder / f"{life or self._lives}.{suffix}"

    def results(self) -> tuple[list[FloatArray], list[dict[str, Any]]]:
        """The sound of each run, and the lines of figures of all runs."""
        heard, lines = [], []
        for life in range(1, self._lives + 1):
            heard.append(_read_wav(self._file("wav", life)))
            text = self._file("json", life).read_text(encoding="utf-8")
            lines += [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return heard, lines


def _read_wav(path: Path) -> FloatArray:
    """Read the samples of a WAV file, even one whose writer was killed before it wrote its length."""
    data = path.read_bytes()[_WAV_HEADER_BYTES:]
    return np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / np.float32(32768)


class _Sender:
    """The sender and its restarts: each run streams the rest of the sound, and its trace is followed."""

    def __init__(
        self, folder: Path, proxy: Proxy, sound: FloatArray, options: Sequence[str], on_tile: Callable[[], None]
    ) -> None:
        self._folder = folder
        self._sound = sound
        self._options = ["--host", "127.0.0.1", "--port", str(proxy.port), "--trace", "-", *options]
        self._proxy = proxy
        self._on_tile = on_tile
        self._followers: list[threading.Thread] = []
        self.is_heard = threading.Event()
        self.tiles: list[HeardTile] = []
        self.summaries: list[dict[str, Any]] = []
        self.program = self.start(0.0)

    def start(self, from_s: float) -> Program:
        """Stream the sound from here on."""
        said = self._folder / f"said-{len(self._followers)}.wav"
        with WavWriter(said) as wav:
            wav.write(self._sound[round(from_s * RATE_HZ) :])
        self.program = Program("send", ["--input", str(said), *self._options], stdout=subprocess.PIPE)
        follower = threading.Thread(target=self._follow, args=(self.program,), daemon=True)
        follower.start()
        self._followers.append(follower)
        return self.program

    def _follow(self, program: Program) -> None:
        lines: list[dict[str, Any]] = []
        left_s: list[float | None] = []
        summary: dict[str, Any] = {}
        assert program.process.stdout is not None
        for text in program.process.stdout:
            if not text.endswith("}\n"):  # the sender was killed while writing
                break
            line = json.loads(text)
            if "summary" in line:
                summary = line["summary"]
            else:
                lines.append(line)
                left_s.append(self._proxy.counts.left_s.get(line["sequence"]))
                self.is_heard.set()
                self._on_tile()
        began_s = self._proxy.began_s or 0.0
        since = [None if at_s is None else at_s - began_s for at_s in left_s]
        self.tiles += join(lines, since, summary)
        self.summaries.append(summary)

    def wait(self, seconds: float) -> None:
        """Wait for the end of a stream of ``seconds``. Raises AudioAvifError with the sender's message."""
        try:
            code = self.program.process.wait(seconds + _PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            raise AudioAvifError("the sender did not end in time") from error
        for follower in self._followers:
            follower.join()
        if code:
            raise AudioAvifError(self.program.last_words())


def run_trial(trial: Trial, sound: FloatArray, on_tile: Callable[[], None] = lambda: None) -> Outcome:
    """Stream ``sound [samples]``, repeated, through the trial.

    Raises AudioAvifError with the message of a program that fails.
    """
    sound = np.resize(sound, round(trial.seconds * RATE_HZ))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        receiver = _Receiver(Path(name), trial.receive)
        stack.callback(lambda: receiver.program.stop())
        proxy = stack.enter_context(relaying(trial.scenario, int(receiver.port)))
        sender = _Sender(Path(name), proxy, sound, trial.send, on_tile)
        stack.callback(lambda: sender.program.stop())
        outcome = Outcome(trial.scenario.events, proxy.counts, sound)
        programs = lambda: {"send": sender.program, "recv": receiver.program}  # noqa: E731
        with watching_memory(outcome.memory_mb, programs):
            if not sender.is_heard.wait(_PATIENCE_S):
                raise AudioAvifError(sender.program.last_words())
            crowd = Crowd(int(receiver.port), TOKEN, trial.hostile, 0.7 * trial.seconds)
            crowd.start()
            lives_s = [0.0]
            for restart in trial.restarts:
                at_s, for_s = _restart(*restart, receiver, sender, proxy)
                outcome.events += ((at_s, for_s),)
                lives_s += [at_s + for_s] * (restart[0] == "recv")
            sender.wait(trial.seconds)
            crowd.join()
        outcome.note, outcome.left_open = crowd.summary(), crowd.left_open
        outcome.tiles = sorted(sender.tiles, key=lambda tile: tile.heard_s)
        outcome.senders = sender.summaries
        receiver.program.stop()
        sounds, outcome.seconds = receiver.results()
        outcome.heard = timeline(list(zip(lives_s, sounds, strict=True)), outcome.tiles)
    return outcome


def _restart(program: str, signal_name: str, at_s: float, receiver: _Receiver, sender: _Sender, proxy: Proxy) -> Window:
    """End a program at its time and restart it a second later; return the window of its absence."""
    assert proxy.began_s is not None
    time.sleep(max(0.0, proxy.began_s + at_s - time.monotonic()))
    ended = receiver.program if program == "recv" else sender.program
    ended.process.send_signal(signal.Signals[signal_name])
    ended.process.wait(_PATIENCE_S)
    time.sleep(_DOWN_S)
    back_s = time.monotonic() - proxy.began_s
    if program == "recv":
        receiver.start()
        back_s = time.monotonic() - proxy.began_s
    else:
        sender.start(back_s)
    return at_s, back_s - at_s
