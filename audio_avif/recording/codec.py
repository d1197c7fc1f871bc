"""The file codec: recordings to AVIF pictures and back.

``encode`` and ``decode`` do it for samples in memory. ``PictureEncoder`` and ``PictureReader`` are for recordings of
hours: cells of ten seconds come out and go in one by one, and may be compressed and spoken by whoever has processors to
spare (``encode_cell``, ``audio_avif.recording.segments``).
"""

from __future__ import annotations

import base64
import html
import io

import numpy as np
import numpy.typing as npt

from audio_avif.config import RATE_HZ, MelConfig, whole_rate_hz
from audio_avif.errors import FileError, ModelError
from audio_avif.recording.grid import GridWriter
from audio_avif.recording.layout import PictureInfo
from audio_avif.recording.picture_encoder import FileConfig, PictureEncoder, encode_cell, max_seconds, write_picture
from audio_avif.recording.picture_reader import PictureReader
from audio_avif.recording.segments import PartJoiner, cut_parts, speak_part
from audio_avif.signal.samples import as_samples, float_scale, warn_of_scale
from audio_avif.types import FloatArray
from audio_avif.vocoders.protocol import Vocoder


class SoundPicture(bytes):
    """The bytes of an AVIF file that ``encode`` made; a notebook shows it as a picture with a player."""

    @property
    def info(self) -> PictureInfo:
        """What the picture says of itself."""
        return PictureReader(io.BytesIO(self)).info

    def _repr_html_(self) -> str:
        import soundfile

        audio, rate_hz = decode(self)
        wav = io.BytesIO()
        soundfile.write(wav, audio, rate_hz, format="WAV", subtype="PCM_16")
        info = self.info
        seconds = info.samples / info.mel.rate_hz
        text = f"{seconds:.1f} s, {len(self)} bytes, {8 * len(self) / 1000 / max(seconds, 1e-9):.1f} kbps"
        return (
            f'<figure style="margin:0"><img style="max-width:100%" alt="spectrogram" '
            f'src="data:image/avif;base64,{base64.b64encode(self).decode()}"><br>'
            f'<audio controls src="data:audio/wav;base64,{base64.b64encode(wav.getvalue()).decode()}"></audio>'
            f"<figcaption>{html.escape(text)}</figcaption></figure>"
        )


def encode(audio: npt.ArrayLike, rate_hz: float, config: FileConfig | None = None) -> SoundPicture:
    """Make an AVIF picture of a recording.

    Shape: ``[samples]`` or ``[samples, channels]``, one to four channels, floats in -1..1 or integers of 8, 16 or 32
    bits, at any rate that is a whole number.

    Raises ValueError for samples of another shape, TypeError for samples of another type, FileError for a recording
    that is empty or too long for a grid.
    """
    config = config or FileConfig()
    rate_hz = whole_rate_hz(rate_hz)
    samples = resampled(_as_columns(audio), rate_hz)
    max_s = max_seconds(samples.shape[1], config.layout)
    if samples.shape[0] >= max_s * RATE_HZ:
        raise FileError(
            f"a picture of {samples.shape[1]} channels holds at most {max_s / 3600:.1f} h; split the recording"
        )
    encoder = PictureEncoder(config, samples.shape[1], rate_hz)
    out = io.BytesIO()
    with GridWriter() as grid:
        for cell in [*encoder.push(samples), *encoder.flush()]:
            grid.add(encode_cell(cell, config))
        write_picture(grid, encoder, config, out)
    return SoundPicture(out.getvalue())


def _as_columns(audio: npt.ArrayLike) -> FloatArray:
    columns = as_samples(audio)
    if (scale := float_scale(columns)) != 1:
        warn_of_scale("the recording", scale)
        columns = columns / np.float32(scale)
    if columns.ndim == 1:
        columns = columns[:, None]
    if columns.ndim != 2:
        raise ValueError(f"audio must be [samples] or [samples, channels], not of shape {columns.shape}")
    return columns


def resampled(samples: FloatArray, rate_hz: float) -> FloatArray:
    """``[samples, channels]`` at 16 kHz. Raises ValueError for a rate that is none."""
    rate_hz = whole_rate_hz(rate_hz)
    if rate_hz == RATE_HZ or not samples.size:
        return samples
    import soxr

    return np.asarray(soxr.resample(samples, rate_hz, RATE_HZ), np.float32)


def decode(picture: bytes, vocoder: Vocoder | None = None) -> tuple[FloatArray, int]:
    """Make sound of a picture: ``[samples]``, or ``[samples, channels]`` of several, float32 in -1..1, and its rate.

    The default vocoder is ``embedded-high``. Raises FileError where the bytes are no such picture, ModelError where the
    vocoder is for another mel.
    """
    reader = PictureReader(io.BytesIO(picture))
    if vocoder is None:
        from audio_avif.vocoders.registry import HIGH, load_vocoder

        vocoder = load_vocoder(device="cpu", name=HIGH)
    require_fit(vocoder, reader.info.mel)
    joiner = PartJoiner(reader.info.mel.hop_samples)
    parts = [joiner.push(speak_part(part, vocoder), part.is_last) for part in cut_parts(reader.log_mels())]
    audio = np.concatenate(parts, axis=1)[:, : reader.info.samples].T
    return np.ascontiguousarray(audio[:, 0] if reader.info.channels == 1 else audio), reader.info.mel.rate_hz


def require_fit(vocoder: Vocoder, mel: MelConfig) -> None:
    """Raises ModelError where the vocoder was made for another mel."""
    if vocoder.mel != mel:
        raise ModelError(f"vocoder {vocoder.name} is for {vocoder.mel}, but the picture has {mel}")
