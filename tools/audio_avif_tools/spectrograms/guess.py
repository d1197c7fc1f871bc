"""Find the definition of a spectrogram from elsewhere: from options, from its file, and from common defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from audio_avif.errors import AudioAvifError, FileError
from audio_avif.types import FloatArray
from audio_avif_tools.spectrograms.colour_maps import HINT, MAX_RESIDUAL, colours_of, from_colours, guess
from audio_avif_tools.spectrograms.definitions import (
    SpectrogramConfig,
    from_shares,
    mel_filters,
    peak_db,
    resample_rows,
)
from audio_avif_tools.spectrograms.figures import find_axes
from audio_avif_tools.spectrograms.picture_files import MAX_ROWS, Source

MIN_ROWS = 8
LAYOUTS = ("bands-first", "frames-first")
_MEL_ROWS = (40, 64, 80, 96, 100, 128)
_MAX_LINEAR_ROWS = 4097
_USUAL_RATE_HZ = 22_050
_USUAL_RANGE_DB = 80.0
_NORMALISED_RANGE_DB = 100.0  # Tacotron's
_NORMALISED = ((0.0, 1.0), (-1.0, 1.0), (-4.0, 4.0))  # limits to which speech synthesis scales decibels
_BRIGHT = 230
_LOUDER_DB = 12.0  # above a sine of full scale: louder than any speech
_NARROW_DB = 40.0  # hardly any recording has a smaller range between its loudest and its quietest value
# The level of loud speech in spectra of 1024 samples: the vocoder was trained on speech of usual loudness.
_LOUD_DB = {"linear": 35.0, "mel": 13.0, "mel-htk": 35.0}
_OPTION = {
    "kind": "--kind", "scale": "--scale", "power": "--power", "rate_hz": "--rate", "n_fft": "--n-fft",
    "hop_samples": "--hop", "n_mels": "--n-mels", "fmin_hz": "--fmin", "fmax_hz": "--fmax", "colour": "--colour",
    "order": "--order",
}  # fmt: skip


@dataclass(frozen=True)
class Readable:
    """Values ``[rows, frames]``, lowest row first, and their definition.

    ``remarks`` are sentences about changes and doubts. Without ``knows_level`` the loudness is unknown.
    ``samples`` is the length of the sound.
    """

    values: FloatArray
    config: SpectrogramConfig
    samples: int
    knows_level: bool
    is_picture: bool
    assumed: tuple[str, ...]
    remarks: tuple[str, ...]


def settle(
    source: Source,
    given: Mapping[str, object],
    db_range: tuple[float, float] | float | None,
    layout: str | None = None,
    may_have_axes: bool = False,
) -> Readable:
    """Find the definition of a spectrogram from the options given, then its file, then common defaults.

    ``layout`` names the frequency axis of an array. Raises FileError where the picture is not a spectrogram,
    AudioAvifError where the options contradict each other or are not enough.
    """
    remarks = [source.remark] if source.remark else []
    assumed: tuple[str, ...] = ()
    try:
        source, layout_assumed = _with_bands_first(source, given, layout, remarks)
        _require_rows(source)
        if not may_have_axes:
            _require_no_axes(source, given)
        source, is_normalised = _as_shares(source, given, remarks)
        if source.settings is not None:
            config = _changed(source.settings, given)
        else:
            config, assumed = _assume(source, given, is_normalised)
        usual_range_db = _NORMALISED_RANGE_DB if is_normalised else _USUAL_RANGE_DB
        config, knows_level = _with_range(config, source, db_range, usual_range_db)
        shares = None if source.values is not None else _shares(source, config, "colour" in given, remarks)
    except ValueError as error:
        raise AudioAvifError(str(error)) from error
    if source.settings is None and db_range is None and source.values is None:
        assumed = (*assumed, f"--db-range {usual_range_db:g}")

    if shares is not None:
        values = from_shares(shares, config)
    else:
        assert source.values is not None
        values = source.values[::-1] if given.get("order") == "low-at-bottom" else source.values
        if source.settings is None:
            remarks += _off_scale(values, config, knows_level)
        if not knows_level and config.scale == "db":
            values = values + np.float32(config.high_db)
    values = _fit_rows(values, config, remarks)

    max_samples = source.shape[1] * config.hop_samples
    is_told = max_samples - config.hop_samples <= source.samples <= max_samples and source.samples > 0
    samples = source.samples if is_told else max_samples  # as vocoders make from that many frames
    assumed = (*layout_assumed, *assumed)
    return Readable(values, config, samples, knows_level, shares is not None, assumed, tuple(remarks))


def _with_bands_first(
    source: Source, given: Mapping[str, object], layout: str | None, remarks: list[str]
) -> tuple[Source, tuple[str, ...]]:
    """Return the source with rows of frequency, and the assumed layout. Raises ValueError where it is unclear."""
    if source.values is None:
        if layout is not None:
            raise ValueError("--layout is for arrays of values; --order says where the low end of a picture lies")
        return source, ()
    is_assumed = layout is None and source.settings is None
    layout = layout or (_layout_of(source.shape, given) if is_assumed else "bands-first")
    if layout == "frames-first":
        source = replace(source, values=np.ascontiguousarray(source.values.T))
        remarks.append("the array holds frames first and was transposed")
    return source, ((f"--layout {layout}",) if is_assumed else ())


def _layout_of(shape: tuple[int, int], given: Mapping[str, object]) -> str:
    first, second = (_likeness(size, given) for size in shape)
    if first == second:
        raise ValueError(
            f"an array of shape {list(shape)} does not tell which side is frequency; say --layout bands-first or "
            "--layout frames-first"
        )
    return "bands-first" if first > second else "frames-first"


def _likeness(size: int, given: Mapping[str, object]) -> int:
    """How likely a side of that length is frequency: 3 was given, 2 is common, 1 is possible, 0 is unknown."""
    kind = given.get("kind")
    may_be_mel, may_be_linear = kind != "linear", kind in (None, "linear")
    if may_be_mel and "n_mels" in given:
        return 3 if size == given["n_mels"] else 0
    if may_be_linear and size in _rows_of(given):
        return 3
    if (may_be_mel and size in _MEL_ROWS) or (may_be_linear and _is_power_of_two(size - 1)):
        return 2
    return int(may_be_linear and _is_power_of_two(size))


def _is_power_of_two(size: int) -> bool:
    return 64 <= size < _MAX_LINEAR_ROWS and size & (size - 1) == 0


def _require_rows(source: Source) -> None:
    rows = source.shape[0]
    if rows < MIN_ROWS:
        raise FileError(f"the spectrogram has only {rows} rows; {MIN_ROWS} are the fewest")
    if rows > MAX_ROWS:
        raise FileError(f"the spectrogram has {rows} rows; {MAX_ROWS} are the most")


def _require_no_axes(source: Source, given: Mapping[str, object]) -> None:
    """Check that a picture without settings is not a figure. Raises FileError."""
    if source.settings is not None or source.is_cropped or source.values is not None:
        return
    colour = given.get("colour")
    silent_is_bright = colour is not None and bool(colours_of(str(colour))[0].min() >= _BRIGHT)
    if source.colours is not None:
        pixels = source.colours
    else:
        assert source.shares is not None
        pixels = np.rint(source.shares * 255).astype(np.uint8)
    if source.transparent is not None and source.transparent.any():
        pixels = pixels.copy()
        pixels[source.transparent] = 255  # as viewers show it
    if (box := find_axes(pixels, silent_is_bright)) is not None:
        raise FileError(
            "the picture seems to hold axes, labels or margins around the spectrogram; crop it, perhaps with "
            f"--crop {box}, or read it as it is with --force"
        )


def _as_shares(source: Source, given: Mapping[str, object], remarks: list[str]) -> tuple[Source, bool]:
    """Return values that were scaled to common limits as shares of these, and whether they were scaled."""
    if source.values is None or source.settings is not None or "scale" in given:
        return source, False
    finite = source.values[np.isfinite(source.values)]
    if not finite.size:
        return source, False
    low, high = float(finite.min()), float(finite.max())
    for minimum, maximum in _NORMALISED:
        span = maximum - minimum
        # Most magnitudes, which are never negative, are small; most decibels are not.
        if (
            abs(low - minimum) <= 0.02 * span
            and minimum + 0.7 * span <= high <= maximum + 1e-3 * span
            and (minimum < 0 or float(np.median(finite)) > 0.05)
        ):
            remarks.append(
                f"the values lie within {minimum:g} to {maximum:g} and are taken for normalised decibels; "
                "if they are not, give --scale"
            )
            shares = np.clip((source.values - np.float32(minimum)) / np.float32(span), 0, 1)
            return replace(source, values=None, shares=shares), True
    return source, False


def _off_scale(values: FloatArray, config: SpectrogramConfig, knows_level: bool) -> list[str]:
    """Return sentences about values that are unlikely on the assumed scale."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return []
    loud_db = peak_db(finite, config)
    quiet_db = peak_db(finite.min(keepdims=True), config)
    advice = "they may be normalised or on another scale, see --scale, --power and --db-range"
    full_scale_db = 20 * float(np.log10(config.n_fft / 4))
    if config.kind != "linear":
        full_scale_db += 20 / config.power * float(np.log10(2 * mel_filters(config).max()))
    if knows_level and loud_db > full_scale_db + _LOUDER_DB:
        return [f"the loudest value is {loud_db - full_scale_db:.0f} dB above a sine of full scale: {advice}"]
    if config.scale != "linear" and 0 < loud_db - quiet_db < _NARROW_DB:
        return [f"the values span only {loud_db - quiet_db:.0f} dB: {advice}"]
    return []


