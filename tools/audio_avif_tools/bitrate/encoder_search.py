"""Find libaom options that save bits on speech tiles at equal mel error, and write a page."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audio_avif.config import EncoderConfig
from audio_avif.edge import console
from audio_avif.edge.sound_files import require_writable
from audio_avif.errors import AudioAvifError, FileError
from audio_avif.metrics import SCORES
from audio_avif.still.avif import AOM_OPTIONS
from audio_avif.vocoders.registry import DEFAULT
from audio_avif_tools.bitrate.candidates import DEFAULTS, OPTIONS, SPEEDS, TODAY, Candidate, candidates
from audio_avif_tools.bitrate.coding import SCORED, Coder
from audio_avif_tools.bitrate.curves import Curve, change_percent, kbps_for_error
from audio_avif_tools.bitrate.encoder_jobs import QUALITIES, CurveJob, ScoreJob, Scores
from audio_avif_tools.bitrate.options import tile_options
from audio_avif_tools.quality.jobs import choose_clips
from audio_avif_tools.shared.machine import machine
from audio_avif_tools.shared.pages import paragraph, replace_block, table, write_csv
from audio_avif_tools.shared.processes import run_jobs

PROGRAM = "python -m audio_avif_tools.bitrate.encoder_search"
PAGE = Path("docs/measurements/encoder.md")
TILE_FRAMES = (2, 4, 8, 16, 64)
SCORED_KBPS = (3.0, 4.4, 6.0)
COMPARED_KBPS = (3.0, 6.0, 12.0)


_BLOCK = """\
Measured on {date} by

    {command}

{where}

Tiles are compressed at speed {speed} with the options `{options}`.

## Comparison with libavif's defaults

{beside}

*Mean* is over the qualities {qualities}. A dash: the tiles do not have that rate at any of them.

## Bytes of a tile

At quality {quality}. *Grey* is an empty tile: the frame header and the minimum content. The container is
sent once a stream.

{bits}

## One option at a time

[{options_csv}]({options_csv}) has the change of the rate at equal error against today's options, in
percent, by the frames of a tile; less is better. *Time* is that of encoding {timed}-frame tiles,
relative to today's options. A line without a speed is at speed {speed}.

{quiet}

## After the vocoder

Scores of `{vocoder}` at equal rate by `--bitrate`, 8-frame tiles; ± is one standard error over the
clips of the difference from today's options. The candidates are those that save most.

{scores}
"""


def _cell(value: float, form: str) -> str:
    return "-" if np.isnan(value) else format(value, form)


def beside_row(today: Curve, defaults: Curve) -> list[str]:
    """Tiles of one width: at COMPARED_KBPS today's error, what libavif's defaults take for it, and the mean change."""
    order = np.argsort(today.kbps)
    wanted = np.array(COMPARED_KBPS)
    errors_db = np.interp(np.log(wanted), np.log(today.kbps[order]), today.errors_db[order], left=np.nan, right=np.nan)
    needed = kbps_for_error(defaults, errors_db)
    cells = [
        "-" if np.isnan(kbps) else f"{error_db:.2f} dB: {kbps:.2f} -> {each:g} ({100 * (each / kbps - 1):+.1f} %)"
        for each, error_db, kbps in zip(COMPARED_KBPS, errors_db, needed, strict=True)
    ]
    mean = 100 * (1 / (1 + change_percent(today, defaults) / 100) - 1)
    return [str(today.tile_frames), *cells, f"{mean:+.1f} %"]


def _bits_row(today: Curve) -> list[str]:
    config = EncoderConfig()
    grey = np.full((80, today.tile_frames), 128, np.uint8)
    still, coder = TODAY.encode(grey, config), Coder(today.tile_frames, encode=TODAY.encode)
    payload = len(coder.payload(still))
    kbps = float(np.interp(config.quality, QUALITIES, today.kbps))
    return [str(today.tile_frames), f"{len(still) - payload}", f"{payload}", f"{125 * kbps * coder.tile_s:.0f}"]


def _single(curves: Sequence[Curve], widths: Sequence[int]) -> tuple[list[list[str]], str]:
    """Return the table of candidates with an effect, its header first, and sentences about the others."""
    today = {curve.tile_frames: curve for curve in curves if curve.candidate == TODAY}
    timed = _timed(widths)
    groups: dict[Candidate, dict[int, Curve]] = {}
    for curve in curves:
        if curve.candidate not in (TODAY, DEFAULTS):
            groups.setdefault(curve.candidate, {})[curve.tile_frames] = curve
    lines, refused, idle = [], [], []
    for candidate, group in groups.items():
        if any(curve.is_refused for curve in group.values()):
            refused.append(f"`{candidate.name}`")
        elif not any(curve.kbps.size for curve in group.values()):
            idle.append(f"`{candidate.name}`")
        else:
            changes = [change_percent(today[w], group[w]) if group[w].kbps.size else 0.0 for w in widths]
            took = group[timed].tile_s / today[timed].tile_s if group[timed].kbps.size else 1.0
            lines.append((np.mean(changes), [candidate.name, *(_cell(c, "+.1f") for c in changes), f"{took:.1f}"]))
    lines.sort(key=lambda line: np.nan_to_num(line[0], nan=np.inf))
    told = [f"No effect: {', '.join(idle)}."] if idle else []
    told += [f"Refused by this libavif: {', '.join(refused)}."] if refused else []
    header = ["option", *(f"{w}" for w in widths), "time"]
    return [header, *(cells for _, cells in lines)], "\n\n".join(told)


def _timed(widths: Sequence[int]) -> int:
    """The tile width whose encoding is timed."""
    return 8 if 8 in widths else widths[0]


def finalists(curves: Sequence[Curve], count: int) -> list[Candidate]:
    """Return the candidates that save most bits on average over the widths."""
    today = {curve.tile_frames: curve for curve in curves if curve.candidate == TODAY}
    changes: dict[Candidate, list[float]] = {}
    for curve in curves:
        if curve.kbps.size and curve.candidate not in (TODAY, DEFAULTS):
            changes.setdefault(curve.candidate, []).append(change_percent(today[curve.tile_frames], curve))
    sums = {candidate: float(np.sum(values)) for candidate, values in changes.items()}
    return sorted((each for each in sums if sums[each] < 0), key=lambda each: sums[each])[:count]


def score_rows(results: Sequence[Scores]) -> list[list[str]]:
    """Return a row for each rate and candidate, today's options first."""
    rows = []
    for kbps in SCORED_KBPS:
        lines = [result for result in results if result.asked_kbps == kbps]
        today = next(line for line in lines if line.candidate == TODAY)
        for line in lines:
            cells = []
            for key, mine, theirs in zip(SCORED, line.scores.T, today.scores.T, strict=True):
                difference = mine - theirs
                error = np.nanstd(difference, ddof=1) / np.sqrt(max(1, np.isfinite(difference).sum()))
                decimals = SCORES[key].decimals
                told = f" ({np.nanmean(difference):+.{decimals + 1}f} ± {error:.{decimals + 1}f})"
                cells.append(f"{np.nanmean(mine):.{decimals}f}" + ("" if line is today else told))
            rows.append([line.candidate.name, f"{kbps:g}", f"{line.kbps:.2f}", *cells])
    return rows


