"""AMR-WB through ctypes: the encoder vo-amrwbenc and the decoder opencore-amrwb, a frame of 20 ms at a time.

Source: enc_if.h and dec_if.h of the two libraries; a frame is one byte of header and the bits of 3GPP TS 26.201.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from audio_avif.errors import AudioAvifError
from audio_avif.types import FloatArray

FRAME_SAMPLES = 320
FRAME_BITS = (132, 177, 253, 285, 317, 365, 397, 461, 477)
"""The bits of speech in a frame of each mode, 6.6 to 23.85 kbps."""

_NAMES = ("vo-amrwbenc", "opencore-amrwb")
_FULL_SCALE = 32768.0
_MAX_FRAME_BYTES = 64
_MODE_SHIFT = 3
_SHORTS = ctypes.POINTER(ctypes.c_short)


def absent_libraries() -> list[str]:
    """Return the names of those of the two libraries that are not installed."""
    return [name for name in _NAMES if ctypes.util.find_library(name) is None]


def encode(sound: FloatArray, mode: int) -> list[bytes]:
    """Encode ``[samples]``, whole frames, to frames of a header and speech bits. Raises AudioAvifError."""
    if sound.size % FRAME_SAMPLES:
        raise ValueError(f"{sound.size} samples are no whole number of frames of {FRAME_SAMPLES}")
    expected = _frame_bytes(mode)
    levels = np.clip(np.round(sound * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    buffer = ctypes.create_string_buffer(_MAX_FRAME_BYTES)
    frames = []
    encoder, _ = _libraries()
    with _opened(encoder.E_IF_init, encoder.E_IF_exit) as state:
        for piece in levels.reshape(-1, FRAME_SAMPLES):
            size = encoder.E_IF_encode(state, mode, piece.ctypes.data_as(_SHORTS), buffer, 0)
            if size != expected:
                raise AudioAvifError(f"vo-amrwbenc made a frame of {size} bytes, not {expected}")
            frames.append(buffer.raw[:size])
    return frames


def decode(frames: Sequence[bytes]) -> FloatArray:
    """Decode frames to ``[samples]``. Raises AudioAvifError, also for a frame that is not as long as its mode says."""
    heard = np.zeros((len(frames), FRAME_SAMPLES), np.int16)
    _, decoder = _libraries()
    with _opened(decoder.D_IF_init, decoder.D_IF_exit) as state:
        for frame, piece in zip(frames, heard, strict=True):
            mode = frame[0] >> _MODE_SHIFT & 15 if frame else len(FRAME_BITS)
            if mode >= len(FRAME_BITS) or len(frame) != _frame_bytes(mode):  # the library would read beyond it
                raise AudioAvifError(f"an AMR-WB frame of {len(frame)} bytes is damaged")
            decoder.D_IF_decode(state, frame, piece.ctypes.data_as(_SHORTS), 0)
    return (heard.reshape(-1) / _FULL_SCALE).astype(np.float32)


def _frame_bytes(mode: int) -> int:
    return 1 + -(-FRAME_BITS[mode] // 8)


@contextmanager
def _opened(create: Any, destroy: Any) -> Iterator[ctypes.c_void_p]:
    """Own the state of one encoder or decoder for the block."""
    created = create()
    if not created:
        raise AudioAvifError("AMR-WB has no memory for its state")
    state = ctypes.c_void_p(created)
    try:
        yield state
    finally:
        destroy(state)


@lru_cache(maxsize=1)
def _libraries() -> tuple[ctypes.CDLL, ctypes.CDLL]:
    """Load the encoder and the decoder. Raises AudioAvifError."""
    try:
        encoder, decoder = (ctypes.CDLL(str(ctypes.util.find_library(name))) for name in _NAMES)
    except OSError as error:
        raise AudioAvifError(f"{' and '.join(_NAMES)} cannot be loaded: {error}") from error
    encoder.E_IF_init.restype = decoder.D_IF_init.restype = ctypes.c_void_p
    encoder.E_IF_exit.restype = decoder.D_IF_exit.restype = decoder.D_IF_decode.restype = None
    encoder.E_IF_encode.argtypes = [ctypes.c_void_p, ctypes.c_int, _SHORTS, ctypes.c_char_p, ctypes.c_int]
    decoder.D_IF_decode.argtypes = [ctypes.c_void_p, ctypes.c_char_p, _SHORTS, ctypes.c_int]
    return encoder, decoder
