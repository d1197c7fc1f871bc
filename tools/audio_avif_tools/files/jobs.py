"""The jobs of ``audio-avif``: pictures with a report, one picture, or sound from pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from audio_avif.errors import AudioAvifError, FileError
from audio_avif.recording.layout import PictureInfo
from audio_avif.recording.picture_encoder import FileConfig, encode_cell
from audio_avif.types import AnyPixels
from audio_avif.vocoders.registry import load_vocoder
from audio_avif_tools.files.encoding import Encoded, encode_sound
from audio_avif_tools.files.names import Input, folders
from audio_avif_tools.report.figures import Rendition, Source
from audio_avif_tools.report.writer import write_report
from audio_avif_tools.shared.decoding import Decoded, decode_sound
from audio_avif_tools.shared.workers import Workers

_Result = TypeVar("_Result")
_Tell = Callable[[float], None]


@dataclass(frozen=True)
class Settings:
    """The settings of pictures: their qualities, and whether each recording has its own value range."""

    config: FileConfig
    qualities: list[int]
    fits_range: bool

    def require_encoder(self) -> None:
        """Check once that deep pictures can be encoded. Raises AudioAvifError where a package is missing."""
        black: AnyPixels = np.zeros((8, 8), np.uint16)
        encode_cell(black, self.config)


@dataclass(frozen=True)
class Decoding:
    """A picture and its output file; an existing file is kept unless the user has named it."""

    picture: Path
    sound: Path
    may_replace: bool


def report_on(files: Sequence[Input], output: Path, settings: Settings, vocoder_name: str, workers: int) -> None:
    """Encode and decode each file at each quality into the folder ``output``, and write the report there.

    Raises the error of the only file, or FileError that names the files which failed once the others are done.
    """
    vocoder = load_vocoder(device="cpu", name=vocoder_name)
    settings.require_encoder()
    _require_other_files(files, output, settings)
    steps = 1 + len(settings.qualities)

    def work(file: Input, threads: Workers, tell: _Tell) -> Source:
        def on_share(share: float) -> None:
            tell(share / steps)

        pictures = {quality: _beside(output, file, quality, ".avif") for quality in settings.qualities}
        encoded = encode_sound(file.path, pictures, settings.config, threads, settings.fits_range, on_share)
        renditions = []
        for quality, picture in pictures.items():
            sound = _beside(output, file, quality, ".wav")
            decoded = decode_sound(picture, sound, vocoder, threads, None, on_share)
            renditions.append(Rendition(quality, picture, sound, encoded.encode_s[quality], decoded.decode_s))
        return Source(file.path, renditions)

    with folders([output, *((output / file.name).parent for file in files)]):
        results = _do_all([(file.path, partial(work, file)) for file in files], workers)
        sources = [result for result in results if isinstance(result, Source)]
        if sources:
            _report(sources, output, workers)
            print(f"{output / 'report.html'}: {_count(len(sources), 'file')}, {_count(steps - 1, 'quality')} each")
    _require_all([file.path for file in files], results)


def _report(sources: Sequence[Source], output: Path, workers: int) -> None:
    with _progress() as progress:
        task = progress.add_task("measuring", total=None)

        def tell(done: float, total: float) -> None:
            progress.update(task, completed=done, total=total)

        write_report(sources, output, tell, workers)


def _beside(output: Path, file: Input, quality: int, suffix: str) -> Path:
    return output / f"{file.name}-q{quality}{suffix}"


def _require_other_files(files: Sequence[Input], output: Path, settings: Settings) -> None:
    """Check that no decoded sound would replace an input file. Raises FileError."""
    inputs = {os.path.realpath(file.path) for file in files}
    for file in files:
        for quality in settings.qualities:
            if os.path.realpath(sound := _beside(output, file, quality, ".wav")) in inputs:
                raise FileError(f"{sound} would be replaced by its own copy; name another folder with --output")


def encode_one(sound: Path, picture: Path, settings: Settings, workers: int) -> None:
    """Encode one file at one quality. Raises AudioAvifError."""
    settings.require_encoder()
    (quality,) = settings.qualities

    def work(threads: Workers, tell: _Tell) -> Encoded:
        return encode_sound(sound, {quality: picture}, settings.config, threads, settings.fits_range, tell)

    with folders([picture.parent]):
        results = _do_all([(sound, work)], workers)
    _require_all([sound], results)
    for encoded in results:
        assert isinstance(encoded, Encoded)
        kbytes = picture.stat().st_size / 1000
        print(f"{picture}: {encoded.seconds:.1f} s, {kbytes:.1f} kB, {8 * kbytes / encoded.seconds:.1f} kbps")


def decode_all(jobs: Sequence[Decoding], info: PictureInfo | None, vocoder_name: str, workers: int) -> None:
    """Decode pictures; ``info`` is for those without metadata.

    Raises the error of the only file, or FileError that names the files which failed once the others are done.
    """
    vocoder = load_vocoder(device="cpu", name=vocoder_name)

    def work(job: Decoding, threads: Workers, tell: _Tell) -> Decoded:
        if not job.may_replace and os.path.exists(job.sound):
            raise FileError(
                f"{job.picture} was not decoded: {job.sound} exists and may be the original recording; "
                "name the output with --output"
            )
        return decode_sound(job.picture, job.sound, vocoder, threads, info, tell)

    with folders([job.sound.parent for job in jobs]):
        results = _do_all([(job.picture, partial(work, job)) for job in jobs], workers)
    for job, result in zip(jobs, results, strict=True):
        if isinstance(result, Decoded):
            print(f"{job.sound}: {result.seconds:.1f} s")
    _require_all([job.picture for job in jobs], results)


def _do_all(
    jobs: Sequence[tuple[Path, Callable[[Workers, _Tell], _Result]]], workers: int
) -> list[_Result | AudioAvifError]:
    """Run the jobs in parallel with a progress bar; return their results, or the errors that ended them."""
    title = jobs[0][0].name if len(jobs) == 1 else _count(len(jobs), "file")
    with _progress() as progress, Workers(workers, len(jobs)) as threads:
        task = progress.add_task(escape(title), total=len(jobs))

        def run(path: Path, job: Callable[[Workers, _Tell], _Result]) -> _Result:
            left = 1.0

            def tell(share: float) -> None:
                nonlocal left
                share = min(share, left)
                left -= share
                progress.advance(task, share)

            try:
                with _named(path):
                    return job(threads, tell)
            finally:
                progress.advance(task, left)

        runs: list[Callable[[], _Result]] = [partial(run, path, job) for path, job in jobs]
        return threads.each(runs)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Add the file's name to errors that lack it."""
    try:
        yield
    except AudioAvifError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error


def _require_all(paths: Sequence[Path], results: Sequence[object]) -> None:
    errors = [result for result in results if isinstance(result, AudioAvifError)]
    if len(paths) == 1 and errors:
        raise errors[0]
    if errors:
        told = "".join(f"\n  {error}" for error in errors)
        raise FileError(f"{len(errors)} of {len(paths)} files failed:{told}")


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def _count(number: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number} {noun if number == 1 else plural}"
