"""Where vocoder models lie, and how they are found by name."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import platformdirs

from audio_avif.errors import ModelError
from audio_avif.vocoders.griffin_lim import GriffinLim
from audio_avif.vocoders.mel_consistency import ConsistentVocoder
from audio_avif.vocoders.protocol import Vocoder

DEFAULT = "embedded"
HIGH = "embedded-high"
"""The default of files: the default of streams, corrected with lookahead."""
DEVICES = ("auto", "cpu", "cuda")
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


def _folders() -> list[Path]:
    """Where named models lie: the user's own before those of the package."""
    return [model_folder(), Path(str(resources.files("audio_avif_onnx.models")))]


def model_path(name: str) -> Path | None:
    """Return the model of that name, or None where there is none."""
    if Path(name).name != name:
        return None
    paths = [folder / f"{name}{MODEL_SUFFIX}" for folder in _folders()]
    return next((path for path in paths if path.is_file()), None)


def load_vocoder(device: str | None = None, name: str = "default") -> Vocoder:
    """Load a vocoder: ``default``, ``embedded-high``, ``griffin-lim``, an exported model by name, or an ``.onnx`` file.

    ``device`` is ``cpu``, ``cuda``, or ``auto`` (as None is) for an NVIDIA device where there is one. Raises ModelError
    where there is no such vocoder, its file is damaged, or it cannot run on the device; ValueError for another device.
    """
    if device not in (None, *DEVICES):
        raise ValueError(f"a vocoder runs on {', '.join(DEVICES)}, not {device!r}; give its name as name={device!r}")
    if name == GriffinLim.name:
        return GriffinLim()
    if name == "default":
        name = DEFAULT
    if name == HIGH and model_path(name) is None:
        return ConsistentVocoder(load_vocoder(device, DEFAULT), name)
    path = Path(name) if name.endswith(MODEL_SUFFIX) else model_path(name)
    if path is None:
        models = sorted({HIGH, *(model.stem for folder in _folders() for model in folder.glob(f"*{MODEL_SUFFIX}"))})
        raise ModelError(
            f"unknown vocoder {name!r}; available: {', '.join([GriffinLim.name, *models])}; "
            f"audio-avif-export {name} may add it, and a path that ends in {MODEL_SUFFIX} is loaded as it is"
        )
    from audio_avif.vocoders.onnx_model import OnnxVocoder

    return OnnxVocoder(path, provider=device or "auto")
