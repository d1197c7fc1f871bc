"""Pictures of Riffusion: HTK mel bands of magnitudes, black the loudest, with settings in Exif tags of their own.

Source: riffusion-hobby, ``spectrogram_params.py`` (tags) and ``image_util.py`` (pixels).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from audio_avif.errors import FileError
from audio_avif.types import FloatArray, Pixels
from audio_avif_tools.spectrograms.definitions import SpectrogramConfig, htk_edges, htk_filters

_RATE, _STEREO, _TRIPLE = 11000, 11005, 11007
_STEP_MS, _WINDOW_MS, _PADDED_MS = 11010, 11020, 11030
_BANDS, _MIN_HZ, _MAX_HZ = 11040, 11050, 11060
_POWER, _PEAK = 11070, 11080
_FULL_SCALE = 32_768  # its samples are 16-bit integers
_MAX_BANDS = 2048
_MAX_PADDED_MS = 1000


@dataclass(frozen=True)
class RiffusionSettings:
    """What the Exif tags say. ``peak`` is the magnitude of black, None where they do not tell.

    Windows of ``config.n_fft`` samples are padded to ``padded_samples``. Three rows of bands share a row of red, green
    and blue pixels where ``is_triple``; green and blue are left and right where ``is_stereo``.
    """

    config: SpectrogramConfig
    padded_samples: int
    bands: int
    min_hz: float
    max_hz: float
    power: float
    peak: float | None
    is_stereo: bool
    is_triple: bool

    def __str__(self) -> str:
        return (
            f"Riffusion's settings were found in the picture: {self.bands} HTK mel bands "
            f"{self.min_hz:g}-{self.max_hz:g} Hz, magnitudes to the power of {self.power:g}, black the loudest"
        )

    @property
    def rows(self) -> int:
        """Rows of the picture."""
        return self.bands // 3 if self.is_triple else self.bands


def riffusion_settings(exif: Mapping[int, object]) -> RiffusionSettings | None:
    """The settings in Exif tags, None where they are not Riffusion's. Raises FileError where they make no sense."""
    if _RATE not in exif or _POWER not in exif:
        return None
    try:
        rate_hz = round(_number(exif, _RATE))
        window, padded = (round(_number(exif, tag) * rate_hz / 1000) for tag in (_WINDOW_MS, _PADDED_MS))
        settings = RiffusionSettings(
            config=SpectrogramConfig(
                scale="linear",
                rate_hz=rate_hz,
                n_fft=window + window % 2,
                hop_samples=int(_number(exif, _STEP_MS) * rate_hz / 1000),
            ),
            padded_samples=padded,
            bands=round(_number(exif, _BANDS)),
            min_hz=_number(exif, _MIN_HZ),
            max_hz=_number(exif, _MAX_HZ),
            power=_number(exif, _POWER),
            peak=_number(exif, _PEAK) / _FULL_SCALE if _PEAK in exif else None,
            is_stereo=bool(exif.get(_STEREO)),
            is_triple=bool(exif.get(_TRIPLE)),
        )
        is_sensible = (
            8 <= settings.bands <= _MAX_BANDS
            and window <= padded <= rate_hz * _MAX_PADDED_MS / 1000
            and 0 <= settings.min_hz < settings.max_hz <= rate_hz / 2
            and 0 < settings.power <= 4
            and (settings.peak is None or settings.peak >= 0)
        )
        if not is_sensible:
            raise ValueError("they contradict each other")
    except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise FileError(f"the picture's Riffusion settings are damaged: {error!s:.200}") from error
    return settings


def _number(exif: Mapping[int, object], tag: int) -> float:
    value = exif.get(tag)
    if value is None or isinstance(value, (str, bytes, tuple)):
        raise ValueError(f"Exif tag {tag} holds no number")
    return float(value)  # type: ignore[arg-type]  # Pillow's rationals are numbers, but have no types


def to_magnitudes(pixels: Pixels, settings: RiffusionSettings) -> list[FloatArray]:
    """Magnitudes ``[config.rows, columns]`` of each channel, lowest row first, of ``[rows, columns, 3] uint8``.

    A band is a sum over bins; its mean stands for the magnitude at its centre. The bands lie closer than the bins of a
    window where it matters, so straight lines between them lose nothing. Raises FileError for another number of rows.
    """
    rows, columns = pixels.shape[:2]
    if rows != settings.rows:
        raise FileError(
            f"the picture has {rows} rows, not the {settings.rows} of its Riffusion settings; do not crop it"
        )
    shares = 1 - pixels[::-1].astype(np.float32) / 255
    if settings.is_triple:
        channels = [shares.transpose(0, 2, 1).reshape(settings.bands, columns)]
    else:
        channels = [shares[:, :, channel] for channel in ((1, 2) if settings.is_stereo else (0,))]
    config = settings.config
    edges_hz = htk_edges(settings.min_hz, settings.max_hz, settings.bands)
    padded_hz = np.fft.rfftfreq(settings.padded_samples, 1 / config.rate_hz)
    sums = htk_filters(edges_hz, padded_hz).sum(axis=1)
    has_bins = sums > 0
    centres_hz, sums = edges_hz[1:-1][has_bins], sums[has_bins]
    bins_hz = np.arange(config.bins) * config.rate_hz / config.n_fft
    position = np.interp(bins_hz, centres_hz, np.arange(centres_hz.size))
    below = np.minimum(position.astype(np.intp), max(0, centres_hz.size - 2))
    above = np.minimum(below + 1, centres_hz.size - 1)
    share = (position - below)[:, None]
    is_silent = (bins_hz < settings.min_hz) | (bins_hz > settings.max_hz)
    found = []
    for channel in channels:
        bands = channel[has_bins] ** (1 / settings.power) * (settings.peak or 1.0) / sums[:, None]
        bins = bands[below] * (1 - share) + bands[above] * share
        bins[is_silent] = 0
        found.append(bins.astype(np.float32))
    return found
