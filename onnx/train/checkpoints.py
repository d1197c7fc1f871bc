"""Checkpoints that resume exactly: written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from audio_avif.errors import FileError, ModelError


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint beside its place and move it there. Raises FileError where the disk is full or read-only."""
    partial = path.with_suffix(".part")
    try:
        torch.save(content, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        partial.unlink(missing_ok=True)
        raise FileError(f"the checkpoint {path} cannot be written: {error}; the one before it is untouched") from error


def check_architecture(found: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    """Raises ModelError where a checkpoint was made by another architecture than the one asked for."""
    if found != wanted:
        differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        raise ModelError(f"{path} holds another architecture than asked for: {', '.join(differing)} differ")
