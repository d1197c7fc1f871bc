"""Measure what processing the microphone does to echo, noise, rate and delay."""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from audio_avif.config import RATE_HZ, EncoderConfig, ProcessingConfig
from audio_avif.edge import console
from audio_avif.edge.processing import FRAME_SAMPLES, MicrophoneProcessor
from audio_avif.edge.sound_files import read_audio
from audio_avif.errors import FileError
from audio_avif.metrics import dnsmos, pesq_wb
from audio_avif.types import FloatArray
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.registry import load_vocoder
from audio_avif_tools.bitrate.pause_cost import streamed
from audio_avif_tools.bitrate.scenes import Scene, perform
from audio_avif_tools.microphone.room import JUMPS_S, EchoResult, Talk, leveled, measure, processed, talk
from audio_avif_tools.shared.clips import clean_clips
from audio_avif_tools.shared.delays import require_matplotlib
from audio_avif_tools.shared.machine import machine
from audio_avif_tools.shared.pages import paragraph, replace_block, table

PROGRAM = "python -m audio_avif_tools.microphone"
PAGE = Path("docs/measurements/microphone.md")
PLOT = Path("images/microphone.png")
CONFIGS = {name: ProcessingConfig.parse(name) for name in ("echo", "noise", "gain", "echo,noise,gain")}
_DELAYS_MS = {"30 ms": (30,), "90 ms": (90,), "150 ms": (150,), "60, 120, 40 ms": (60, 120, 40)}
_SNRS_DB = (5, 10, 15)
_PAIRS = 2
_CLIPS_EACH = 4
_PLOT_FRAME_S = 0.1

_BLOCK = """\
Measured on {date} by

    {command}

{where}

## Echo

{echo}

![The echo before and after, from a path that jumps]({plot})

## Noise

{noise}

## Cost

{cost}
"""


def measure_echo(clips: Sequence[FloatArray]) -> tuple[list[list[str]], Talk, EchoResult]:
    """Return the table's rows, and the last scene with what the processor for echo alone made of it."""
    rows = []
    for name, delays_ms in _DELAYS_MS.items():
        voices = [clips[at : at + _CLIPS_EACH] for at in range(0, 2 * _PAIRS * _CLIPS_EACH, _CLIPS_EACH)]
        scenes = [talk(voices[2 * pair], voices[2 * pair + 1], delays_ms) for pair in range(_PAIRS)]
        for processing in ("echo,noise,gain", "echo"):
            results = [measure(scene, CONFIGS[processing]) for scene in scenes]
            means = [
                float(np.mean([getattr(result, key) for result in results]))
                for key in ("settled_db", "jumped_db", "stoi_before", "stoi_after")
            ]
            jumped = f"{means[1]:.0f}" if len(delays_ms) > 1 else ""
            rows.append([name, processing, f"{means[0]:.0f}", jumped, f"{means[2]:.3f}", f"{means[3]:.3f}"])
            print(" | ".join(rows[-1]), flush=True)
    return rows, scenes[0], results[0]


def plot(scene: Talk, result: EchoResult, path: Path) -> None:
    """Draw the level of the echo before and after. Raises FileError."""
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    panel = figure.subplots()
    for sound, label in ((scene.echo, "at the microphone"), (result.residue, "sent")):
        frames = sound[: sound.size // RATE_HZ * RATE_HZ].reshape(-1, round(_PLOT_FRAME_S * RATE_HZ))
        level_db = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-10)
        panel.plot(np.arange(level_db.size) * _PLOT_FRAME_S, level_db, label=label, lw=1)
    for at_s in JUMPS_S:
        panel.axvline(at_s, color="gray", ls=":")
    panel.set(xlabel="s; dotted: the path's delay jumps", ylabel="echo, dB of full scale")
    panel.legend(loc="lower left")
    drawn = io.BytesIO()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(drawn, dpi=90)
        Image.open(drawn).convert("RGB").quantize(16).save(path, optimize=True)
    except OSError as error:
        raise FileError(f"the picture {path} cannot be written: {error.strerror or error}") from error


@dataclass(frozen=True)
class Heard:
    """A microphone's sound through the codec: its rate, and the scores of what is heard (PESQ needs the original)."""

    kbps: float
    dnsmos: float
    pesq: float

    @classmethod
    def of(cls, microphone: FloatArray, original: FloatArray | None, vocoder: Vocoder) -> Heard:
        """Send and score."""
        heard, sizes = streamed(microphone, vocoder, dtx=True)
        kbps = 8e-3 * sum(sizes.values()) * RATE_HZ / microphone.size
        return cls(kbps, dnsmos(microphone, heard), np.nan if original is None else pesq_wb(original, heard))


