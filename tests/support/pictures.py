"""Recordings and their pictures, for the tests of the file codec."""

from __future__ import annotations

import io
import json
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from audio_avif.config import MelConfig
from audio_avif.recording.codec import encode
from audio_avif.recording.layout import PictureInfo
from audio_avif.recording.picture_encoder import FileConfig
from audio_avif.recording.picture_reader import PictureReader
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from support.speech import speech_like
from support.stills import saved

RATE_HZ = 16_000
FAST = FileConfig(quality=60, speed=10)
EXACT = FileConfig(quality=100, speed=10)
STEP = 6.5 / 255


class Teller:
    """A vocoder that makes of each frame 256 samples of its loudness."""

    name = "teller"
    mel = MelConfig()

    def synthesize(self, log_mel: FloatArray) -> FloatArray:
        return np.repeat(log_mel.mean(axis=0), self.mel.hop_samples).astype(np.float32)


TELLER = Teller()


@lru_cache
def voice(seconds: float, channels: int = 1) -> FloatArray:
    """Speech-like samples ``[samples, channels]``, other ones in each channel."""
    return np.stack([speech_like(seconds, seed=seed) for seed in range(channels)], axis=1)


def read(picture: bytes, info: PictureInfo | None = None) -> FloatArray:
    """All frames of a picture ``[channels, n_mels, frames]``."""
    return np.concatenate(list(PictureReader(io.BytesIO(picture), info).log_mels()), axis=2)


def mels(samples: FloatArray) -> FloatArray:
    """What a picture of these samples should show, within its range."""
    return np.clip(np.stack([log_mel(channel) for channel in samples.T]), -5.5, 1.0)


@lru_cache
def eleven_seconds(channels: int) -> bytes:
    return encode(voice(11.3, channels), RATE_HZ, FAST)


def exif_of(text: str | None) -> Image.Exif:
    exif = Image.Exif()
    if text is not None:
        exif[0x010E] = text
    return exif


def described(text: str | None, picture: Image.Image | None = None) -> bytes:
    """A gray still of 80 rows with this image description."""
    return saved(picture or Image.new("L", (30, 80)), subsampling="4:0:0", exif=exif_of(text))


def description(**changes: Any) -> str:
    """The description of a picture of 30 frames."""
    return json.dumps({"audio_avif": 1, **PictureInfo(samples=29 * 256).to_dict(), **changes})


@lru_cache
def original(seconds: float, channels: int) -> bytes:
    return encode(np.repeat(voice(seconds), channels, axis=1), RATE_HZ, FAST)
