"""``make impair``: streams speech over impaired paths with the real programs and writes the reliability page."""

from __future__ import annotations

import argparse
import json
import math
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from audio_avif import __version__
from audio_avif.config import RATE_HZ
from audio_avif.edge import console
from audio_avif.edge.sound_files import WavWriter, read_audio
from audio_avif.errors import AudioAvifError
from audio_avif.types import FloatArray
from audio_avif_tools.network.hostile import Crowd
from audio_avif_tools.network.outcome import TILE_S, HeardTile, Outcome, join, timeline
from audio_avif_tools.network.proxy import Proxy, relaying
from audio_avif_tools.network.reliability_page import PAGE, PATHS, Check, plot, update, verdict
from audio_avif_tools.network.scenario import Loss, Scenario, Window, disconnects
from audio_avif_tools.shared.arguments import folder
from audio_avif_tools.shared.clips import clean_clips
from audio_avif_tools.shared.loopback import Program
from audio_avif_tools.shared.signals import demo_clip

PROGRAM = "audio-avif impair"
TOKEN = "a-token-for-measuring"
_PATIENCE_S = 30.0
_WAV_HEADER_BYTES = 44
_DOWN_S = 1.0  # between a program's end and its restart
_SETTLED_S = 60.0  # when memory is first sampled

_TEXTS = (
    """\
Each row is one stream of 8-frame tiles between `audio-avif-send` and `audio-avif-recv`, two
processes on one machine with a proxy between them (`network/proxy.py`). Delay is from mouth to ear
of each tile heard, without sound devices. STOI is the mean over pieces of 2 s, each eighth of a
second aligned; pieces spoken while the path was gone are left out. Recovery lasts from the path's
return until tiles are heard within one tile of the delay before; median and worst where there are
several. The measured figures are in brackets.""",
)


@dataclass(frozen=True)
class Trial:
    """A scenario, the options of the programs in it, and its requirements.

    ``restarts`` are (program, signal name, at s); ``hostile`` connections are opened during the stream.
    """

    key: str
    title: str
    scenario: Scenario
    seconds: float
    checks: Callable[[Outcome], list[Check]]
    send: tuple[str, ...] = ()
    receive: tuple[str, ...] = ()
    restarts: tuple[tuple[str, str, float], ...] = ()
    hostile: int = 0

    def lasting(self, seconds: float) -> Trial:
        """The same trial with a shorter stream; later events are left out."""
        seconds = min(seconds, self.seconds)
        scenario = replace(
            self.scenario,
            stalls=tuple(window for window in self.scenario.stalls if sum(window) < seconds - 2),
            outages=tuple(window for window in self.scenario.outages if sum(window) < seconds - 2),
        )
        restarts = tuple(restart for restart in self.restarts if restart[2] < seconds - 4)
        hostile = math.ceil(self.hostile * seconds / self.seconds)
        return replace(self, seconds=seconds, scenario=scenario, restarts=restarts, hostile=hostile)


def _at_most(what: str, value: float, limit: float, unit: str = "") -> Check:
    shown = "never" if value == math.inf else f"{value:.3g}" if abs(value) < 10 else f"{value:.0f}"
    return Check(f"{what} <= {limit:g}{unit}", shown, value <= limit)


def _none(what: str, count: float) -> Check:
    return Check(f"no {what}", f"{count:g}", count == 0)


def _quiet(outcome: Outcome) -> list[Check]:
    return [_none("tile lost", outcome.received("lost_tiles")), _stoi(outcome)]


def _stoi(outcome: Outcome) -> Check:
    score, _ = outcome.scores()
    return Check("STOI > 0.80", f"{score:.3f}", score > 0.8)


def _jitter(outcome: Outcome) -> list[Check]:
    return [
        _at_most("p95", outcome.percentile_ms(95), 350, " ms"),
        _none("ms concealed after 2 s", outcome.received_after("concealed_ms", 2)),
    ]


def _cap(outcome: Outcome) -> list[Check]:
    return [
        _at_most("codec rate", outcome.senders[0]["codec_kbps"], 8, " kbps"),
        _at_most("backlog after 2 s", outcome.backlog_ms(2), 500, " ms"),
        _at_most("longest silence", outcome.longest_gap_s(5), 2, " s"),
    ]


def _silently_lost(outcome: Outcome) -> int:
    """The number of sent tiles that the receiver does not account for."""
    told = sum(outcome.received(key) for key in ("received_tiles", "late_tiles", "repeated_tiles", "lost_tiles"))
    return max(0, outcome.sent("sent_tiles") - told)