def measure_noise(clips: Sequence[FloatArray], noisy: Sequence[FloatArray], vocoder: Vocoder) -> Iterator[list[str]]:
    """Yield the table's rows."""
    scenes = [Scene(f"{noise}, {snr_db} dB", noise, snr_db) for noise in ("pink", "babble") for snr_db in _SNRS_DB]
    yield _noise_row("clean", [(clip, clip) for clip in clips], vocoder)
    for scene in scenes:
        pairs = [perform(scene, clip, [*clips[:at], *clips[at + 1 :]], at) for at, clip in enumerate(clips)]
        yield _noise_row(scene.name, pairs, vocoder)
    if noisy:
        yield _noise_row("recorded", [(None, clip) for clip in noisy], vocoder)


def _noise_row(name: str, pairs: Sequence[tuple[FloatArray | None, FloatArray]], vocoder: Vocoder) -> list[str]:
    results = []
    for original, microphone in pairs:
        quieter, _ = processed(CONFIGS["noise"], microphone, np.zeros_like(microphone))
        results.append([Heard.of(sound, original, vocoder) for sound in (microphone, quieter)])
    cells = [name]
    for key, decimals in (("kbps", 2), ("dnsmos", 2), ("pesq", 2)):
        means = np.mean([[getattr(heard, key) for heard in row] for row in results], axis=0)
        cells += ["" if np.isnan(mean) else f"{mean:.{decimals}f}" for mean in means]
    print(" | ".join(cells), flush=True)
    return cells


def measure_cost(scene: Talk) -> Iterator[list[str]]:
    """Yield the table's rows: the least of three runs, and the delays that filters and whole frames add."""
    for name, config in CONFIGS.items():
        shares = [processed(config, scene.echo + scene.near, scene.far)[1] for _ in range(3)]
        filters_ms = 1e3 * MicrophoneProcessor(config).latency_samples / RATE_HZ
        yield [name, f"{100 * min(shares):.1f} %", f"{filters_ms:.0f}", f"0 to {1e3 * FRAME_SAMPLES / RATE_HZ:.0f}"]


_ECHO_HEADER = (
    "delay", "processing", "echo weaker by, dB", "1 to 3 s after a jump", "STOI in double talk before", "after"
)  # fmt: skip
_NOISE_HEADER = ("scene", "kbps before", "after", "DNSMOS before", "after", "PESQ before", "after")
_COST_HEADER = ("processing", "of a core", "delay of filters, ms", "of whole frames, ms")


def _run(options: argparse.Namespace) -> None:
    paths = clean_clips(options.corpus)
    if len(paths) < 2 * _PAIRS * _CLIPS_EACH:
        raise FileError(f"{options.corpus} has {len(paths)} clips *_clean_*.flac, not {2 * _PAIRS * _CLIPS_EACH}")
    voices = [read_audio(path) for path in paths[: 2 * _PAIRS * _CLIPS_EACH]]
    clips = [leveled(read_audio(path)) for path in paths[:: options.every]]
    noisy = [read_audio(path) for path in sorted(options.corpus.glob("*_noisy_*.flac"))]
    vocoder = load_vocoder(device="cpu", name="embedded")
    echo_rows, scene, result = measure_echo(voices)
    plot(scene, result, options.output.parent / PLOT)
    block = _BLOCK.format(
        command=f"{PROGRAM} --corpus DIR --every {options.every}",
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        where=paragraph(
            f"on {machine()}. Sound: {_PAIRS} pairs of talkers; {len(clips)} clips with noise; "
            f"quality {EncoderConfig().quality}, `embedded`."
        ),
        echo=table(_ECHO_HEADER, echo_rows),
        plot=PLOT,
        noise=table(_NOISE_HEADER, measure_noise(clips, noisy, vocoder)),
        cost=table(_COST_HEADER, measure_cost(scene)),
    )
    replace_block(options.output, PROGRAM, block, "Microphone processing")
    print(f"written to {options.output}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m audio_avif_tools.microphone``."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="folder of speech clips")
    parser.add_argument(
        "--every", type=console.integer_in(1, 100), default=8, metavar="N", help="every Nth clip (default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=PAGE, metavar="FILE.md", help="the page to write (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    return console.run(PROGRAM, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
