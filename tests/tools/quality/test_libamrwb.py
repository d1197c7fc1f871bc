"""AMR-WB makes frames of the size that its mode has, and decodes them; whatever fails is an error of this project."""

from __future__ import annotations

import ctypes.util

import numpy as np
import pytest

from audio_avif.config import RATE_HZ
from audio_avif.errors import AudioAvifError
from audio_avif.types import FloatArray
from audio_avif_tools.quality import libamrwb
from audio_avif_tools.quality.library_peers import AmrWb
from audio_avif_tools.shared.signals import demo_clip

needs_amr_wb = pytest.mark.skipif(AmrWb.missing() is not None, reason=str(AmrWb.missing()))


def sound() -> FloatArray:
    return demo_clip()[: 2 * RATE_HZ]


@needs_amr_wb
@pytest.mark.parametrize("mode", range(9))
def test_frames_have_the_bits_of_their_mode_and_come_back(mode: int) -> None:
    clip = sound()
    frames = libamrwb.encode(clip, mode)
    assert len(frames) == 100
    assert {len(frame) for frame in frames} == {1 + -(-libamrwb.FRAME_BITS[mode] // 8)}
    assert {frame[0] >> 3 & 15 for frame in frames} == {mode}  # the frame type in the header of RFC 4867
    heard = libamrwb.decode(frames)
    assert heard.shape == clip.shape and heard.dtype == np.float32
    assert np.corrcoef(clip[: -AmrWb.DELAY_SAMPLES], heard[AmrWb.DELAY_SAMPLES :])[0, 1] > 0.7


@needs_amr_wb
def test_two_streams_share_nothing() -> None:
    clip = sound()
    first = libamrwb.encode(clip, 1)
    assert libamrwb.encode(clip, 1) == first
    np.testing.assert_array_equal(libamrwb.decode(first), libamrwb.decode(first))


@needs_amr_wb
def test_loud_sound_is_clipped_instead_of_wrapping() -> None:
    square = np.sign(np.sin(np.arange(3200) * 0.1)).astype(np.float32)
    assert libamrwb.encode(2 * square, 0) == libamrwb.encode(square, 0)


@needs_amr_wb
@pytest.mark.parametrize("frame", [b"", b"\x04", bytes([8 << 3 | 4]) + bytes(17), bytes([9 << 3 | 4]) + bytes(60)])
def test_a_damaged_frame_never_reaches_the_decoder(frame: bytes) -> None:
    with pytest.raises(AudioAvifError, match=f"frame of {len(frame)} bytes is damaged"):
        libamrwb.decode([frame])


def test_what_is_no_whole_number_of_frames_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="321 samples are no whole number of frames of 320"):
        libamrwb.encode(np.zeros(321, np.float32), 0)


def test_absent_libraries_are_named_and_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    libamrwb._libraries.cache_clear()
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None if "amrwb" in name else name)
    assert libamrwb.absent_libraries() == ["vo-amrwbenc", "opencore-amrwb"]
    with pytest.raises(AudioAvifError, match="vo-amrwbenc and opencore-amrwb cannot be loaded"):
        libamrwb.encode(np.zeros(320, np.float32), 0)