def _stall(outcome: Outcome) -> list[Check]:
    return [_settled(outcome, 3), _none("tile lost silently", _silently_lost(outcome))]


def _settled(outcome: Outcome, limit_s: float) -> Check:
    worst_s = max((recovery.settled_s for recovery in outcome.recoveries()), default=math.inf)
    return _at_most("delay within one tile in", worst_s, limit_s, " s")


def _heard_again(outcome: Outcome, limit_s: float) -> Check:
    worst_s = max((recovery.heard_again_s for recovery in outcome.recoveries()), default=math.inf)
    return _at_most("heard again in", worst_s, limit_s, " s")


def _disconnects(outcome: Outcome) -> list[Check]:
    growth_mb = max(outcome.growth_mb(program, _SETTLED_S) for program in ("send", "recv"))
    reconnections = outcome.senders[0].get("reconnections", 0)
    return [
        Check(f"{len(outcome.events)} resumed", f"{reconnections}", reconnections == len(outcome.events)),
        _heard_again(outcome, 2),
        _at_most("memory grows by", growth_mb, 5, " MB"),
    ]


def _hostile(outcome: Outcome) -> list[Check]:
    lost = sum(outcome.received(key) for key in ("lost_tiles", "late_tiles", "skipped_tiles"))
    return [
        _none("tile lost, late or skipped", lost + outcome.sent("dropped_tiles")),
        _none("ms concealed after 2 s", outcome.received_after("concealed_ms", 2)),
        _none("hostile connection left open", outcome.left_open),
    ]


def _loss(outcome: Outcome) -> list[Check]:
    return [_stoi(outcome)]


def _gone(outcome: Outcome) -> list[Check]:
    return [_heard_again(outcome, 5), _settled(outcome, 8)]


_RANDOM, _BURSTS = Loss.independent(0.05), Loss.bursts(0.05, 3)
TRIALS = {
    trial.key: trial
    for trial in (
        Trial("quiet", "a quiet path", Scenario("quiet"), 40, _quiet),
        Trial("jitter", "50 +- 20 ms each way", Scenario("jitter", delay_ms=50, jitter_ms=20), 40, _jitter),
        Trial(
            "cap",
            "8 kbps of wire upstream while 12 are asked of the codec",
            Scenario("cap", cap_kbps=8, queue_bytes=16_384),
            60,
            _cap,
            send=("--bitrate", "12"),
        ),
        Trial("stall", "a stall of 2 s", Scenario("stall", delay_ms=10, stalls=((12, 2),)), 25, _stall),
        Trial(
            "disconnects",
            "30 disconnects in 5 minutes, each down for 0.1 to 2 s",
            Scenario("disconnects", delay_ms=10, outages=disconnects(30, 10, 2)),
            305,
            _disconnects,
        ),
        Trial(
            "hostile",
            "200 hostile connections beside the stream",
            Scenario("hostile"),
            60,
            _hostile,
            send=("--token", TOKEN),
            receive=("--token", TOKEN),
            hostile=200,
        ),
        Trial("loss", "5 % of messages lost at random", Scenario("loss", loss=_RANDOM), 60, _loss),
        Trial("bursts", "5 % lost in bursts of 3 (Gilbert)", Scenario("bursts", loss=_BURSTS), 60, _loss),
        Trial(
            "loss-copies",
            "5 % at random, --redundancy 1",
            Scenario("loss", loss=_RANDOM),
            60,
            _loss,
            send=("--redundancy", "1"),
        ),
        Trial(
            "bursts-copies",
            "5 % in bursts, --redundancy 1",
            Scenario("bursts", loss=_BURSTS),
            60,
            _loss,
            send=("--redundancy", "1"),
        ),
        Trial(
            "receiver",
            "the receiver ended by Ctrl-C, later killed, started again each time",
            Scenario("receiver"),
            45,
            _gone,
            restarts=(("recv", "SIGINT", 12), ("recv", "SIGKILL", 28)),
        ),
        Trial(
            "sender",
            "the sender killed and started again",
            Scenario("sender"),
            30,
            _gone,
            restarts=(("send", "SIGKILL", 12),),
        ),
        Trial(
            "cut-30", "the network gone for 30 s, connections cut", Scenario("cut-30", outages=((12, 30),)), 65, _gone
        ),
        Trial("silent-30", "the network silent for 30 s", Scenario("silent-30", stalls=((12, 30),)), 65, _gone),
    )
}


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


