"""The steps of ``audio-avif invert``: read, print the definition, make sound, write, and score."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.edge.sound_files import read_audio, read_header, sound_writer
from audio_avif.errors import FileError
from audio_avif.metrics import MAX_CLIP_S, SCORES
from audio_avif.recording.segments import Part, PartJoiner, cut_parts, speak_part
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif.vocoders.griffin_lim import stft
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.registry import load_vocoder
from audio_avif_tools.spectrograms.definitions import SpectrogramConfig, find_phases, has_grid_of, is_mel, log_mel_for
from audio_avif_tools.spectrograms.figures import Box
from audio_avif_tools.spectrograms.guess import Readable, settle
from audio_avif_tools.spectrograms.picture_files import load_array, read_spectrogram
from audio_avif_tools.spectrograms.spectrogram_command import definition

ITERATIONS = 64
MOMENTUM = 0.99
_PART_VALUES = 1 << 21  # of a segment's spectra, of which several copies of eight bytes per value are held
_MIN_PART_FRAMES = 256
_BLOCK_FRAMES = 4096
_UNKNOWN_LEVEL_PEAK = 0.5


def invert(options: argparse.Namespace, output: Path) -> None:
    """Make the sound file of the options; print the assumptions and the losses.

    Raises FileError, ModelError.
    """
    if options.reference is not None:
        read_header(options.reference)  # report a wrong name now, not after minutes
    crop = None if options.crop is None else Box(*options.crop)
    readables = [
        settle(source, definition(options), options.db_range, options.layout, options.force)
        for source in read_spectrogram(options.input, crop)
    ]
    readable = readables[0]  # the channels of a picture differ only in their values
    print(_first_line(options.input, readable))
    for remark in readable.remarks:
        print(f"note: {remark}")
    samples = np.stack([_sound(channel, options) for channel in readables], axis=1)
    gain = _gain(samples, readable.knows_level)
    samples = samples * np.float32(gain)
    rate_hz = readable.config.rate_hz
    _write(output, samples, rate_hz)
    channels = "" if len(readables) == 1 else f", {len(readables)} channels"
    print(f"{output}: {len(samples) / rate_hz:.2f} s at {rate_hz} Hz{channels}, {_level(samples, gain, readable)}")
    if options.reference is not None:
        print(_scores(options.reference, samples.mean(axis=1), rate_hz, readable.knows_level))


def _sound(readable: Readable, options: argparse.Namespace) -> FloatArray:
    """Make the sound ``[samples]`` of one channel; print the losses of the vocoder."""
    if options.vocoder == "griffin-lim":
        iterations = ITERATIONS if options.iterations is None else options.iterations
        momentum = MOMENTUM if options.momentum is None else options.momentum
        frames = readable.values.shape[1]
        phases = None if options.phase is None else _phases(options.phase, readable.config, frames)
        samples = _without_model(readable, iterations, momentum, phases)
    else:
        vocoder = load_vocoder(device="cpu", name=options.vocoder)
        for loss in _losses(readable.config, vocoder):
            print(f"note: {loss}")
        samples = _with_model(readable, vocoder)
    return np.pad(samples, (0, max(0, readable.samples - samples.size)))[: readable.samples]


def _first_line(path: Path, readable: Readable) -> str:
    config = readable.config
    said = f"assumed {', '.join(readable.assumed)}" if readable.assumed else "nothing was assumed"
    return f"{path}: {config}; {_shown_as(readable)}{said}"


def _shown_as(readable: Readable) -> str:
    config = readable.config
    if not readable.is_picture:
        if readable.knows_level:
            return ""
        return f"{'0 dB' if config.scale == 'db' else '1'} is a loudest that is unknown; "
    span = f"{config.low_db:g} to {config.high_db:g} dB"
    if not readable.knows_level:
        span = f"{config.high_db - config.low_db:g} dB under a loudest that is unknown"
    return f"{span}, {config.colour}, {config.order}; "


def _phases(path: Path, config: SpectrogramConfig, frames: int) -> FloatArray:
    """Read angles ``[bins, frames]`` from an array, or from the STFT of a sound file."""
    if path.suffix.lower() == ".npy":
        angles = load_array(path)
        if angles.shape != (config.bins, frames) or not np.isfinite(angles).all():
            raise FileError(f"{path} must be angles [{config.bins}, {frames}], not {list(angles.shape)}")
        return angles.astype(np.float32)
    samples = read_audio(path, config.rate_hz)
    samples = np.pad(samples, (0, max(0, frames * config.hop_samples - samples.size)))[: frames * config.hop_samples]
    return np.angle(stft(samples.astype(np.float64), config)).T.astype(np.float32)


def _without_model(readable: Readable, iterations: int, momentum: float, phases: FloatArray | None) -> FloatArray:
    """Run Griffin-Lim in segments that fit in memory."""
    config = readable.config
    joiner = PartJoiner(config.hop_samples)
    spoken: list[FloatArray] = []
    first = 0
    parts = cut_parts([readable.values[None]], max(_MIN_PART_FRAMES, _PART_VALUES // config.bins))
    for part in _shown(parts, readable.values.shape[1]):
        start = first - part.lead_frames
        frames = part.log_mel.shape[2]
        angles = None if phases is None else phases[:, start : start + frames]
        samples = find_phases(part.log_mel[0], config, iterations=iterations, momentum=momentum, angles=angles)
        spoken.append(joiner.push(samples[None, part.lead_frames * config.hop_samples :], part.is_last)[0])
        first += spoken[-1].size // config.hop_samples
    return np.concatenate(spoken)


def _with_model(readable: Readable, vocoder: Vocoder) -> FloatArray:
    """Run the vocoder, and resample to the rate of the picture."""
    config, mel = readable.config, vocoder.mel
    if has_grid_of(config, mel):
        blocks = range(0, readable.values.shape[1], _BLOCK_FRAMES)
        pieces = [log_mel_for(readable.values[:, at : at + _BLOCK_FRAMES], config, mel) for at in blocks]
    else:
        # Interpolated magnitudes of other windows belong to no sound: every score was lower.
        heard = _without_model(readable, ITERATIONS, MOMENTUM, None)[: readable.samples]
        pieces = [log_mel(_at_rate(heard, config.rate_hz, mel.rate_hz), mel)]
    joiner = PartJoiner(mel.hop_samples)
    frames = sum(piece.shape[1] for piece in pieces)
    parts = _shown(cut_parts(piece[None] for piece in pieces), frames)
    samples = np.concatenate([joiner.push(speak_part(part, vocoder), part.is_last)[0] for part in parts])
    return _at_rate(samples, mel.rate_hz, config.rate_hz)


def _shown(parts: Iterable[Part], frames: int) -> Iterator[Part]:
    """Yield the segments, with a progress bar."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("inverting", total=frames)
        for part in parts:
            yield part
            progress.advance(task, part.log_mel.shape[2] - part.lead_frames)