def _results(jobs: Sequence[Any], workers: int, what: str) -> list[Any]:
    """Every job's result, as they become ready, with a progress bar."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        return list(progress.track(run_jobs(jobs, workers), total=len(jobs), description=what))


def _run(options: argparse.Namespace) -> None:
    for key in SCORED:
        if (reason := SCORES[key].missing()) is not None:
            raise AudioAvifError(reason)
    require_writable(options.out)
    clips = choose_clips(options.clips, every=options.every).clips
    if len(clips) < 2:
        raise FileError(f"the search needs two clips or more; {options.clips} has fewer")
    everyone = [TODAY, DEFAULTS, *candidates(OPTIONS, SPEEDS)]
    jobs = [CurveJob(clips, candidate, width) for width in options.tile_frames for candidate in everyone]
    results: list[Curve] = _results(jobs, options.workers, "encoding")
    found = {(curve.candidate, curve.tile_frames): curve for curve in results}
    curves = [found[job.candidate, job.tile_frames] for job in jobs]
    pairs = [(found[TODAY, width], found[DEFAULTS, width]) for width in options.tile_frames]
    chosen = [TODAY, DEFAULTS, *finalists(curves, options.finalists)]
    score_jobs = [ScoreJob(clips, candidate, kbps) for candidate in chosen for kbps in SCORED_KBPS]
    scores: list[Scores] = _results(score_jobs, options.workers, "scoring")
    scores.sort(key=lambda each: chosen.index(each.candidate))
    single, quiet = _single(curves, options.tile_frames)
    block = _BLOCK.format(
        speed=EncoderConfig.speed,
        options=" ".join(f"{name}={value}" for name, value in AOM_OPTIONS.items()),
        beside=table(
            ["frames", *(f"at {kbps:g} kbps today" for kbps in COMPARED_KBPS), "mean"],
            [beside_row(today, defaults) for today, defaults in pairs],
        ),
        qualities=", ".join(map(str, QUALITIES)),
        quality=EncoderConfig.quality,
        bits=table(
            ["frames", "container", "grey", "speech"],
            [_bits_row(today) for today, _ in pairs],
        ),
        timed=_timed(options.tile_frames),
        options_csv=options.out.with_suffix(".csv").name,
        quiet=quiet,
        vocoder=DEFAULT,
        scores=table(
            ["", "asked, kbps", "mean, kbps", *(SCORES[key].title for key in SCORED)],
            score_rows(scores),
        ),
        command=_command(options),
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        where=paragraph(
            f"on {machine()}, {libraries()}. Sound: {len(clips)} clips, {sum(clip.seconds for clip in clips):.0f} s."
        ),
    )
    replace_block(options.out, PROGRAM, block, "Encoder options")
    write_csv(options.out.with_suffix(".csv"), single[0], single[1:])
    print(f"written to {options.out}")


def _command(options: argparse.Namespace) -> str:
    """The command as it would be typed again; the folder by what it is, not by where it lay."""
    widths = tuple(options.tile_frames)
    words = [f"{PROGRAM} --clips CLIPS"]
    words += [f"--every {options.every}"] if options.every > 1 else []
    words += [f"--tile-frames {','.join(map(str, widths))}"] if widths != TILE_FRAMES else []
    return " ".join(words)


def libraries() -> str:
    """Return the versions of libavif and libaom."""
    from pillow_avif import _avif

    aom = next((part.split(":")[1] for part in _avif.codec_versions().split(", ") if part.startswith("aom")), "unknown")
    return f"libavif {_avif.libavif_version}, libaom {aom.split('-')[0]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m audio_avif_tools.bitrate.encoder_search``."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        parents=[tile_options(TILE_FRAMES)],
        description=f"Measure what each libaom option saves on speech tiles at equal mel error, and write {PAGE}.",
    )
    parser.add_argument(
        "--finalists",
        type=console.integer_in(0, 100),
        default=4,
        metavar="N",
        help="number of candidates to score, those that save most (default: 4)",
    )
    parser.add_argument(
        "--out", type=Path, default=PAGE, metavar="FILE", help="the page to write (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    with console.sigterm_interrupts():
        return console.run(PROGRAM, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
