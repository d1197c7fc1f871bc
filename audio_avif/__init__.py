"""Speech as pictures: log-mel tiles, AVIF stills, a vocoder, and the stream between them.

The names below are imported when they are first used, so that ``import audio_avif`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audio_avif.codec.decoder import Decoder as Decoder
    from audio_avif.codec.encoder import Encoder as Encoder
    from audio_avif.config import EncoderConfig as EncoderConfig
    from audio_avif.config import MelConfig as MelConfig
    from audio_avif.config import TileConfig as TileConfig
    from audio_avif.errors import AudioAvifError as AudioAvifError
    from audio_avif.recording.codec import SoundPicture as SoundPicture
    from audio_avif.recording.codec import decode as decode
    from audio_avif.recording.codec import encode as encode
    from audio_avif.recording.picture_encoder import FileConfig as FileConfig
    from audio_avif.steps import TARGET_SR as TARGET_SR
    from audio_avif.steps import get_device as get_device
    from audio_avif.steps import image_to_logmel as image_to_logmel
    from audio_avif.steps import load_vocoder as load_vocoder
    from audio_avif.steps import logmel_to_image as logmel_to_image
    from audio_avif.steps import reconstruct_wav as reconstruct_wav
    from audio_avif.steps import wav_to_logmel as wav_to_logmel

__version__ = "0.1.0"

_HOME = {
    "codec.decoder": ("Decoder",),
    "codec.encoder": ("Encoder",),
    "config": ("EncoderConfig", "MelConfig", "TileConfig"),
    "errors": ("AudioAvifError",),
    "recording.codec": ("SoundPicture", "decode", "encode"),
    "recording.picture_encoder": ("FileConfig",),
    "steps": (
        "TARGET_SR",
        "get_device",
        "image_to_logmel",
        "load_vocoder",
        "logmel_to_image",
        "reconstruct_wav",
        "wav_to_logmel",
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
__all__ = ["__version__", *sorted(_MODULE_OF)]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
