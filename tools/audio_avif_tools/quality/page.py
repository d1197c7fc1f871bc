"""The quality bench's page: means over clips as tables, pictures, three examples, and what each score misses."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from audio_avif.edge.sound_files import WavWriter
from audio_avif.errors import FileError
from audio_avif.metrics import SCORES
from audio_avif.types import FloatArray
from audio_avif_tools.quality.jobs import Clip, ClipChoice, sound_of
from audio_avif_tools.quality.means import Mean, Rate, _is_scored
from audio_avif_tools.quality.plots import plot_scores, plot_spectrograms
from audio_avif_tools.quality.rows import Row
from audio_avif_tools.shared.machine import machine
from audio_avif_tools.shared.pages import paragraph, replace_block, write_csv

PROGRAM = "audio-avif-quality"
LIMITS_KBPS = (3.2, 6.0, 9.2)
WIRE_LIMIT_KBPS = 16.0
_EXAMPLES_KBPS = 6.0
_SLACK = 1.01  # the last packet of a clip reaches beyond its end
_WIRE = "-wire"
_PACKAGES = ("pesq", "pystoi", "visqol-python", "speechmos", "ai-edge-litert")

_WITHIN = "Each system at its highest rate within the limit; a clip's last packet may exceed it by 1 %."
_RATES = """\
*kbps* is what the packets hold, over the length of the clip: for a tile the AV1 frame without the
container and headers that all tiles share, for other codecs their packets without a file format.
*wire kbps* sends each packet as one message of this project's transport: a 5-byte header for a
tile, then the WebSocket frame, TCP with timestamps and IPv4, 58 or 60 bytes. Other codecs have a
packet every 20 ms unless their name says more (Codec2 below 2.4 kbps: 40 ms); RTP would cost less.

*Opus* chooses its bandwidth; *Opus wideband* is held at 8 kHz, and *LACE* and *NoLACE* are networks
of libopus that enhance what it decodes.

*codec ms* is the delay that no faster machine or network shortens: tile, analysis window and
vocoder (*vocoder ms*), or packet, lookahead and decoder. It is removed before scoring."""


def best_within(means: Sequence[Mean], limit_kbps: float, rate: Rate = "payload_kbps") -> list[Mean]:
    """Of each system that sends something the setting of the highest rate that keeps to the limit."""
    best: dict[str, Mean] = {}
    for mean in means:
        if 0 < mean.kbps(rate) <= limit_kbps * _SLACK:
            name = mean.system.name
            best[name] = max(best.get(name, mean), mean, key=lambda each: each.kbps(rate))
    return list(best.values())


def _one_of_each(means: Sequence[Mean]) -> list[Mean]:
    """The first of the tile widths of a vocoder, or packet lengths of a codec, which differ little by eye and ear."""
    first: dict[str, Mean] = {}
    for mean in means:
        first.setdefault(mean.system.name.partition(",")[0], mean)
    return list(first.values())


@dataclass(frozen=True)
class Example:
    """A clip to look at and listen to: ``sounds`` by what made them, the original first, and their mean first score."""

    clip: Clip
    sounds: dict[str, FloatArray]
    level: float


def choose_examples(choice: ClipChoice, rows: Sequence[Row], means: Sequence[Mean]) -> Iterator[Example]:
    """The worst, middling and best clip by the first score, each through one system of each kind at one rate."""
    shown = _one_of_each(best_within(means, _EXAMPLES_KBPS))
    names = {(mean.system.name, mean.system.setting) for mean in shown}
    key = next((key for key in SCORES if any(key in mean.scores for mean in means)), None)
    levels: dict[str, list[float]] = {}
    for row in rows:
        if (row.system, row.setting) in names and key is not None and _is_scored(row, key):
            levels.setdefault(row.clip, []).append(row.scores[key])
    scored = [clip for clip in choice.clips if clip.name in levels]
    ranked = sorted(scored, key=lambda clip: float(np.mean(levels[clip.name])))
    for place in sorted({0, len(ranked) // 2, len(ranked) - 1} if ranked else ()):
        clip = ranked[place]
        sound = sound_of(clip)
        sounds = {"original": sound}
        for mean in shown:
            sounds[_label(mean)] = mean.system.code(sound).samples
        yield Example(clip, sounds, float(np.mean(levels[clip.name])))


def _example(number: int) -> str:
    return f"-example-{number}"


def _label(mean: Mean) -> str:
    return f"{mean.system.name}, {mean.system.setting}" + (
        "" if mean.system.setting.endswith("kbps") else f", {mean.payload_kbps:.1f} kbps"
    )


def write_sounds(examples: Sequence[Example], folder: Path) -> None:
    """Write each example's sounds as WAV files. Raises FileError."""
    for number, example in enumerate(examples, 1):
        target = folder / str(number)
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"{target} cannot be written: {error.strerror or error}") from error
        for order, (name, samples) in enumerate(example.sounds.items()):
            with WavWriter(target / f"{order} {name}.wav".replace(", ", " ").replace(" ", "-")) as wav:
                wav.write(samples)


