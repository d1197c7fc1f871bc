"""Where vocoder models are kept, and how they are found by name."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

MODEL_SUFFIX = ".onnx"
_FOLDER_VARIABLE = "AUDIO_AVIF_MODELS"


def model_folder() -> Path:
    """Return the user's model folder, which need not exist yet; ``AUDIO_AVIF_MODELS`` names another one."""
    override = os.environ.get(_FOLDER_VARIABLE)
    return (
        Path(override).expanduser()
        if override
        else platformdirs.user_data_path("audio-avif", appauthor=False) / "models"
    )


def model_path(name: str) -> Path | None:
    """Return the kept model of that name, or None where there is none."""
    path = model_folder() / f"{name}{MODEL_SUFFIX}"
    return path if Path(name).name == name and path.is_file() else None
