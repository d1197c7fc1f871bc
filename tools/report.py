"""The report of ``audio-avif``: what each quality costs and what it loses, as one HTML page and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Rendition:
    """A recording at one quality: its AVIF ``picture``, the 16 kHz WAV ``sound`` made of it, how long both took."""

    quality: int
    picture: Path
    sound: Path
    encode_s: float
    decode_s: float


@dataclass(frozen=True)
class Source:
    """A sound file of any format and what became of it."""

    path: Path
    renditions: list[Rendition]


def write_report(
    sources: Sequence[Source],
    output: Path,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> None:
    """Measure all renditions; write ``report.html`` and ``report.json`` into the folder ``output``.

    ``progress`` is told how many steps are done, and of how many; ``workers`` is how many processes may measure long
    recordings, by default one for each core. Both files appear when they are complete.

    Raises FileError where a file cannot be read or written, ValueError without sources or renditions.
    """
    import json

    from audio_avif.errors import FileError
    from audio_avif.sound_files import replacing
    from audio_avif.tools.report_figures import to_json
    from audio_avif.tools.report_measure import measure_all
    from audio_avif.tools.report_page import write_page

    if not sources or not all(source.renditions for source in sources):
        raise ValueError("a report needs sources, each with renditions")
    tell = progress or (lambda done, total: None)
    steps = sum(1 + len(source.renditions) for source in sources)
    report = measure_all(sources, lambda done: tell(done, steps + len(sources)), workers)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"the folder {output} cannot be made: {error.strerror or error}") from error
    with replacing(output / "report.json") as table, replacing(output / "report.html") as page:
        table.write_text(json.dumps(to_json(report, output), indent=1) + "\n", encoding="utf-8")
        write_page(report, output, page, lambda done: tell(steps + done, steps + len(sources)))
