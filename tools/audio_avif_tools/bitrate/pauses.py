"""Measure what pauses as noise save and cost, and what lost tiles cost.

Run as ``python -m audio_avif_tools.bitrate.pauses``.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from audio_avif.config import RATE_HZ, EncoderConfig, MelConfig, TileConfig
from audio_avif.edge import console
from audio_avif.edge.sound_files import read_audio
from audio_avif.errors import FileError
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.registry import load_vocoder
from audio_avif_tools.bitrate.losses import LOSS_HEADER, measure_losses
from audio_avif_tools.bitrate.pause_cost import PAUSES_HEADER, TILE_SAMPLES, measure_pauses, pause_runs, transmit
from audio_avif_tools.bitrate.scenes import SCENES, perform
from audio_avif_tools.shared.delays import require_matplotlib
from audio_avif_tools.shared.machine import machine
from audio_avif_tools.shared.pages import paragraph, replace_block, table

PROGRAM = "python -m audio_avif_tools.bitrate.pauses"
PAGE = Path("docs/measurements/pauses.md")
_COLOURS = 64  # a palette takes a quarter of the size: the picture is kept with the page
_MEL, _TILE = MelConfig(), TileConfig()


_BLOCK = """\
Measured on {date} by

    {command}

{where}

## Pauses

Read speech hardly pauses, so the dialogue scenes add 3 s of background in the middle and at the end
of each clip. Noise is added to the clips; STOI and PESQ compare with the clips without it. *Worst
clip* is the largest loss of STOI. *Level* is how much louder a pause of at least half a second is
heard than at the microphone, on average and for the groups of bands.

{pauses}

## Loss of 5 % of the tiles

{losses}
"""


def plot(name: str, microphone: FloatArray, vocoder: Vocoder, path: Path) -> None:
    """Draw the decoded sound without and with pauses replaced, and mark the pauses. Raises FileError."""
    require_matplotlib()
    from matplotlib.figure import Figure

    heard = transmit(microphone, vocoder)
    figure = Figure(figsize=(9, 5), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    for panel, sound, title in zip(
        panels, (heard.plain, heard.replaced), ("every tile sent", "pauses as noise"), strict=True
    ):
        frames = log_mel(sound, _MEL)
        extent = (0, frames.shape[1] * _MEL.frame_s, 0, _MEL.n_mels)
        panel.imshow(frames, origin="lower", aspect="auto", vmin=-5, vmax=0, cmap="magma", extent=extent)
        for first, last in pause_runs(heard.is_pause):
            panel.axvspan(first * TILE_SAMPLES / RATE_HZ, last * TILE_SAMPLES / RATE_HZ, 0.95, 1, color="white", lw=0)
        panel.set(title=f"{name}: {title}", ylabel="mel band", xlim=extent[:2])
    panels[-1].set_xlabel("s; white bars: pauses")
    drawn = io.BytesIO()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(drawn, dpi=90)
        Image.open(drawn).convert("RGB").quantize(_COLOURS).save(path, optimize=True)
    except OSError as error:
        raise FileError(f"the picture {path} cannot be written: {error.strerror or error}") from error


def _run(options: argparse.Namespace) -> None:
    paths = sorted(options.clips.glob(options.match))[:: options.every]
    if not paths:
        raise FileError(f"there are no clips {options.match} in {options.clips}")
    if len(paths) < 2:
        raise FileError(f"babble needs the voices of other clips; {options.clips} has one clip {options.match}")
    vocoder = load_vocoder(device="cpu", name="embedded")
    clips = [read_audio(path) for path in paths]
    if options.plot is not None:
        _, microphone = perform(SCENES[-2], clips[0], clips, 0)
        plot(paths[0].stem, microphone, vocoder, options.plot)
    sound = f"{len(clips)} clips, {sum(clip.size for clip in clips) / RATE_HZ:.0f} s"
    settings = f"{_TILE.frames}-frame tiles, quality {EncoderConfig().quality}, `embedded`"
    block = _BLOCK.format(
        command=f"{PROGRAM} --clips CLIPS" + (f" --every {options.every}" if options.every > 1 else ""),
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        where=paragraph(f"on {machine()}. Sound: {sound}; {settings}."),
        pauses=table(PAUSES_HEADER, _told(measure_pauses(scene, clips, vocoder) for scene in SCENES)),
        losses=table(LOSS_HEADER, _told(measure_losses(clips, vocoder))),
    )
    replace_block(options.output, PROGRAM, block, "Pauses and concealment")
    print(f"written to {options.output}")


def _told(rows: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Print each row as soon as it is measured."""
    for row in rows:
        print(" | ".join(row), flush=True)
        yield row


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m audio_avif_tools.bitrate.pauses``."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--clips", type=Path, required=True, metavar="DIR", help="folder of speech clips")
    parser.add_argument("--match", default="*_clean_*.flac", metavar="GLOB", help="pattern of its file names")
    parser.add_argument("--every", type=console.integer_in(1, 100), default=1, metavar="N", help="only every Nth clip")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw one clip without and with pauses")
    parser.add_argument(
        "--output", type=Path, default=PAGE, metavar="FILE.md", help="the page to write (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    return console.run(PROGRAM, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
