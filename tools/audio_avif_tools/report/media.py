"""The spectrograms and sounds of a report as data URIs, at most ``SHOWN_S`` seconds of each recording."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from audio_avif.config import RATE_HZ, MelConfig
from audio_avif.recording.layout import PictureInfo, to_pixels
from audio_avif.recording.picture_reader import PictureReader
from audio_avif.signal.features import log_mel, mel_basis
from audio_avif.types import FloatArray
from audio_avif_tools.report.figures import SHOWN_S, Rendition, SourceFigures
from audio_avif_tools.shared.decoding import opened
from audio_avif_tools.shared.fidelity import Feed, cut

DIFFERENCE_DB = 6.0
"""The difference from the original at which the colours end."""

# Black through purple and orange to pale yellow, and blue through black to orange: dark where there is nothing to see.
LEVEL_COLOURS = ("#07060d", "#2a1250", "#6a1f78", "#b5366f", "#ee6a50", "#fbb35f", "#fdf3c0")
DIFFERENCE_COLOURS = ("#8fd0ff", "#2a78c8", "#0f1117", "#d8672a", "#ffd9a0")


@dataclass(frozen=True)
class RenditionMedia:
    """Data URIs of a picture's log-mel, its difference from the original, and the decoded sound."""

    after: str
    difference: str
    sound: str


@dataclass(frozen=True)
class Media:
    """Data URIs of ``frames`` frames of a recording from ``from_s`` on, and of its renditions in their order."""

    from_s: float
    frames: int
    before: str
    sound: str
    renditions: tuple[RenditionMedia, ...]

    @property
    def size(self) -> int:
        """The length of all data URIs."""
        uris = [self.before, self.sound]
        for each in self.renditions:
            uris += [each.after, each.difference, each.sound]
        return sum(map(len, uris))


def make_media(figures: SourceFigures) -> Media:
    """Read the shown excerpt of a recording and its renditions. Raises FileError where a file cannot be read."""
    hop = MelConfig().hop_samples
    first_frame = round(figures.shown_from_s * RATE_HZ / hop) if figures.is_cut else 0
    window = (first_frame * hop, SHOWN_S * RATE_HZ)
    margin = min(window[0], MelConfig().n_fft)
    [wide] = cut(figures.source.path, [(window[0] - margin, margin + window[1] + MelConfig().n_fft)])
    original = wide[:, margin : margin + window[1]]
    frames = 1 + (original.shape[1] - (1 if figures.is_cut else 0)) // hop
    mel = np.stack([log_mel(row) for row in wide])[:, :, margin // hop :][:, :, :frames]
    renditions = []
    for each in figures.renditions:
        shown, info = _read_picture(each.rendition, first_frame, mel.shape[2])
        mel = mel[:, :, : shown.shape[2]]
        [heard] = cut(each.rendition.sound, [window])
        renditions.append(
            RenditionMedia(_level_picture(shown, info), _difference_picture(mel, shown, info), _sound(heard))
        )
    return Media(
        first_frame * hop / RATE_HZ, mel.shape[2], _level_picture(mel, info), _sound(original), tuple(renditions)
    )


def _read_picture(rendition: Rendition, first_frame: int, frames: int) -> tuple[FloatArray, PictureInfo]:
    with opened(rendition.picture) as file:
        reader = PictureReader(file)
        feed = Feed(reader.log_mels())
        for at in range(0, first_frame, 4096):
            feed.take(min(4096, first_frame - at))
        shown = feed.take(frames)
        assert shown is not None
        return shown, reader.info


def _level_picture(mel: FloatArray, info: PictureInfo) -> str:
    plain = replace(info, depth=8, layout="stacked", side_cells="", channels=mel.shape[0])
    return _picture(to_pixels(mel, plain).astype(np.uint8, copy=False), LEVEL_COLOURS)


def _difference_picture(before: FloatArray, after: FloatArray, info: PictureInfo) -> str:
    first, second = (np.clip(mel, info.log10_min, info.log10_max) for mel in (before, after))
    difference_db = 20 * (second - first)[:, ::-1]
    levels = np.rint(np.clip(difference_db / DIFFERENCE_DB, -1, 1) * 127 + 128).astype(np.uint8)
    return _picture(levels.reshape(-1, levels.shape[2]), DIFFERENCE_COLOURS)


def _picture(levels: npt.NDArray[np.uint8], stops: tuple[str, ...]) -> str:
    image = Image.fromarray(levels, "P")
    image.putpalette(_palette(stops).tobytes())
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return _data_uri("image/png", out.getvalue())


def _palette(stops: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """256 colours ``[256, 3]`` interpolated between equally spaced ``stops``."""
    anchors = np.array([[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in stops], np.float64)
    places = np.linspace(0, 255, len(stops))
    channels = [np.interp(np.arange(256), places, anchors[:, i]) for i in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def _sound(samples: FloatArray) -> str:
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, samples.T, RATE_HZ, format="FLAC", subtype="PCM_16")
    return _data_uri("audio/flac", out.getvalue())


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def frequency_ticks() -> list[tuple[float, str]]:
    """Labels along the height of one channel: the share of the height from below, and the text."""
    mel = MelConfig()
    centres_hz = mel_basis(mel).argmax(axis=1) * mel.rate_hz / mel.n_fft
    marks = {500: "0.5", 1000: "1", 2000: "2", 4000: "4 kHz"}
    return [((int(np.abs(centres_hz - hz).argmin()) + 0.5) / mel.n_mels, text) for hz, text in marks.items()]


def time_ticks(from_s: float, seconds: float) -> list[tuple[float, str]]:
    """Labels at round times along a picture: the share of its width, and the text."""
    step = next((step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if seconds / step <= 6), 10)
    first = int(np.ceil(from_s / step - 1e-6))
    ticks = []
    for i in range(first, int(np.floor((from_s + seconds) / step + 1e-6)) + 1):
        at = i * step
        ticks.append((min(1.0, max(0.0, (at - from_s) / max(seconds, 1e-9))), clock(at)))
    return ticks


def duration(seconds: float) -> str:
    """A length of time: 8.5 s, 1 min 20 s, 1 h 2 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def clock(seconds: float) -> str:
    """A position in time: 0.5 s, 1:20, 1:02:03."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