def _at_rate(samples: FloatArray, rate_hz: int, wanted_hz: int) -> FloatArray:
    import soxr

    return samples if rate_hz == wanted_hz else np.asarray(soxr.resample(samples, rate_hz, wanted_hz), np.float32)


def _losses(config: SpectrogramConfig, vocoder: Vocoder) -> Iterator[str]:
    """Return a sentence for each loss between the spectrogram and the vocoder's mel."""
    mel = vocoder.mel
    if is_mel(config, mel):
        return
    yield f"{vocoder.name} gets the mel that it was trained on, {mel.n_mels} bands {mel.fmin_hz:g}-{mel.fmax_hz:g} Hz"
    if config.kind != "linear":
        yield f"{config.n_mels} bands become magnitudes by the pseudo-inverse, which loses detail within a band"
        if config.n_mels < mel.n_mels:
            yield f"{config.n_mels} bands hold less detail than {mel.n_mels} would"
    if config.top_hz < mel.fmax_hz:
        yield f"the spectrogram ends at {config.top_hz:g} Hz, so the sound has nothing above it"
    if config.fmin_hz > mel.fmin_hz:
        yield f"the spectrogram begins at {config.fmin_hz:g} Hz, so the sound has nothing below it"
    if config.top_hz > mel.fmax_hz:
        yield f"the vocoder drops the spectrogram above {mel.fmax_hz:g} Hz"
    if not has_grid_of(config, mel):
        yield (
            f"windows of {_ms(config.n_fft, config.rate_hz)} every {_ms(config.hop_samples, config.rate_hz)} are not "
            f"the vocoder's of {_ms(mel.n_fft, mel.rate_hz)} every {_ms(mel.hop_samples, mel.rate_hz)}: the sound "
            "of griffin-lim is analysed again, and its errors reach the vocoder"
        )


def _ms(samples: int, rate_hz: int) -> str:
    return f"{1000 * samples / rate_hz:.1f} ms"


def _gain(samples: FloatArray, knows_level: bool) -> float:
    peak = float(np.abs(samples).max(initial=0.0))
    if not knows_level:
        return _UNKNOWN_LEVEL_PEAK / peak if peak > 0 else 1.0
    return min(1.0, 0.999 / peak) if peak > 0 else 1.0


def _level(samples: FloatArray, gain: float, readable: Readable) -> str:
    peak = float(np.abs(samples).max(initial=0.0))
    text = f"peak {20 * np.log10(peak):.1f} dB" if peak > 0 else "silent"
    if not readable.knows_level:
        return f"{text}, because the loudness is unknown"
    return f"{text}, made quieter by {-20 * np.log10(gain):.1f} dB to avoid clipping" if gain < 1 else text


def _write(path: Path, samples: FloatArray, rate_hz: int) -> None:
    """Write ``[samples, channels]``."""
    with sound_writer(path, samples.shape[1], rate_hz) as write:
        write(samples)


def _scores(reference: str, samples: FloatArray, rate_hz: int, knows_level: bool) -> str:
    """Return a line of scores against the original, with the packages that are missing for some."""
    original = read_audio(reference)
    heard = _at_rate(samples, rate_hz, RATE_HZ)
    size = min(original.size, heard.size)
    if not size:
        raise FileError(f"{reference} is empty")
    original, heard = original[:size], heard[:size]
    if not knows_level and heard.any():
        heard = heard * np.float32(np.sqrt(np.mean(original**2) / np.mean(heard**2)))
    pieces = -(-size // (MAX_CLIP_S * RATE_HZ))
    pairs = list(zip(np.array_split(original, pieces), np.array_split(heard, pieces), strict=True))
    told = []
    for score in (SCORES["stoi"], SCORES["pesq_wb"], SCORES["mel_distance"]):
        if (missing := score.missing()) is not None:
            told.append(missing)
            continue
        values = [value for pair in pairs if not np.isnan(value := score(*pair))]
        told.append(f"{score.title} {np.mean(values):.{score.decimals}f}" if values else f"{score.title} has no answer")
    return f"against {reference}: {', '.join(told)}"
