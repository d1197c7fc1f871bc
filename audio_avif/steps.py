"""Whole recordings as pictures: from a sound file to log-mel to an image and back.

Here log-mel is ``[frames, n_mels]``, as vocoder models outside this package have it; the rest of the package has
``[n_mels, frames]``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_avif  # noqa: F401  (lets Pillow save and open AVIF)
from PIL import Image, ImageOps

from audio_avif.config import MelConfig, TileConfig
from audio_avif.edge.sound_files import read_audio
from audio_avif.errors import ModelError
from audio_avif.signal.features import log_mel
from audio_avif.signal.samples import as_samples
from audio_avif.still.tiles import from_pixels, to_pixels
from audio_avif.types import FloatArray
from audio_avif.vocoders.onnx_model import OnnxVocoder, has_cuda
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.registry import load_vocoder as load_vocoder

TARGET_SR = MelConfig().rate_hz


def get_device() -> str:
    """``"cuda"`` where ONNX Runtime finds an NVIDIA device, else ``"cpu"``."""
    return "cuda" if has_cuda() else "cpu"


def wav_to_logmel(sound: str | Path | npt.NDArray[Any]) -> FloatArray:
    """Log-mel ``[frames, 80] float32, log10 magnitude`` of a sound file, or of mono samples at ``TARGET_SR``.

    Samples are floats in -1..1 or integers of 8, 16 or 32 bits. Raises FileError where the file cannot be read.
    """
    samples = as_samples(sound) if isinstance(sound, np.ndarray) else read_audio(sound)
    return np.ascontiguousarray(log_mel(samples).T)


def logmel_to_image(logmel: FloatArray, min_val: float = -11.0, max_val: float = 4.0) -> Image.Image:
    """An 8-bit gray picture of ``[frames, n_mels]``: time to the right, low band at the bottom, the range as 0..255.

    Save it with ``image.save("speech.avif", "AVIF", quality=85)``.
    """
    return Image.fromarray(
        to_pixels(np.asarray(logmel, np.float32).T, TileConfig(log10_min=min_val, log10_max=max_val))
    )


def image_to_logmel(image: Image.Image, min_val: float = -11.0, max_val: float = 4.0) -> FloatArray:
    """The log-mel ``[frames, n_mels] float32`` that such a picture shows, turned as its metadata tells viewers to."""
    pixels = np.asarray(ImageOps.exif_transpose(image).convert("L"))
    return np.ascontiguousarray(from_pixels(pixels, TileConfig(log10_min=min_val, log10_max=max_val)).T)


def reconstruct_wav(logmel: FloatArray, vocoder: Vocoder, device: str | None = None) -> FloatArray:
    """Sound ``[frames * 256] float32`` at ``TARGET_SR`` from ``[frames, 80]`` log10 mel.

    The vocoder lives on the device it was loaded for; asking for another one raises ModelError, as does a log-mel whose
    bands are not the vocoder's.
    """
    if logmel.ndim != 2 or logmel.shape[1] != vocoder.mel.n_mels:
        raise ModelError(f"vocoder {vocoder.name} needs [frames, {vocoder.mel.n_mels}], not {list(logmel.shape)}")
    if device == "cuda" and isinstance(vocoder, OnnxVocoder) and not vocoder.is_on_cuda:
        raise ModelError(f"vocoder {vocoder.name} was loaded for the CPU; load it again for cuda")
    return vocoder.synthesize(np.ascontiguousarray(logmel.T, np.float32))