@contextmanager
def watching_memory(
    memory_mb: dict[str, list[tuple[float, float]]], programs: Callable[[], Mapping[str, Program]]
) -> Iterator[None]:
    """Record the resident memory of each program once a second, with the time since the start."""
    import psutil

    over = threading.Event()
    began_s = time.monotonic()

    def watch() -> None:
        while not over.wait(1.0):
            for name, program in programs().items():
                try:
                    megabytes = psutil.Process(program.process.pid).memory_info().rss / 1e6
                except psutil.Error:
                    continue
                memory_mb.setdefault(name, []).append((time.monotonic() - began_s, megabytes))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


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


def speech(corpus: Path | None) -> tuple[FloatArray, str]:
    """Return the concatenated clean clips of a corpus, or the bundled clip, ``[samples]``, and its description."""
    clips = clean_clips(corpus)
    if not clips:
        return demo_clip(), "the bundled synthetic clip, over and over"
    return np.concatenate([read_audio(clip) for clip in clips]), f"{len(clips)} clips of real speech"


def row(outcome: Outcome, checks: Sequence[Check]) -> list[str]:
    """The cells of an outcome without its name."""
    settled_s = [recovery.settled_s for recovery in outcome.recoveries()]
    if not settled_s:
        recovered = ""
    elif max(settled_s) == math.inf:
        recovered = f"never ({sum(one == math.inf for one in settled_s)} of {len(settled_s)})"
    else:
        recovered = f"{median(settled_s):.1f}" + (f", worst {max(settled_s):.1f}" if len(settled_s) > 1 else "")
    score, left_out = outcome.scores()
    return [
        f"{outcome.percentile_ms(50):.0f} / {outcome.percentile_ms(95):.0f}",
        f"{outcome.concealed_ms_per_minute:.0f}",
        f"{score:.3f}" + (f" ({left_out} pieces left out)" if left_out else ""),
        recovered,
        "; ".join(map(str, checks)),
        verdict(checks),
    ]


def _run(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import Progress

    sound, source = speech(options.corpus)
    trials = [trial for key, trial in TRIALS.items() if options.only in (None, key)]
    if options.seconds is not None:
        trials = [trial.lasting(options.seconds) for trial in trials]
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("impair", total=sum(trial.seconds / TILE_S for trial in trials))
        for number, trial in enumerate(trials, 1):
            progress.update(task, description=trial.key)
            try:
                outcome = run_trial(trial, sound, lambda: progress.advance(task))
                checks = trial.checks(outcome)
                cells = row(outcome, checks)
                points = [(tile.heard_s, tile.delay_ms) for tile in outcome.tiles]
                plot(points, outcome.events, trial.title, options.output.parent / _picture(trial.key))
            except AudioAvifError as error:
                outcome, cells = None, ["", "", "", "", f"the stream lives ({error})", "**no**"]
            progress.console.print(f"{trial.title}: {' | '.join(cells)}", markup=False)
            if outcome is not None and outcome.note:
                progress.console.print(outcome.note, markup=False)
            _write(trial, cells, source, options.output)
            progress.update(task, completed=sum(done.seconds / TILE_S for done in trials[:number]))
    print(f"written to {options.output}")


def _picture(key: str) -> str:
    return f"images/reliability-{key}.png"


def _write(trial: Trial, cells: Sequence[str], source: str, page: Path) -> None:
    pictures = {f"delay: {other.key}": _picture(other.key) for other in TRIALS.values()}
    order = [other.title for other in TRIALS.values()]
    update(PATHS, {trial.title: cells}, order, _TEXTS, source, pictures, page)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m audio_avif_tools.network.impair``."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=f"Stream speech over impaired paths and write {PAGE}.")
    parser.add_argument("--output", type=Path, default=PAGE, help=f"the page to write (default: {PAGE})")
    parser.add_argument("--corpus", type=folder, help="folder of speech clips to use in place of the bundled one")
    parser.add_argument("--only", choices=TRIALS, help="measure this scenario again and keep the others of the page")
    parser.add_argument(
        "--seconds",
        type=console.integer_in(10, 3600),
        metavar="N",
        help="maximum length of a stream, for a quick look (default: as each scenario needs)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    options = parser.parse_args(arguments)
    with console.sigterm_interrupts():
        return console.run(PROGRAM, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