@dataclass(frozen=True)
class Report:
    """All that the page tells."""

    command: str
    choice: ClipChoice
    means: Sequence[Mean]
    examples: Sequence[Example]
    left_out: Sequence[str]

    def write(self, pages: Sequence[Path], has_pictures: bool) -> None:
        """Write the page in each of these places, and its pictures into ``images/`` beside it. Raises FileError."""
        if has_pictures:
            self._draw(pages[0])
        for page in pages:
            replace_block(page, PROGRAM, "\n".join(self._lines(page, has_pictures)), "Quality against rate")
            write_csv(page.with_suffix(".csv"), self._head(), map(self._cells, self.means))
            try:
                if has_pictures and page.resolve() != pages[0].resolve():
                    self._copy_pictures(pages[0], page)
            except OSError as error:
                raise FileError(f"the pictures of {page} cannot be written: {error.strerror or error}") from error

    def _draw(self, page: Path) -> None:
        plot_scores(self.means, page.parent / self._picture(page), "payload_kbps")
        plot_scores(self.means, page.parent / self._picture(page, _WIRE), "wire_kbps")
        for number, example in enumerate(self.examples, 1):
            plot_spectrograms(example.sounds, page.parent / self._picture(page, _example(number)))

    def _copy_pictures(self, drawn: Path, page: Path) -> None:
        (page.parent / "images").mkdir(exist_ok=True)
        for suffix in ("", _WIRE, *(_example(number) for number in range(1, len(self.examples) + 1))):
            shutil.copyfile(drawn.parent / self._picture(drawn, suffix), page.parent / self._picture(page, suffix))

    @staticmethod
    def _picture(page: Path, suffix: str = "") -> str:
        return f"images/{page.stem}{suffix}.png"

    def _lines(self, page: Path, has_pictures: bool) -> Iterator[str]:
        today = time.strftime("%Y-%m-%d", time.gmtime())
        yield from (f"Measured on {today} by", "", f"    {self.command}", "")
        parts = dict.fromkeys([*machine().split(", "), *_versions(self.means)])
        yield paragraph(f"on {', '.join(parts)}. {self._clips()}")
        for reason in self.left_out:
            yield f"Left out: {reason}."
        if has_pictures:
            yield from ("", f"![Each score over the rate, a curve for each system]({self._picture(page)})")
        for limit in LIMITS_KBPS:
            if within := best_within(self.means, limit):
                yield from ("", f"## At most {limit:g} kbps", "")
                yield from (_WITHIN, "", *self._table(within))
        yield from self._on_the_wire(page, has_pictures)
        yield from ("", "## Limits of the scores", "")
        yield from (paragraph(f"- **{SCORES[key].title}** {SCORES[key].blind_spot}.") for key in self._keys())
        yield "- No score is a listener, and scores disagree: a codec is better where none of them got worse."
        yield from ("", "## Rates and delays", "", _RATES)
        yield from ("", "## All settings", "")
        yield f"[{page.stem}.csv]({page.stem}.csv) has all systems, rates and settings, and each vocoder on the mel"
        yield "without pictures (*clean mel*)."
        yield from self._gaps()
        yield from self._shown(page, has_pictures)

    def _on_the_wire(self, page: Path, has_pictures: bool) -> Iterator[str]:
        """The same by the rate that a thin link carries, and the systems that it cannot carry."""
        if not (within := best_within(self.means, WIRE_LIMIT_KBPS, "wire_kbps")):
            return
        yield from ("", f"## At most {WIRE_LIMIT_KBPS:g} kbps on the wire", "")
        if has_pictures:
            yield f"![Each score over the wire rate, a curve for each system]({self._picture(page, _WIRE)})"
            yield ""
        yield from self._table(within)
        carried = {mean.system.name for mean in within}
        names = dict.fromkeys(mean.system.name for mean in self.means if mean.wire_kbps)
        if above := [name for name in names if name not in carried]:
            yield from ("", paragraph(f"Above it at every setting: {'; '.join(above)}."))

    def _keys(self) -> list[str]:
        return [key for key in SCORES if any(key in mean.scores for mean in self.means)]

    def _clips(self) -> str:
        clips = self.choice.clips
        seconds = sum(clip.seconds for clip in clips)
        text = f"Means over {len(clips)} clip{'s' * (len(clips) > 1)}, {seconds:.0f} s"
        if cut := sum(clip.is_cut for clip in clips):
            text += f", {cut} of them only as far as they are scored"
        if skipped := self.choice.skipped:
            text += f"; {len(skipped)} more could not be scored: {'; '.join(skipped)}"
        return f"{text}."

    def _table(self, means: Sequence[Mean]) -> Iterator[str]:
        head = self._head()
        yield f"| {' | '.join(head)} |"
        yield "|---|---|" + "---:|" * (len(head) - 2)
        yield from (f"| {' | '.join(self._cells(mean))} |" for mean in means)

    def _head(self) -> list[str]:
        titles = [SCORES[key].title for key in self._keys()]
        return ["system", "setting", "kbps", "wire kbps", "vocoder ms", "codec ms", *titles]

    def _cells(self, mean: Mean) -> list[str]:
        is_sent = mean.payload_kbps > 0
        rates = (f"{mean.payload_kbps:.2f}", f"{mean.wire_kbps:.1f}") if is_sent else ("-", "-")
        vocoder_ms = mean.system.vocoder_ms
        delays = ("" if vocoder_ms is None else f"{vocoder_ms:.0f}", f"{mean.system.codec_ms:.0f}")
        keys = self._keys()
        scores = (f"{mean.scores[key]:.{SCORES[key].decimals}f}" if key in mean.scores else "" for key in keys)
        return [mean.system.name, mean.system.setting, *rates, *delays, *scores]

    def _gaps(self) -> Iterator[str]:
        """Where a mean is not over all clips: a score without an answer must not flatter silently."""
        clips = len(self.choice.clips)
        for mean in self.means:
            short = [f"{SCORES[key].title} {mean.counts[key]}" for key in self._keys() if mean.counts[key] < clips]
            if short:
                yield from (
                    "",
                    f"{mean.system.name}, {mean.system.setting}: fewer clips have a score: {', '.join(short)}.",
                )

    def _shown(self, page: Path, has_pictures: bool) -> Iterator[str]:
        if not self.examples or not has_pictures:
            return
        first = SCORES[self._keys()[0]].title
        yield from ("", "## Examples", "")
        yield f"The worst, the median and the best clip by {first}, each system at up to {_EXAMPLES_KBPS:g} kbps;"
        yield "the first four seconds."
        for number, example in enumerate(self.examples, 1):
            yield from ("", f"`{example.clip.name}`: {first} {example.level:.2f}, mean of these systems", "")
            yield f"![Spectrograms: original and each system]({self._picture(page, _example(number))})"


def _versions(means: Sequence[Mean]) -> Iterator[str]:
    """What besides the machine decides the figures."""
    for package in _PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    for mean in means:
        yield from mean.system.made_by.split(", ")


def summary(means: Sequence[Mean]) -> Mapping[str, list[str]]:
    """The means for a terminal: the heads and cells of its columns."""
    keys = [key for key in SCORES if any(key in mean.scores for mean in means)]
    table = {
        "system": [f"{mean.system.name}, {mean.system.setting}" for mean in means],
        "kbps": [f"{mean.payload_kbps:.2f}" if mean.payload_kbps else "-" for mean in means],
    }
    for key in keys:
        table[SCORES[key].title] = [
            f"{mean.scores[key]:.{SCORES[key].decimals}f}" if key in mean.scores else "" for mean in means
        ]
    return table
