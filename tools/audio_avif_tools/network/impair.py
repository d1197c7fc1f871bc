"""``make impair``: streams speech over impaired paths with the real programs and writes the reliability page."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from audio_avif import __version__
from audio_avif.edge import console
from audio_avif.errors import AudioAvifError
from audio_avif_tools.network.outcome import TILE_S, Outcome
from audio_avif_tools.network.reliability_page import PAGE, PATHS, Check, plot, update, verdict
from audio_avif_tools.network.trial_run import run_trial
from audio_avif_tools.network.trials import TRIALS, Trial
from audio_avif_tools.shared.arguments import folder
from audio_avif_tools.shared.clips import speech

PROGRAM = "audio-avif impair"

_TEXTS = (
    """\
Each row is one stream of 8-frame tiles between `audio-avif-send` and `audio-avif-recv`, two
processes on one machine with a proxy between them (`network/proxy.py`). Delay is from mouth to ear
of each tile heard, without sound devices. STOI is the mean over pieces of 2 s, each eighth of a
second aligned; pieces spoken while the path was gone are left out. Recovery lasts from the path's
return until tiles are heard within one tile of the delay before; median and worst where there are
several. The measured figures are in brackets.""",
)


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
