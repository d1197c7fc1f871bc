"""Colours to values: every map is found again, through lossy codecs too, and what is none is refused."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from audio_avif.errors import AudioAvifError, FileError
from audio_avif.types import FloatArray, Pixels
from audio_avif_tools.spectrograms.colour_maps import USUAL, colours_of, from_colours, guess, to_colours

pytestmark = pytest.mark.slow


def smooth(seed: int = 0) -> FloatArray:
    """Shares ``[96, 160]`` that vary as a spectrogram does: slowly, over the whole range."""
    rough = Image.fromarray(np.random.default_rng(seed).random((12, 20), np.float32))
    fine = np.asarray(rough.resize((160, 96), Image.Resampling.BICUBIC))
    return np.clip((fine - 0.1) / 0.8, 0, 1)


def through(pixels: Pixels, name: str, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, name, quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


@pytest.mark.parametrize("name", ["gray", "gray_r", "viridis_r", *USUAL])
def test_a_map_is_undone_to_half_a_step(name: str) -> None:
    shares = smooth()
    back, residual = from_colours(to_colours(shares, name), name)
    # Maps that end in a row of one colour or pass white keep a little less.
    assert np.abs(back - shares).mean() < 0.6 / 255
    assert residual < 1


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("name", ["viridis", "magma", "inferno", "plasma", "gray"])
def test_lossy_codecs_cost_little(name: str, kind: str) -> None:
    shares = smooth()
    back, residual = from_colours(through(to_colours(shares, name), kind, 75), name)
    assert np.abs(back - shares).mean() < 0.02
    assert residual < 8


@pytest.mark.parametrize("name", ["gray", *USUAL])
def test_the_map_is_guessed_even_after_jpeg(name: str) -> None:
    assert guess(to_colours(smooth(), name)) == name
    assert guess(through(to_colours(smooth(1), name), "JPEG", 75)) == name


def test_a_mostly_dark_picture_is_not_taken_for_gray() -> None:
    shares = np.zeros((64, 400), np.float32)
    shares[10:20] = np.linspace(0, 1, 400)
    assert guess(to_colours(shares, "magma")) == "magma"


def test_colours_of_no_map_are_refused() -> None:
    rng = np.random.default_rng(2)
    photograph = np.stack([smooth(int(seed)) for seed in rng.integers(9, 99, 3)], axis=2)
    with pytest.raises(FileError, match="photograph"):
        guess(np.uint8(photograph * 255))


def test_an_unknown_map_is_refused() -> None:
    with pytest.raises(ValueError, match="no colour map 'mgama'"):
        colours_of("mgama")


def test_gray_needs_no_matplotlib_and_colour_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    magma = to_colours(smooth(), "magma")
    colours_of.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert guess(to_colours(smooth(), "gray")) == "gray"
    with pytest.raises(AudioAvifError, match=r"pip install 'audio-avif\[plot\]'"):
        guess(magma)
