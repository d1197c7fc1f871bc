"""Find libaom options that save bits on speech tiles at equal mel error, and write a page."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from audio_avif.config import MAX_TILE_FRAMES, EncoderConfig, TileConfig
from audio_avif.edge import console
from audio_avif.edge.sound_files import require_writable
from audio_avif.errors import AudioAvifError, FileError
from audio_avif.metrics import SCORES
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import AOM_OPTIONS
from audio_avif.still.tiles import to_pixels
from audio_avif.types import FloatArray, Pixels
from audio_avif.vocoders.registry import DEFAULT, load_vocoder
from audio_avif_tools.bitrate.candidates import DEFAULTS, OPTIONS, SPEEDS, TODAY, Candidate, candidates
from audio_avif_tools.bitrate.coding import SCORED, Coder, mel_errors_db, scores_of
from audio_avif_tools.bitrate.curves import Curve, Doubles, change_percent, kbps_for_error
from audio_avif_tools.bitrate.options import tile_options
from audio_avif_tools.quality.jobs import Clip, choose_clips, sound_of
from audio_avif_tools.shared.machine import machine
from audio_avif_tools.shared.pages import paragraph, replace_block, table, write_csv
from audio_avif_tools.shared.processes import run_jobs

PROGRAM = "python -m audio_avif_tools.bitrate.encoder_search"
PAGE = Path("docs/measurements/encoder.md")
TILE_FRAMES = (2, 4, 8, 16, 64)
QUALITIES = (20, 36, 52, 68, 84)
SCORED_KBPS = (3.0, 4.4, 6.0)
COMPARED_KBPS = (3.0, 6.0, 12.0)


@lru_cache(maxsize=1)
def _mels(clips: tuple[Clip, ...]) -> list[FloatArray]:
    return [log_mel(sound_of(clip)) for clip in clips]


@dataclass(frozen=True)
class CurveJob:
    """A job: one candidate at one tile width over all clips and QUALITIES."""

    clips: tuple[Clip, ...]
    candidate: Candidate
    tile_frames: int

    def run(self) -> Curve:
        """Measure, unless the candidate is refused or changes nothing."""
        spent_s = 0.0

        def encode(pixels: Pixels, config: EncoderConfig) -> bytes:
            nonlocal spent_s
            began_s = time.process_time()
            still = self.candidate.encode(pixels, config)
            spent_s += time.process_time() - began_s
            return still

        mels, nothing = _mels(self.clips), np.zeros(0)
        try:
            coder = Coder(self.tile_frames, encode=encode)
        except ValueError:
            return Curve(self.candidate, self.tile_frames, nothing, nothing, is_refused=True)
        if self.candidate.options != TODAY.options and self._makes_todays_stills():
            return Curve(self.candidate, self.tile_frames, nothing, nothing)
        kbps, errors_db, tiles = [], [], 0
        for quality in QUALITIES:
            runs = [coder.fixed(frames, quality) for frames in mels]
            sizes = np.concatenate([run.sizes_bytes for run in runs])
            kbps.append(sizes.mean() / (125 * coder.tile_s))
            errors_db.append(
                np.mean([mel_errors_db(frames, run.log_mel)[1] for frames, run in zip(mels, runs, strict=True)])
            )
            tiles += sizes.size
        return Curve(self.candidate, self.tile_frames, np.array(kbps), np.array(errors_db), spent_s / tiles)

    def _makes_todays_stills(self) -> bool:
        tried = _tried(self.clips, self.tile_frames)
        return all(self.candidate.encode(*given) == still for given, still in tried)


@lru_cache(maxsize=1)
def _tried(clips: tuple[Clip, ...], tile_frames: int) -> list[tuple[tuple[Pixels, EncoderConfig], bytes]]:
    """Return a second from the middle of a clip as tiles, at a few qualities, and their stills with today's options."""
    frames = _mels(clips)[0]
    start = max(0, frames.shape[1] // 2 - MAX_TILE_FRAMES)
    tiles = [
        to_pixels(frames[:, at : at + tile_frames], TileConfig(tile_frames))
        for at in range(start, start + MAX_TILE_FRAMES - tile_frames + 1, tile_frames)
    ]
    given = [(tile, EncoderConfig(quality)) for tile in tiles for quality in QUALITIES[::2]]
    return [(each, TODAY.encode(*each)) for each in given]


@dataclass(frozen=True)
class Scores:
    """The scores of a candidate's 8-frame tiles at one rate after the vocoder: SCORED ``[clips, scores]``."""

    candidate: Candidate
    asked_kbps: float
    kbps: float
    scores: Doubles


@dataclass(frozen=True)
class ScoreJob:
    """A job: one candidate at one rate over some clips, decoded with the default vocoder."""

    clips: tuple[Clip, ...]
    candidate: Candidate
    kbps: float

    def run(self) -> Scores:
        """Decode and score. Raises AudioAvifError where a score's package is missing."""
        coder, vocoder = Coder(8, encode=self.candidate.encode), load_vocoder(device="cpu", name=DEFAULT)
        rates, scores = [], []
        for clip, frames in zip(self.clips, _mels(self.clips), strict=True):
            coded = coder.controlled(frames, self.kbps)
            rates.append(coded.kbps)
            scores.append(scores_of(sound_of(clip)[: coded.log_mel.shape[1] * 256], coded.log_mel, vocoder))
        return Scores(self.candidate, self.kbps, float(np.mean(rates)), np.array(scores, np.float64))


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
