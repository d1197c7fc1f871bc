"""Spectrograms of any common definition: from samples to the values that a picture shows, and back to magnitudes.

Frames are centred and padded with silence, windows are periodic Hann windows of ``n_fft`` samples, and spectra are not
normalised: the definition of librosa and torch. ``find_phases`` is the way on to sound without a model, ``log_mel_for``
the way to the mel of a vocoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_avif.config import RATE_HZ, MelConfig
from audio_avif.signal.features import hann, mel_basis
from audio_avif.types import DoubleArray, FloatArray
from audio_avif.vocoders.griffin_lim import band_shares, bins_of_bands, fast_griffin_lim

KINDS = ("linear", "mel", "mel-htk")
SCALES = ("db", "ln", "log10", "linear")
ORDERS = ("low-at-bottom", "low-at-top")

FLOOR_DB = -200.0
_CEILING_DB = 200.0  # keeps what a damaged array may hold finite
_BLOCK_FRAMES = 512


@dataclass(frozen=True)
class SpectrogramConfig:
    """What a row, a column and a value of a spectrogram stand for.

    ``mel`` is Slaney's scale with triangles of unit area, librosa's default; ``mel-htk`` is HTK's with triangles of
    height one, torchaudio's default. ``power`` 1 takes magnitudes, 2 their squares. Black stands for ``low_db`` and
    white for ``high_db``, in decibels of magnitude whatever the scale; on a linear scale black stands for nothing. A
    spectrogram of linear frequency shows the bins from ``fmin_hz`` to ``fmax_hz``, which is half the rate where None.
    """

    kind: str = "linear"
    scale: str = "db"
    power: int = 1
    rate_hz: int = RATE_HZ
    n_fft: int = 1024
    hop_samples: int = 256
    n_mels: int = 80
    fmin_hz: float = 0.0
    fmax_hz: float | None = None
    low_db: float = -40.0
    high_db: float = 40.0
    order: str = "low-at-bottom"
    colour: str = "gray"

    def __post_init__(self) -> None:
        for name, choices in (("kind", KINDS), ("scale", SCALES), ("order", ORDERS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r:.40}")
        if self.power not in (1, 2):
            raise ValueError(f"power must be 1 or 2, not {self.power}")
        if not 1 <= self.hop_samples <= self.n_fft:
            raise ValueError(f"hop_samples must be 1 to n_fft, {self.n_fft}, not {self.hop_samples}")
        if not FLOOR_DB <= self.low_db < self.high_db <= _CEILING_DB:
            raise ValueError(
                f"the range must lie within {FLOOR_DB:g}..{_CEILING_DB:g} dB, not {self.low_db:g}..{self.high_db:g}"
            )
        MelConfig(self.rate_hz, self.n_fft, self.n_fft, self.n_mels, self.fmin_hz, self.top_hz)
        if self.kind == "linear" and self.rows < 2:
            raise ValueError(f"no two bins lie within {self.fmin_hz:g} to {self.top_hz:g} Hz")

    @property
    def top_hz(self) -> float:
        """The upper end of what is shown."""
        return self.rate_hz / 2 if self.fmax_hz is None else self.fmax_hz

    @property
    def bins(self) -> int:
        """Bins of a spectrum."""
        return self.n_fft // 2 + 1

    @property
    def shown_bins(self) -> slice:
        """The bins that a spectrogram of linear frequency shows."""
        spacing_hz = self.rate_hz / self.n_fft
        first = int(np.ceil(self.fmin_hz / spacing_hz - 1e-6))
        return slice(first, int(np.floor(self.top_hz / spacing_hz + 1e-6)) + 1)

    @property
    def rows(self) -> int:
        """Rows of the spectrogram."""
        shown = self.shown_bins
        return self.n_mels if self.kind != "linear" else shown.stop - shown.start

    @property
    def value_range(self) -> tuple[float, float]:
        """The values that black and white stand for."""
        if self.scale == "linear":
            return 0.0, 10 ** (self.high_db * self.power / 20)
        unit = {"db": 1.0, "ln": self.power * float(np.log(10)) / 20, "log10": self.power / 20}[self.scale]
        return self.low_db * unit, self.high_db * unit

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SpectrogramConfig:
        """Parse the JSON form. Raises ValueError for anything else."""
        if not isinstance(values, Mapping) or set(values) != {field.name for field in fields(cls)}:
            raise ValueError("the settings have other keys than those of a spectrogram")
        usual = cls()
        for name, value in values.items():
            expected = type(getattr(usual, name))
            kinds = (int, float) if name in ("fmin_hz", "fmax_hz", "low_db", "high_db") else (expected,)
            is_open = name == "fmax_hz" and value is None
            if isinstance(value, bool) or not (is_open or isinstance(value, kinds)):
                raise ValueError(f"the setting {name} cannot be {value!r:.40}")
        return cls(**values)

    def __str__(self) -> str:
        kind = {
            "linear": "linear frequency",
            "mel": f"{self.n_mels} mel bands",
            "mel-htk": f"{self.n_mels} HTK mel bands",
        }[self.kind]
        values = "power" if self.power == 2 else "magnitude"
        return (
            f"{kind} {self.fmin_hz:g}-{self.top_hz:g} Hz, {values} as {self.scale}, "
            f"{self.rate_hz} Hz, n_fft {self.n_fft}, hop {self.hop_samples}"
        )


def frame_count(samples: int, config: SpectrogramConfig) -> int:
    """How many frames a signal of so many samples has."""
    return 1 + samples // config.hop_samples if samples else 0


@lru_cache(maxsize=4)
def mel_filters(config: SpectrogramConfig) -> DoubleArray:
    """The filter bank ``[n_mels, bins]`` of a mel spectrogram."""
    if config.kind == "mel":
        # The hop is no matter of the filters.
        return mel_basis(
            MelConfig(config.rate_hz, config.n_fft, config.n_fft, config.n_mels, config.fmin_hz, config.top_hz)
        )
    bins_hz = np.asarray(np.fft.rfftfreq(config.n_fft, 1 / config.rate_hz), np.float64)
    return htk_filters(htk_edges(config.fmin_hz, config.top_hz, config.n_mels), bins_hz)


def htk_edges(low_hz: float, high_hz: float, n_mels: int) -> DoubleArray:
    """The frequencies ``[n_mels + 2]`` at which HTK's triangles begin, peak and end: three neighbours are a triangle.

    Source: O'Shaughnessy, Speech communication, 1987, as HTK has it.
    """
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (low_hz, high_hz))
    edges: DoubleArray = 700 * (10 ** (np.linspace(low, high, n_mels + 2) / 2595) - 1)
    return edges


def htk_filters(edges_hz: DoubleArray, bins_hz: DoubleArray) -> DoubleArray:
    """Triangles of height one ``[n_mels, bins]`` between the edges ``[n_mels + 2]``."""
    lower, centre, upper = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising, falling = (bins_hz - lower) / (centre - lower), (upper - bins_hz) / (upper - centre)
    return np.asarray(np.maximum(0, np.minimum(rising, falling)), np.float64)


def spectrogram(samples: FloatArray, config: SpectrogramConfig) -> FloatArray:
    """The values ``[rows, frame_count] float32`` of a mono signal ``[samples]``, lowest row first, not yet limited."""
    padded = np.pad(np.asarray(samples, np.float32), config.n_fft // 2)
    frames = frame_count(samples.size, config)
    out = np.empty((config.rows, frames), np.float32)
    for first in range(0, frames, _BLOCK_FRAMES):
        count = min(_BLOCK_FRAMES, frames - first)
        at = first * config.hop_samples
        part = padded[at : at + (count - 1) * config.hop_samples + config.n_fft].astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(part, config.n_fft)[:: config.hop_samples]
        spectra = np.abs(np.fft.rfft(windows * hann(config.n_fft))).T ** config.power
        shown = spectra[config.shown_bins] if config.kind == "linear" else mel_filters(config) @ spectra
        out[:, first : first + count] = _to_scale(shown, config)
    return out


def _to_scale(amplitudes: DoubleArray, config: SpectrogramConfig) -> DoubleArray:
    if config.scale == "linear":
        return amplitudes
    units = {"db": 20 / config.power, "ln": float(np.log(10)), "log10": 1.0}
    scaled: DoubleArray = np.log10(np.maximum(amplitudes, 10 ** (FLOOR_DB * config.power / 20))) * units[config.scale]
    return scaled


def _from_scale(values: FloatArray, config: SpectrogramConfig) -> DoubleArray:
    """Magnitudes or powers; NaN and minus infinity count as silence."""
    doubles = values.astype(np.float64)
    highest = 10 ** (_CEILING_DB * config.power / 20)
    if config.scale == "linear":
        return np.clip(np.nan_to_num(doubles, posinf=highest), 0, highest)
    decibels = doubles * {"db": 1.0, "ln": 20 / config.power / np.log(10), "log10": 20 / config.power}[config.scale]
    decibels = np.clip(np.nan_to_num(decibels, nan=FLOOR_DB), FLOOR_DB, _CEILING_DB)
    amplitudes: DoubleArray = 10 ** (decibels * config.power / 20)
    return amplitudes


def peak_db(values: FloatArray, config: SpectrogramConfig) -> float:
    """The loudest value in decibels of magnitude, ``FLOOR_DB`` where there is none."""
    peak = _from_scale(values.max(initial=-np.inf, keepdims=True), config).item() if values.size else 0.0
    return float(max(FLOOR_DB, 20 / config.power * np.log10(max(peak, 1e-300))))


def to_shares(values: FloatArray, config: SpectrogramConfig) -> FloatArray:
    """Values as shares of the range ``[rows, columns] float32``, 0 for black to 1 for white, in a picture's order."""
    low, high = config.value_range
    shares = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.ascontiguousarray(in_order(shares, config))


