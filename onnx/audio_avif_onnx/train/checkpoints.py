"""Write and read training checkpoints: written whole or not at all, resumed exactly."""

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
    """Write a checkpoint. Raises FileError where the disk is full or read-only; the earlier checkpoint stays."""
    buffer = io.BytesIO()  # torch writing to the disk itself tells a full one by an error without a reason
    torch.save(content, buffer)
    try:
        with whole_file(path) as out:
            out.write(buffer.getbuffer())
    except OSError as error:
        kept = "; the earlier checkpoint is unchanged" if path.exists() else ""
        raise FileError(f"the checkpoint {path} cannot be written: {error.strerror}{kept}") from error


def open_checkpoint(path: Path, remedy: str) -> dict[str, Any]:
    """Read a checkpoint into main memory. Raises ModelError, which ends with ``remedy``, for an unusable file."""
    if not path.is_file():
        raise ModelError(f"there is no checkpoint {path}; {remedy}")
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums it writes
            damaged = archive.testzip()
        if damaged is None:
            return read_checkpoint(path, torch.device("cpu"))
    except (ModelError, zipfile.BadZipFile, OSError) as error:
        raise ModelError(f"{path} is not a checkpoint of this program, or is damaged; {remedy}") from error
    raise ModelError(f"{path} is damaged; {remedy}")


def check_architecture(found: dict[str, Any], wanted: dict[str, Any], path: Path, remedy: str) -> None:
    """Raise ModelError where a checkpoint holds another architecture than the wanted one."""
    if found != wanted:
        differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        raise ModelError(f"{path} holds another architecture ({', '.join(differing)} differ); {remedy}")