def _changed(config: SpectrogramConfig, given: Mapping[str, object]) -> SpectrogramConfig:
    return SpectrogramConfig.from_dict({**config.to_dict(), **given})


def _assume(
    source: Source, given: Mapping[str, object], is_normalised: bool
) -> tuple[SpectrogramConfig, tuple[str, ...]]:
    rows = source.shape[0]
    usual: dict[str, object] = {}
    is_mel = rows in (*_MEL_ROWS, given.get("n_mels")) and rows not in _rows_of(given)
    kind = given.get("kind", "mel" if is_mel else "linear")
    usual["kind"] = kind
    usual["rate_hz"] = _USUAL_RATE_HZ
    if kind == "linear":
        usual["n_fft"] = min(8192, max(64, 2 * rows if rows & (rows - 1) == 0 else 2 * (rows - 1)))
    else:
        usual["n_mels"] = min(256, rows)
        usual["n_fft"] = 1024 if rows <= 100 else 2048
    n_fft = given.get("n_fft", usual["n_fft"])
    usual["hop_samples"] = max(1, int(str(n_fft)) // 4)
    usual["scale"] = "db" if source.values is None else _scale_of(source.values, str(kind))
    scale = given.get("scale", usual["scale"])
    # librosa and torchaudio use decibels of powers, speech synthesis logarithms of magnitudes
    usual["power"] = 2 if kind != "linear" and scale == "db" and not is_normalised else 1
    if source.colours is not None:
        usual["colour"] = given.get("colour") or guess(source.colours)
    if source.values is None:
        usual["order"] = "low-at-top" if is_normalised else "low-at-bottom"
    config = SpectrogramConfig.from_dict({**SpectrogramConfig().to_dict(), **usual, **given})
    without_say = {"power"} if (kind, scale) == ("linear", "db") else set()
    assumed = tuple(
        f"{_OPTION[name]} {value}" for name, value in usual.items() if name not in given and name not in without_say
    )
    return config, assumed


def _rows_of(given: Mapping[str, object]) -> tuple[int, ...]:
    """The numbers of rows that the options allow for a spectrogram of linear frequency. Raises ValueError."""
    n_fft = given.get("n_fft")
    if not isinstance(n_fft, int):
        return ()
    known = {name: given[name] for name in ("rate_hz", "fmin_hz", "fmax_hz") if name in given}
    config = SpectrogramConfig.from_dict(
        {**SpectrogramConfig(rate_hz=_USUAL_RATE_HZ, hop_samples=1).to_dict(), **known, "n_fft": n_fft}
    )
    return (n_fft // 2, n_fft // 2 + 1, config.rows)


def _scale_of(values: FloatArray, kind: str) -> str:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low >= 0:
        return "linear"
    if high - low > 30:
        return "db"
    return "ln" if kind != "linear" else "log10"


def _with_range(
    config: SpectrogramConfig,
    source: Source,
    db_range: tuple[float, float] | float | None,
    usual_range_db: float,
) -> tuple[SpectrogramConfig, bool]:
    """Return the configuration with its range of decibels, and whether the loudness is known."""
    if isinstance(db_range, tuple):
        return replace(config, low_db=db_range[0], high_db=db_range[1]), True
    if source.settings is not None and db_range is None:
        return config, source.knows_level
    loud_db = _LOUD_DB[config.kind] + 20 * float(np.log10(config.n_fft / 1024))
    relative = replace(config, low_db=loud_db - (db_range or usual_range_db), high_db=loud_db)
    if source.values is None:
        return relative, False
    is_relative = config.scale == "db" and abs(float(source.values.max())) < 1e-3  # librosa's ref=numpy.max
    return relative, source.knows_level and not is_relative


def _shares(source: Source, config: SpectrogramConfig, is_told: bool, remarks: list[str]) -> FloatArray:
    """Return shares of the range, with transparent pixels as silence."""
    shares = _opaque_shares(source, config, is_told, remarks)
    if source.transparent is None or not source.transparent.any():
        return shares
    remarks.append(f"{source.transparent.mean():.0%} of the picture is transparent and was taken as silent")
    return np.where(source.transparent, np.float32(0), shares)


def _opaque_shares(source: Source, config: SpectrogramConfig, is_told: bool, remarks: list[str]) -> FloatArray:
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