def from_shares(shares: FloatArray, config: SpectrogramConfig) -> FloatArray:
    """The values ``[rows, columns] float32``, lowest row first, that a picture's shares stand for.

    What is black is silent: the picture does not say how far below its range it was.
    """
    low, high = config.value_range
    values = in_order(shares, config) * np.float32(high - low) + np.float32(low)
    if config.scale != "linear":
        values[in_order(shares, config) <= 0] = -np.inf
    return values


def in_order(rows: FloatArray, config: SpectrogramConfig) -> FloatArray:
    """Turn rows from a picture's order to lowest first, or back."""
    return rows[::-1] if config.order == "low-at-bottom" else rows


def resample_rows(values: FloatArray, rows: int) -> FloatArray:
    """Stretch or shrink ``[n, columns]`` to ``[rows, columns]``, as resizing a picture does."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.array(image.resize((values.shape[1], rows), Image.Resampling.BILINEAR))


def magnitudes(values: FloatArray, config: SpectrogramConfig) -> DoubleArray:
    """The STFT magnitudes ``[bins, frames]`` behind values ``[rows, frames]``, lowest row first.

    Those of mel bands go through the pseudo-inverse. Raises ValueError for another number of rows.
    """
    if values.ndim != 2 or values.shape[0] != config.rows:
        raise ValueError(f"the values must be [{config.rows}, frames], not {list(values.shape)}")
    amplitudes = _from_scale(values, config)
    if config.kind == "linear":
        shown = config.shown_bins
        bins: DoubleArray = np.pad(amplitudes, ((shown.start, config.bins - shown.stop), (0, 0)))
    else:
        bins = bins_of_bands(amplitudes, mel_filters(config), *_inverse_filters(config))
    return bins if config.power == 1 else np.sqrt(bins)


@lru_cache(maxsize=4)
def _inverse_filters(config: SpectrogramConfig) -> tuple[DoubleArray, DoubleArray]:
    basis = mel_filters(config)
    return np.asarray(np.linalg.pinv(basis), np.float64), band_shares(basis)


def find_phases(
    values: FloatArray,
    config: SpectrogramConfig,
    *,
    iterations: int = 64,
    momentum: float = 0.99,
    angles: npt.NDArray[np.floating[Any]] | None = None,
) -> FloatArray:
    """Sound ``[frames * hop_samples] float32``, of any loudness, of values ``[rows, frames]``, by fast Griffin-Lim.

    ``angles [bins, frames]`` in radians replace a random start, which is the same every time.

    Raises ValueError for another shape of either.
    """
    target = np.ascontiguousarray(magnitudes(values, config).T)
    if angles is not None and angles.shape[::-1] != target.shape:
        raise ValueError(f"angles must be {list(target.T.shape)}, not {list(angles.shape)}")
    if angles is None:
        angles = np.random.default_rng(0).uniform(-np.pi, np.pi, target.shape[::-1])
    start = np.exp(1j * np.asarray(angles, np.float64).T)
    return fast_griffin_lim(target, start, config, iterations, momentum).astype(np.float32)


def is_mel(config: SpectrogramConfig, mel: MelConfig) -> bool:
    """Whether the spectrogram is of that mel definition, so that a vocoder of it can take its bands as they are."""
    bands = (config.kind, config.power, config.n_mels, config.fmin_hz, config.top_hz)
    return has_grid_of(config, mel) and bands == ("mel", 1, mel.n_mels, mel.fmin_hz, mel.fmax_hz)


def has_grid_of(config: SpectrogramConfig, mel: MelConfig) -> bool:
    """Whether rate, windows and hops of a spectrogram are those of a mel definition."""
    return (config.rate_hz, config.n_fft, config.hop_samples) == (mel.rate_hz, mel.n_fft, mel.hop_samples)


def log_mel_for(values: FloatArray, config: SpectrogramConfig, mel: MelConfig) -> FloatArray:
    """The log-mel ``[mel.n_mels, frames] float32`` of values ``[rows, frames]`` on the same grid.

    Raises ValueError for another grid or another number of rows.
    """
    if not has_grid_of(config, mel):
        raise ValueError(f"the spectrogram's frames are not those of {mel}")
    bands = _from_scale(values, config) if is_mel(config, mel) else mel_basis(mel) @ magnitudes(values, config)
    return np.log10(np.maximum(bands, mel.floor)).astype(np.float32)
