"""The rows of the bench page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One measurement, its result and its target."""

    what: str
    result: str
    target: str = ""
    is_met: bool | None = None

    def cells(self) -> str:
        """The row as Markdown."""
        verdict = "" if self.is_met is None else ("yes" if self.is_met else "**no**")
        return f"| {self.what} | {self.result} | {self.target} | {verdict} |"
