"""Figures are told from spectrograms that fill the picture, whatever their colours."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image

from audio_avif.types import FloatArray, Pixels
from audio_avif_tools.spectrograms.colour_maps import to_colours
from audio_avif_tools.spectrograms.definitions import SpectrogramConfig, peak_db, spectrogram, to_shares
from audio_avif_tools.spectrograms.figures import Box, find_axes
from support.speech import speech_like, tone

pytestmark = pytest.mark.slow

RATE_HZ = 16_000
SPEECH = speech_like(2)


def with_silence(samples: FloatArray) -> FloatArray:
    return np.pad(samples, RATE_HZ // 2)


def picture(values: FloatArray, config: SpectrogramConfig, range_db: float, colour: str) -> Pixels:
    """The picture of a spectrogram's ``values`` whose brightest colour is their peak."""
    peak = max(-60.0, peak_db(values, config))
    return to_colours(to_shares(values, replace(config, low_db=peak - range_db, high_db=peak)), colour)


def as_file(pixels: Pixels, kind: str) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return np.asarray(Image.open(file).convert("RGB"))


# Figures


def draw(
    style: str, colours: Iterable[str], has_bar: bool, layout: str, data: FloatArray
) -> Iterator[tuple[Pixels, Box]]:
    """A figure in several colours, and where its spectrogram lies."""
    with pyplot.style.context(style):
        figure, axes = pyplot.subplots(figsize=(8, 4))
        drawn = axes.imshow(data, origin="lower", aspect="auto")
        if has_bar:
            figure.colorbar(drawn)
        if layout == "titled":
            axes.set(title="speech", xlabel="s", ylabel="Hz")
        elif layout == "tight":
            figure.tight_layout(pad=0.1)
        for colour in colours:
            drawn.set_cmap(colour)
            file = io.BytesIO()
            cut = "tight" if layout == "cut" else None
            figure.savefig(file, bbox_inches=cut, pad_inches=0, pil_kwargs={"compress_level": 1})
            extent = axes.get_window_extent()
            pixels = np.asarray(Image.open(file).convert("RGB"))
            x, y, width, height = extent.x0, figure.bbox.height - extent.y1, extent.width, extent.height
            yield pixels, Box(round(x), round(y), round(width), round(height))
        pyplot.close(figure)


@pytest.mark.parametrize("style", ["default", "dark_background", "ggplot"])
@pytest.mark.parametrize("has_bar", [False, True])
@pytest.mark.parametrize("layout", ["titled", "tight", "cut"])
def test_figures_of_every_make_are_found(style: str, has_bar: bool, layout: str) -> None:
    values = spectrogram(with_silence(SPEECH), SpectrogramConfig())
    for scale_db, colours in [(200.0, ["gray"]), (80.0, ["gray", "viridis", "magma", "inferno", "jet"])]:
        data = np.maximum(values, values.max() - np.float32(scale_db))
        pictures = draw(style, colours, has_bar, layout, data)
        for colour, (pixels, box) in zip(colours, pictures, strict=True):
            found = find_axes(pixels)
            assert found is not None, (colour, scale_db)
            assert find_axes(as_file(pixels, "JPEG")) is not None, (colour, scale_db)
            if layout != "cut":
                assert np.abs(np.subtract(found, box)).max() <= 6, (colour, scale_db)


def test_a_gray_picture_needs_no_three_channels() -> None:
    ((pixels, _),) = draw("default", ["gray"], True, "titled", spectrogram(SPEECH, SpectrogramConfig()))
    gray = np.asarray(Image.fromarray(pixels).convert("L"))
    assert find_axes(gray) == find_axes(pixels) is not None


def test_white_margins_without_labels_are_a_figure() -> None:
    config = SpectrogramConfig(n_fft=256)
    inner = picture(spectrogram(SPEECH, config), config, 80, "gray")
    pixels = np.pad(inner, ((20, 20), (30, 30), (0, 0)), constant_values=255)
    assert find_axes(pixels) is not None
    assert find_axes(pixels, silent_is_bright=True) is None


# Spectrograms that fill the picture


def sounds() -> Iterator[FloatArray]:
    noise = np.random.default_rng(0).normal(scale=0.1, size=RATE_HZ).astype(np.float32)
    pulses = np.float32(np.arange(RATE_HZ) % 4000 == 2000)
    beep = np.concatenate([tone(3000, RATE_HZ, 0.1), np.zeros(4000, np.float32)])
    plain = [
        SPEECH,
        np.round(SPEECH * 100) / 32768,  # as quiet as 16 bits allow
        SPEECH[:RATE_HZ] + noise,
        noise,
        np.zeros(RATE_HZ, np.float32),
        tone(1000, RATE_HZ, 1),
        tone(1000, RATE_HZ, 1, level=1e-4),
        tone(440, RATE_HZ, 1) + tone(1320, RATE_HZ, 1) + tone(5000, RATE_HZ, 1),
        pulses,
        np.concatenate([beep, noise, beep[::-1]]),
    ]
    for samples in plain:
        yield samples
        yield with_silence(samples)


@pytest.mark.parametrize(
    "config",
    [
        SpectrogramConfig(),
        SpectrogramConfig(n_fft=128, hop_samples=128),
        SpectrogramConfig(kind="mel", scale="log10", fmin_hz=80, fmax_hz=7600),
        SpectrogramConfig(kind="mel", power=2, n_fft=2048, hop_samples=512, n_mels=128),
        SpectrogramConfig(scale="linear", n_fft=512),
        SpectrogramConfig(rate_hz=2 * RATE_HZ),
    ],
)
def test_spectrograms_that_fill_the_picture_are_no_figures(config: SpectrogramConfig) -> None:
    for number, samples in enumerate(sounds()):
        if config.rate_hz != RATE_HZ:  # nothing above half: a wide black border at the top
            samples = np.fft.irfft(np.pad(np.fft.rfft(samples), (0, samples.size // 2)), 2 * samples.size)
            samples = np.asarray(2 * samples, np.float32)
        values = spectrogram(samples, config)
        for colour, range_db in product(["gray", "viridis", "magma", "jet", "gray_r"], [80, 40, 25]):
            pixels = picture(values, config, range_db, colour)
            assert find_axes(pixels, colour == "gray_r") is None, (number, colour, range_db)
            if colour == "gray" and range_db == 80:
                assert find_axes(as_file(pixels, "JPEG")) is None, number


def test_pictures_of_one_colour_are_no_figures() -> None:
    for value in (0, 128, 255):
        assert find_axes(np.full((100, 100, 3), value, np.uint8)) is None
    assert find_axes(np.zeros((8, 1), np.uint8)) is None
