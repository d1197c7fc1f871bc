"""Checkpoints that resume exactly: written whole or not at all, and refused in one sentence."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from audio_avif.errors import FileError, ModelError
from audio_avif_onnx.export.trained import read_checkpoint
from audio_avif_onnx.train.files import whole_file


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint. Raises FileError where the disk is full or read-only; the one before it stays."""
    buffer = io.BytesIO()  # torch writing to the disk itself tells a full one by an error without a reason
    torch.save(content, buffer)
    try:
        with whole_file(path) as out:
            out.write(buffer.getbuffer())
    except OSError as error:
        kept = "; the one before it is untouched" if path.exists() else ""
        raise FileError(f"the checkpoint {path} cannot be written: {error.strerror}{kept}") from error


def open_checkpoint(path: Path, remedy: str) -> dict[str, Any]:
    """Everything a checkpoint holds, in main memory. Raises ModelError, with a remedy, where there is none."""
    if not path.is_file():
        raise ModelError(f"there is no checkpoint {path}; {remedy}")
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums it writes
            damaged = archive.testzip()
        if damaged is None:
            return read_checkpoint(path, torch.device("cpu"))
    except (ModelError, zipfile.BadZipFile, OSError) as error:
        raise ModelError(f"{path} is no checkpoint of this program, or damaged; {remedy}") from error
    raise ModelError(f"{path} is damaged; {remedy}")


def check_architecture(found: dict[str, Any], wanted: dict[str, Any], path: Path, remedy: str) -> None:
    """Raises ModelError where a checkpoint was made by another architecture than the one asked for."""
    if found != wanted:
        differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        raise ModelError(f"{path} holds another architecture than asked for ({', '.join(differing)} differ); {remedy}")
