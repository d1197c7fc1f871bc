"""Write the report of ``audio-avif``: the cost and the loss of each quality, as one HTML page and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from audio_avif.edge.sound_files import replacing
from audio_avif_tools.report.figures import Source, to_json
from audio_avif_tools.report.measurement import measure_all
from audio_avif_tools.report.page import write_page


def write_report(
    sources: Sequence[Source],
    output: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 1,
) -> None:
    """Measure all renditions and write ``report.html`` and ``report.json`` into the existing folder ``output``.

    ``progress`` is called with the number of steps done and of all steps. ``workers`` is the number of processes that
    may measure long recordings. Both files appear when they are complete.

    Raises FileError where a file cannot be read or written, ValueError without sources or renditions.
    """
    if not sources or not all(source.renditions for source in sources):
        raise ValueError("a report needs sources, each with renditions")
    steps = sum(1 + len(source.renditions) for source in sources)
    report = measure_all(sources, lambda done: progress(done, steps + len(sources)), workers)
    with replacing(output / "report.json") as table, replacing(output / "report.html") as page:
        table.write_text(json.dumps(to_json(report, output), indent=1) + "\n", encoding="utf-8")
        write_page(report, output, page, lambda done: progress(steps + done, steps + len(sources)))
