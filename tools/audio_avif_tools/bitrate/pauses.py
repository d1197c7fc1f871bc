"""Measure what pauses as noise save and cost, and what lost tiles cost.

Run as ``python -m audio_avif_tools.bitrate.pauses``.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from audio_avif.codec.concealment import decay, interpolate, over_noise
from audio_avif.codec.decoder import Decoder
from audio_avif.codec.encoder import Encoder
from audio_avif.codec.noise import INAUDIBLE_LOG10, FloorTracker, NoiseSource
from audio_avif.config import RATE_HZ, EncoderConfig, MelConfig, TileConfig
from audio_avif.edge import console
from audio_avif.edge.sound_files import read_audio
from audio_avif.errors import FileError
from audio_avif.link.hello import Hello
from audio_avif.link.packets import NOISE_LEVELS, Bundle
from audio_avif.metrics import pesq_wb, stoi
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import decode_still, encode_still
from audio_avif.still.tiles import from_pixels, to_pixels
from audio_avif.types import DoubleArray, FloatArray
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.registry import load_vocoder
from audio_avif.vocoders.streaming import open_stream
from audio_avif_tools.shared.delays import require_matplotlib
from audio_avif_tools.shared.machine import machine
from audio_avif_tools.shared.pages import paragraph, replace_block, table

PROGRAM = "python -m audio_avif_tools.bitrate.pauses"
PAGE = Path("docs/measurements/pauses.md")
_PAUSE_S = 3.0
_COLOURS = 64  # a palette takes a quarter of the size: the picture is kept with the page
_MEL, _TILE = MelConfig(), TileConfig()
_TILE_SAMPLES = _TILE.frames * _MEL.hop_samples


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


@dataclass(frozen=True)
class Scene:
    """Clips as recorded, or with ``noise`` at ``snr_db`` below the speech; ``dialogue`` adds long pauses."""

    name: str
    noise: str = ""
    snr_db: float = math.inf
    dialogue: bool = False


SCENES = (
    Scene("as recorded"),
    *(
        Scene(f"{noise} noise, {snr_db} dB", noise, snr_db)
        for noise in ("white", "pink", "babble")
        for snr_db in (20, 10)
    ),
    Scene("dialogue, pink noise, 40 dB", "pink", 40, dialogue=True),
    Scene("dialogue, pink noise, 20 dB", "pink", 20, dialogue=True),
    Scene("dialogue, babble, 20 dB", "babble", 20, dialogue=True),
)


@dataclass(frozen=True)
class Heard:
    """One recording decoded without and with its pauses replaced, both of the recording's length.

    ``is_pause`` is ``[tiles]``; the bytes of the packets are listed by first frame.
    """

    is_pause: npt.NDArray[np.bool_]
    sent_bytes: dict[int, int]
    all_bytes: dict[int, int]
    plain: FloatArray
    replaced: FloatArray


def pink(samples: int, random: np.random.Generator) -> FloatArray:
    """Noise of equal power in each octave, with a standard deviation of 1: ``[samples]``."""
    spectrum = np.fft.rfft(random.normal(size=samples))
    spectrum[1:] /= np.sqrt(np.arange(1, spectrum.size))
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, samples)
    return np.asarray(noise / noise.std(), np.float32)


def babble(samples: int, voices: Sequence[FloatArray], random: np.random.Generator) -> FloatArray:
    """Eight simultaneous voices of equal loudness, with a standard deviation of 1: ``[samples]``."""
    chosen = random.choice(len(voices), 8, replace=len(voices) < 8)
    parts = [np.resize(np.roll(voices[at], random.integers(voices[at].size)), samples) for at in chosen]
    noise = sum(part / (part.std() + 1e-9) for part in parts)
    return np.asarray(noise / np.std(noise), np.float32)


def perform(scene: Scene, speech: FloatArray, voices: Sequence[FloatArray], seed: int) -> tuple[FloatArray, FloatArray]:
    """Return the speech alone and the microphone's signal, both ``[samples]``."""
    random = np.random.default_rng(seed)
    if scene.dialogue:
        rest = np.zeros(round(_PAUSE_S * RATE_HZ), np.float32)
        speech = np.concatenate([speech[: speech.size // 2], rest, speech[speech.size // 2 :], rest])
    if not scene.noise:
        return speech, speech
    noise: FloatArray | DoubleArray
    match scene.noise:
        case "white":
            noise = random.normal(size=speech.size)
        case "pink":
            noise = pink(speech.size, random)
        case _:
            noise = babble(speech.size, voices, random)
    gain = np.sqrt(np.mean(speech[speech != 0] ** 2)) * 10 ** (-scene.snr_db / 20)
    return speech, (speech + gain * noise).astype(np.float32)


def transmit(microphone: FloatArray, vocoder: Vocoder) -> Heard:
    """Send a recording once tile by tile and once with its pauses as comfort noise."""
    plain, all_bytes = streamed(microphone, vocoder, dtx=False)
    replaced, sent_bytes = streamed(microphone, vocoder, dtx=True)
    is_pause = np.array([sent_bytes.get(first, NOISE_LEVELS) == NOISE_LEVELS for first in sorted(all_bytes)])
    return Heard(is_pause, sent_bytes, all_bytes, plain, replaced)


def streamed(microphone: FloatArray, vocoder: Vocoder, dtx: bool) -> tuple[FloatArray, dict[int, int]]:
    """Send a recording; return the decoded sound ``[samples]``, and the bytes of each packet by its first frame."""
    encoder = Encoder(_MEL, _TILE, EncoderConfig(dtx=dtx))
    decoder = Decoder(Hello(_MEL, _TILE, encoder.template, "pauses", live=False), open_stream(vocoder))
    heard: list[FloatArray] = []
    sizes: dict[int, int] = {}

    def speak() -> None:
        while (frames := decoder.next_frames(0.0)) is not None:
            heard.append(decoder.speak(frames).samples)

    for packet in [*encoder.push(microphone), *encoder.flush()]:
        assert not isinstance(packet, Bundle)  # no copies were requested
        sizes[packet.first_frame] = packet.payload_bytes
        decoder.push(packet)
        speak()
    decoder.end(encoder.bye())
    speak()
    heard.append(decoder.flush().samples)
    return np.concatenate(heard), sizes


def level_errors_db(microphone: FloatArray, heard: Heard) -> list[tuple[FloatArray, FloatArray]]:
    """Return for each pause of half a second its level above the original's in each group of bands.

    Two arrays ``[NOISE_LEVELS]`` in dB: with the pause replaced, and decoded from tiles. Inaudible groups are NaN.
    """
    original, plain, replaced = (_groups(log_mel(sound, _MEL)) for sound in (microphone, heard.plain, heard.replaced))
    errors = []
    for first, last in _runs(heard.is_pause):
        inside = slice(first * _TILE.frames + 4, last * _TILE.frames - 4)  # windows within the pause
        if (last - first) * _TILE.frames * _MEL.frame_s < 0.5:
            continue
        level = original[:, inside].mean(axis=1)
        unheard = np.where(level > INAUDIBLE_LOG10, 0.0, np.nan)
        one, other = (20 * (sound[:, inside].mean(axis=1) - level) + unheard for sound in (replaced, plain))
        errors.append((one, other))
    return errors


def _groups(frames: FloatArray) -> FloatArray:
    return np.asarray(frames.reshape(NOISE_LEVELS, -1, frames.shape[1]).mean(axis=1), np.float32)


def _runs(is_pause: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield the first tile of each pause and the first tile after it."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_pause.astype(int), [0]])))
    return ((int(first), int(end)) for first, end in edges.reshape(-1, 2))


def measure_pauses(scene: Scene, clips: Sequence[FloatArray], vocoder: Vocoder) -> list[str]:
    """Return the scene's row of the table."""
    scores, losses, rates, errors = [], [], [], []
    for seed, clip in enumerate(clips):
        speech, microphone = perform(scene, clip, [*clips[:seed], *clips[seed + 1 :]], seed)
        heard = transmit(microphone, vocoder)
        inside = np.repeat(heard.is_pause, _TILE_SAMPLES)[: speech.size]
        losses.append(float(np.sum(speech[inside] ** 2.0) / np.sum(speech**2.0)))
        pause_bytes = sum(size for size in heard.sent_bytes.values() if size == NOISE_LEVELS)
        totals = (sum(heard.all_bytes.values()), sum(heard.sent_bytes.values()), pause_bytes)
        rates.append([*totals, heard.is_pause.sum(), heard.is_pause.size])
        before = [score(speech, heard.plain) for score in (stoi, pesq_wb)]
        after = [score(speech, heard.replaced) for score in (stoi, pesq_wb)] if inside.any() else before
        scores.append([before[0], after[0], before[1], after[1]])
        errors += level_errors_db(microphone, heard)
    plain_stoi, stoi_, plain_pesq, pesq_ = np.nanmean(scores, axis=0)
    worst = np.nanmax(np.array(scores)[:, 0] - np.array(scores)[:, 1])
    all_bytes, sent_bytes, pause_bytes, pause_tiles, tiles = np.sum(rates, axis=0)
    kbps = 8e-3 * RATE_HZ / _TILE_SAMPLES
    return [
        scene.name,
        f"{100 * pause_tiles / tiles:.1f} %",
        "none" if not max(losses) else f"{10 * np.log10(np.mean(losses)):.0f} dB",
        f"{all_bytes / tiles * kbps:.2f}",
        f"{sent_bytes / tiles * kbps:.2f}",
        f"{pause_bytes / pause_tiles * kbps:.2f}" if pause_tiles else "",
        f"{plain_stoi:.3f}",
        f"{stoi_ - plain_stoi:+.4f}",
        f"{-worst:+.4f}",
        f"{plain_pesq:.2f}",
        f"{pesq_ - plain_pesq:+.2f}",
        *(_level_cell([pair[which] for pair in errors]) for which in (0, 1)),
    ]  # fmt: skip


def _level_cell(errors: Sequence[FloatArray]) -> str:
    if not errors:
        return ""
    by_group = np.nanmean(errors, axis=0)
    return f"{np.nanmean(errors):+.1f} ({np.nanmin(by_group):+.1f} to {np.nanmax(by_group):+.1f})"


_PAUSES_HEADER = (
    "scene", "pauses", "speech in them", "kbps without", "kbps with", "kbps in pauses", "STOI without", "change",
    "worst clip", "PESQ without", "change", "level in pauses, dB", "without",
)  # fmt: skip


# Rules for gaps: up to that many lost tiles are interpolated when the next one arrives, longer gaps fade into noise.
_RULES = {"fade into noise": 0, "of up to 2 tiles interpolated": 2, "of up to 4": 4, "all": 1000}
_LOSS = 0.05
_BURST_TILES = 3
_LOSS_HEADER = ("loss", "gaps", "tiles lost", "STOI", "worst clip", "PESQ")


def lost_tiles(tiles: int, mean_burst_tiles: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which tiles are lost ``[tiles]``: 5 % of them, in bursts of that mean length (Gilbert 1960)."""
    random = np.random.default_rng(seed)
    if mean_burst_tiles == 1:
        return random.random(tiles) < _LOSS
    lost = np.zeros(tiles, bool)
    is_bad = False
    for at in range(tiles):
        share = 1 - 1 / mean_burst_tiles if is_bad else _LOSS / (1 - _LOSS) / mean_burst_tiles
        lost[at] = is_bad = random.random() < share
    return lost


def through_avif(samples: FloatArray) -> list[FloatArray]:
    """Return the decoded tiles of a recording, each ``[n_mels, tile_frames]``."""
    frames = log_mel(samples, _MEL)
    tiles = (frames[:, at : at + _TILE.frames] for at in range(0, frames.shape[1] - _TILE.frames + 1, _TILE.frames))
    stills = (encode_still(to_pixels(tile, _TILE), EncoderConfig()) for tile in tiles)
    return [from_pixels(decode_still(still, _TILE.frames, _MEL.n_mels), _TILE) for still in stills]


def fill(tiles: Sequence[FloatArray], lost: npt.NDArray[np.bool_], interpolated_tiles: int) -> FloatArray:
    """Return the frames ``[n_mels, frames]`` with the lost tiles concealed."""
    tracker, source = FloorTracker(_MEL), NoiseSource(_MEL)
    heard: list[FloatArray] = []
    before = tracker.floor
    for is_lost, numbers in groupby(range(len(tiles)), lambda at: bool(lost[at])):
        run = list(numbers)
        frames, after = len(run) * _TILE.frames, run[-1] + 1
        if not is_lost:
            heard += (tiles[at] for at in run)
            tracker.push(np.concatenate(heard[-len(run) :], axis=1))
            before = heard[-1][:, -1]
        elif after < len(tiles) and len(run) <= interpolated_tiles:
            heard.append(interpolate(before, tiles[after][:, 0], frames))
        else:
            noise = source.frames(tracker.floor, frames)
            heard.append(over_noise(decay(before, tracker.floor, frames, _MEL.frame_s), tracker.floor, noise))
    return np.concatenate(heard, axis=1)


def measure_losses(clips: Sequence[FloatArray], vocoder: Vocoder) -> Iterator[list[str]]:
    """Yield the rows of the table of losses."""
    pictures = [through_avif(clip) for clip in clips]
    ends = np.cumsum([len(tiles) for tiles in pictures])
    patterns = {"none": np.zeros(ends[-1], bool)}
    patterns |= {
        name: next(lost for seed in count() if abs((lost := lost_tiles(ends[-1], burst, seed)).mean() - _LOSS) < 0.002)
        for name, burst in (("at random", 1), ("bursts, 3 tiles on average", _BURST_TILES))
    }
    for loss, pattern in patterns.items():
        lost_of_clips = np.split(pattern, ends[:-1])
        for rule, interpolated_tiles in _RULES.items():
            scores = []
            for clip, tiles, holes in zip(clips, pictures, lost_of_clips, strict=True):
                stream = open_stream(vocoder)
                sound = np.concatenate([stream.push(fill(tiles, holes, interpolated_tiles)), stream.flush()])
                scores.append([score(clip[: sound.size], sound[: clip.size]) for score in (stoi, pesq_wb)])
            (mean_stoi, mean_pesq), worst = np.nanmean(scores, axis=0), np.nanmin(scores, axis=0)[0]
            share = f"{100 * pattern.mean():.1f} %"
            yield [loss, rule, share, f"{mean_stoi:.3f}", f"{worst:.3f}", f"{mean_pesq:.2f}"]
            if loss == "none":
                break


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
        for first, last in _runs(heard.is_pause):
            panel.axvspan(first * _TILE_SAMPLES / RATE_HZ, last * _TILE_SAMPLES / RATE_HZ, 0.95, 1, color="white", lw=0)
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
        pauses=table(_PAUSES_HEADER, _told(measure_pauses(scene, clips, vocoder) for scene in SCENES)),
        losses=table(_LOSS_HEADER, _told(measure_losses(clips, vocoder))),
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
