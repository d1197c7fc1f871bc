"""Draw losses and scores against trained time: ``python -m audio_avif_onnx.train.curve RUN... --out curve.png``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_avif.edge.console import run
from audio_avif.errors import FileError
from audio_avif.metrics import SCORES
from audio_avif.optional import require
from audio_avif_onnx.train.journal import LOG, read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Entry = dict[str, Any]
Run = tuple[str, float, list[Entry]]
"""Name of a run, minutes trained before it, and its log."""


def read_runs(folders: list[Path], *, chained: bool) -> list[Run]:
    """Read the logs of runs; in a chain each begins at the previous one's end. Raises FileError for a missing log."""
    runs: list[Run] = []
    before_minutes = 0.0
    for folder in folders:
        path = folder / LOG
        try:
            entries = list(read_log(path))
        except OSError as error:
            raise FileError(f"{path} cannot be read: {error.strerror}") from error
        if not entries:
            raise FileError(f"{path} has no entries yet; train longer")
        runs.append((folder.name, before_minutes, entries))
        before_minutes += entries[-1]["trained_s"] / 60 if chained else 0.0
    return runs


def draw(runs: list[Run], target: Path) -> None:
    """Draw a panel of losses and one for each score. Raises FileError where the picture cannot be written."""
    from matplotlib.figure import Figure

    keys = [key for key in SCORES if any(_conditions(entries, key) for *_, entries in runs)]
    figure = Figure(figsize=(8, 2.4 * (1 + len(keys))), layout="constrained")
    panels = figure.subplots(1 + len(keys), 1, sharex=True, squeeze=False)[:, 0]
    for name, before_minutes, entries in runs:
        _line(panels[0], before_minutes, entries, "loss", name)
    panels[0].set_ylabel("loss")
    for panel, key in zip(panels[1:], keys, strict=True):
        panel.set_ylabel(SCORES[key].title)
        for number, (name, before_minutes, entries) in enumerate(runs):
            for shade, condition in enumerate(_conditions(entries, key)):
                label = f"{name}, {_label(entries, condition)}" if len(runs) > 1 else _label(entries, condition)
                _line(
                    panel,
                    before_minutes,
                    entries,
                    f"{condition}/{key}",
                    label,
                    f"C{shade}",
                    ("-", "--", ":")[number % 3],
                )
    for panel in panels:
        panel.grid(alpha=0.3)
        if panel.lines:
            panel.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    panels[-1].set_xlabel("minutes trained")
    try:
        figure.savefig(target)
    except (OSError, ValueError) as error:  # matplotlib raises ValueError for an ending it does not know
        raise FileError(f"{target} cannot be written: {error}") from error


def _line(
    panel: Axes, before_minutes: float, entries: list[Entry], key: str, label: str, color: str = "", style: str = "-"
) -> None:
    points = [(before_minutes + entry["trained_s"] / 60, entry[key]) for entry in entries if key in entry]
    if points:
        marker = "." if len(points) < 50 else ""
        panel.plot(*zip(*points, strict=True), marker=marker, linestyle=style, color=color or None, label=label)


def _conditions(entries: list[Entry], key: str) -> list[str]:
    return sorted({name.split("/")[0] for entry in entries for name in entry if name.endswith(f"/{key}")})


def _label(entries: list[Entry], condition: str) -> str:
    rate = next((entry[f"{condition}/kbps"] for entry in entries if entry.get(f"{condition}/kbps")), None)
    return condition if rate is None else f"{rate:.1f} kbps"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 1 after an error message."""
    parser = argparse.ArgumentParser(description="Draw losses and scores of training runs against trained time.")
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="--out folder of a run")
    parser.add_argument("--out", type=Path, required=True, help="picture to write (.png, .svg or .pdf)")
    parser.add_argument("--chain", action="store_true", help="each run began with the weights of the previous one")
    args = parser.parse_args(arguments)

    def body() -> None:
        require("the picture of a run", ["matplotlib"], "train")
        draw(read_runs(args.runs, chained=args.chain), args.out)

    return run("curve", body)


if __name__ == "__main__":
    sys.exit(main())
