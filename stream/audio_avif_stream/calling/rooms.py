"""The two rooms of a call."""

from __future__ import annotations

DEFAULT_NAME = "call"


def rooms_of(name: str) -> tuple[str, str]:
    """The rooms of a call's two directions; each end sends in one and listens to the other."""
    return f"{name}.1", f"{name}.2"
