"""Which files a command's arguments mean, and what their outputs are called."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from audio_avif.edge.file_kinds import AVIF, AVIF_SUFFIX, kind_of_file
from audio_avif.errors import FileError

PICTURE_SUFFIX = AVIF_SUFFIX
# fmt: off
SOUND_SUFFIXES = {
    ".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".nist", ".oga", ".ogg", ".opus", ".rf64", ".snd", ".sph",
    ".voc", ".w64", ".wav",
}
# fmt: on
"""What is taken for sound in a folder; of a file that is named, libsndfile looks at the content."""
OTHER_PICTURES = {".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".jxl", ".png", ".tif", ".tiff", ".webp"}
"""What a picture of sound may be that another program has saved; of folders only AVIF pictures are taken."""
ARRAY_SUFFIX = ".npy"


@dataclass(frozen=True)
class Input:
    """A file to be worked on, and what its outputs are called: a path within their folder, without suffix."""

    path: Path
    name: Path


@dataclass(frozen=True)
class Inputs:
    """Files of one kind."""

    files: list[Input]
    are_pictures: bool
    come_from_a_folder: bool


def find_inputs(paths: Sequence[Path], output: Path | None) -> Inputs:
    """Find the files that are named or lie in folders that are, but for those in the output's.

    Raises FileError where there are none, or sounds and pictures together.
    """
    found: list[tuple[Path, Path]] = []
    for path in paths:
        if not os.path.isdir(path):
            found.append((path, Path(path.name)))
            continue
        if output is not None and _real(output) == _real(path):
            raise FileError(f"{path} cannot be read and written at once; name another folder with --output")
        prefix = Path(_real(path).name) if len(paths) > 1 else Path()
        inside = list(_files_in(path, output))
        if not inside:
            raise FileError(f"{path} holds no sound files and no AVIF pictures")
        found += [(file, prefix / file.relative_to(path)) for file in inside]
    found = list({_real(path): (path, relative) for path, relative in found}.values())
    kinds = {_is_picture(path) for path, _ in found}
    if len(kinds) > 1:
        raise FileError("there are sound files and pictures; name those of one kind, such as *.wav")
    for path, _ in found:
        if path.suffix.lower() == ARRAY_SUFFIX:
            raise FileError(f"{path} is an array of numbers; audio-avif invert makes sound of it")
        if path.suffix.lower() in OTHER_PICTURES and kind_of_file(path) == AVIF:
            raise FileError(f"{path} is {AVIF}; rename it so that it ends in {PICTURE_SUFFIX}")
    names = _output_names([relative for _, relative in found])
    files = [Input(path, name) for (path, _), name in zip(found, names, strict=True)]
    return Inputs(files, kinds == {True}, any(map(os.path.isdir, paths)))


def _real(path: Path) -> Path:
    """The path without links; unlike ``Path.resolve`` this raises nothing for links in a circle."""
    return Path(os.path.realpath(path))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in {PICTURE_SUFFIX, *OTHER_PICTURES}


def _files_in(folder: Path, output: Path | None) -> Iterator[Path]:
    """Sounds and pictures in a folder and those below it, but for hidden ones."""
    for path in sorted(folder.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        is_output = output is not None and _real(path).is_relative_to(_real(output))
        is_meant = path.suffix.lower() in {PICTURE_SUFFIX, *SOUND_SUFFIXES}
        if is_meant and not is_hidden and not is_output and os.path.isfile(path):
            yield path


def _output_names(relatives: Sequence[Path]) -> list[Path]:
    """Names without suffix; files that differ in nothing else get it back as ``-flac``, others a number."""
    taken: set[str] = set()
    names = []
    for relative in relatives:
        stem = relative.with_suffix("")
        with_suffix = stem.with_name(f"{stem.name}-{relative.suffix[1:].lower()}")
        numbered = (stem.with_name(f"{stem.name}-{number}") for number in count(2))
        name = next(name for name in chain([stem, with_suffix], numbered) if str(name).casefold() not in taken)
        taken.add(str(name).casefold())
        names.append(name)
    return names


@contextmanager
def folders(paths: Iterable[Path]) -> Iterator[None]:
    """Make folders and those above them; those into which nothing was put are removed again.

    Raises FileError where one cannot be made.
    """
    made: list[Path] = []
    try:
        for path in sorted(set(paths)):
            missing = [folder for folder in (path, *path.parents) if not os.path.exists(folder)]
            try:
                for folder in reversed(missing):
                    folder.mkdir()
                    made.append(folder)
                path.mkdir(exist_ok=True)
            except OSError as error:
                raise FileError(f"the folder {path} cannot be made: {error.strerror or error}") from error
        yield
    finally:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
