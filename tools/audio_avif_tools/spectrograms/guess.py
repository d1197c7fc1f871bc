"""What a spectrogram from elsewhere is, as far as it was not said: by what its file says, and by what is usual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from audio_avif.errors import AudioAvifError, FileError
from audio_avif.types import FloatArray
from audio_avif_tools.spectrograms.colour_maps import HINT, MAX_RESIDUAL, from_colours, guess
from audio_avif_tools.spectrograms.definitions import SpectrogramConfig, from_shares, resample_rows
from audio_avif_tools.spectrograms.picture_files import Source

LEAST_ROWS = 8
_MEL_ROWS = (40, 64, 80, 96, 100, 128)
_USUAL_RANGE_DB = 80.0
# Where loud speech lies in spectra of 1024 samples; only the vocoder needs it, as it knows speech of usual loudness.
_LOUD_DB = {"linear": 35.0, "mel": 13.0, "mel-htk": 35.0}
_OPTION = {
    "kind": "--kind", "scale": "--scale", "power": "--power", "rate_hz": "--rate", "n_fft": "--n-fft",
    "hop_samples": "--hop", "n_mels": "--n-mels", "fmin_hz": "--fmin", "fmax_hz": "--fmax", "colour": "--colour",
    "order": "--order",
}  # fmt: skip


@dataclass(frozen=True)
class Readable:
    """Values ``[rows, frames]``, lowest row first, and what they are.

    ``remarks`` are sentences about what was changed or is off. Without ``knows_level`` it is unknown how loud it was.
    ``samples`` is the length of the sound.
    """

    values: FloatArray
    config: SpectrogramConfig
    samples: int
    knows_level: bool
    is_picture: bool
    assumed: tuple[str, ...]
    remarks: tuple[str, ...]


def settle(source: Source, given: Mapping[str, object], db_range: tuple[float, float] | float | None) -> Readable:
    """Decide what a spectrogram is by what was given, then by what its file says, then by what is usual.

    Raises FileError where the picture is none, AudioAvifError where what was given makes no sense.
    """
    remarks = [source.remark] if source.remark else []
    rows, columns = source.shape
    if rows < LEAST_ROWS:
        raise FileError(f"the spectrogram has only {rows} rows; {LEAST_ROWS} are the fewest")
    try:
        if source.settings is not None:
            config, assumed = _changed(source.settings, given), ()
        else:
            config, assumed = _assume(source, given, remarks)
        config, knows_level = _with_range(config, source, db_range)
        shares = None if source.values is not None else _shares(source, config, "colour" in given, remarks)
    except ValueError as error:
        raise AudioAvifError(str(error)) from error
    if source.settings is None and db_range is None and source.values is None:
        assumed = (*assumed, f"--db-range {_USUAL_RANGE_DB:g}")

    if shares is not None:
        values = from_shares(shares, config)
    else:
        assert source.values is not None
        values = source.values[::-1] if given.get("order") == "low-at-bottom" else source.values
        if not knows_level:
            values = values + np.float32(config.high_db)
    values = _fit_rows(values, config, remarks)

    most = columns * config.hop_samples
    samples = source.samples if most - config.hop_samples <= source.samples <= most else 0
    samples = samples or max(1, columns - 1) * config.hop_samples
    return Readable(values, config, samples, knows_level, shares is not None, assumed, tuple(remarks))


def _changed(config: SpectrogramConfig, given: Mapping[str, object]) -> SpectrogramConfig:
    return SpectrogramConfig.from_dict({**config.to_dict(), **given})


def _assume(
    source: Source, given: Mapping[str, object], remarks: list[str]
) -> tuple[SpectrogramConfig, tuple[str, ...]]:
    rows = source.shape[0]
    usual: dict[str, object] = {}
    is_mel = rows in _MEL_ROWS and rows not in _rows_of(given.get("n_fft"))
    kind = given.get("kind", "mel" if is_mel else "linear")
    usual["kind"] = kind
    usual["rate_hz"] = 22_050
    if kind == "linear":
        usual["n_fft"] = min(8192, max(64, 2 * rows if rows & (rows - 1) == 0 else 2 * (rows - 1)))
    else:
        usual["n_mels"] = min(256, rows)
        usual["n_fft"] = 1024 if rows <= 100 else 2048
    n_fft = given.get("n_fft", usual["n_fft"])
    usual["hop_samples"] = max(1, int(str(n_fft)) // 4)
    usual["scale"] = "db" if source.values is None else _scale_of(source.values, str(kind))
    scale = given.get("scale", usual["scale"])
    # librosa and torchaudio make decibels of powers, speech synthesis takes logarithms of magnitudes
    usual["power"] = 2 if kind != "linear" and scale == "db" else 1
    if source.colours is not None:
        usual["colour"] = given.get("colour") or guess(source.colours)
    if source.values is None:
        usual["order"] = "low-at-bottom"
    config = SpectrogramConfig.from_dict({**SpectrogramConfig().to_dict(), **usual, **given})
    without_say = {"power"} if (kind, scale) == ("linear", "db") else set()
    assumed = tuple(
        f"{_OPTION[name]} {value}" for name, value in usual.items() if name not in given and name not in without_say
    )
    return config, assumed


def _rows_of(n_fft: object) -> tuple[int, ...]:
    return (n_fft // 2, n_fft // 2 + 1) if isinstance(n_fft, int) else ()


def _scale_of(values: FloatArray, kind: str) -> str:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low >= 0:
        return "linear"
    if high - low > 30:
        return "db"
    return "ln" if kind != "linear" else "log10"


def _with_range(
    config: SpectrogramConfig, source: Source, db_range: tuple[float, float] | float | None
) -> tuple[SpectrogramConfig, bool]:
    """The configuration with its range of decibels, and whether they say how loud it was."""
    if isinstance(db_range, tuple):
        return replace(config, low_db=db_range[0], high_db=db_range[1]), True
    if source.settings is not None and db_range is None:
        return config, True
    loud_db = _LOUD_DB[config.kind] + 20 * float(np.log10(config.n_fft / 1024))
    relative = replace(config, low_db=loud_db - (db_range or _USUAL_RANGE_DB), high_db=loud_db)
    if source.values is None:
        return relative, False
    is_relative = config.scale == "db" and abs(float(source.values.max())) < 1e-3  # librosa's ref=numpy.max
    return relative, not is_relative


def _shares(source: Source, config: SpectrogramConfig, is_told: bool, remarks: list[str]) -> FloatArray:
    if source.shares is not None:
        if config.colour not in ("gray", "gray_r"):
            raise AudioAvifError(f"the picture is gray, not of the colour map {config.colour}")
        return source.shares if config.colour == "gray" else 1 - source.shares
    assert source.colours is not None
    shares, residual = from_colours(source.colours, config.colour)
    if residual > MAX_RESIDUAL:
        text = f"the picture's colours are not those of {config.colour}: they are off by {residual:.0f} of 255"
        if not is_told:
            raise FileError(f"{text}; {HINT}")
        remarks.append(text)
    if source.transparent is not None and source.transparent.any():
        remarks.append(f"{source.transparent.mean():.0%} of the picture is transparent and was taken as silent")
        shares[source.transparent] = 0
    return shares


def _fit_rows(values: FloatArray, config: SpectrogramConfig, remarks: list[str]) -> FloatArray:
    rows = values.shape[0]
    if rows == config.rows:
        return values
    if config.kind == "linear" and rows == config.rows - 1 == config.n_fft // 2:
        remarks.append(f"{rows} rows are the bins of n_fft {config.n_fft} without the last, which is taken as silent")
        silent = -np.inf if config.scale != "linear" else 0.0
        return np.pad(values, ((0, 1), (0, 0)), constant_values=silent)
    unit = "mel bands" if config.kind != "linear" else f"bins of n_fft {config.n_fft}"
    remarks.append(f"{rows} rows were resampled to {config.rows} {unit}")
    finite = np.where(np.isfinite(values), values, np.float32(config.value_range[0]))
    return resample_rows(finite, config.rows)
