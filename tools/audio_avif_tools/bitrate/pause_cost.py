"""What pauses as noise save and cost: a scene sent with every tile, and with its pauses replaced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_avif.codec.decoder import Decoder
from audio_avif.codec.encoder import Encoder
from audio_avif.codec.noise import INAUDIBLE_LOG10
from audio_avif.config import RATE_HZ, EncoderConfig, MelConfig, TileConfig
from audio_avif.link.hello import Hello
from audio_avif.link.packets import NOISE_LEVELS, Bundle
from audio_avif.metrics import pesq_wb, stoi
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.streaming import open_stream
from audio_avif_tools.bitrate.scenes import Scene, perform

_MEL, _TILE = MelConfig(), TileConfig()
TILE_SAMPLES = _TILE.frames * _MEL.hop_samples

PAUSES_HEADER = (
    "scene", "pauses", "speech in them", "kbps without", "kbps with", "kbps in pauses", "STOI without", "change",
    "worst clip", "PESQ without", "change", "level in pauses, dB", "without",
)  # fmt: skip


@dataclass(frozen=True)
class Heard:
    """One recording decoded without and with its pauses replaced, both of the recording's length.

    ``is_pause`` is ``[tiles]``; the bytes of the packets are listed by first frame.
    """

    is_pause: npt.NDArray[np.bool_]
    sent_bytes: dict[int, int]
    all_bytes: dict[int, int]
    plain: FloatArray
    replaced: FloatArray


def transmit(microphone: FloatArray, vocoder: Vocoder) -> Heard:
    """Send a recording once tile by tile and once with its pauses as comfort noise."""
    plain, all_bytes = streamed(microphone, vocoder, dtx=False)
    replaced, sent_bytes = streamed(microphone, vocoder, dtx=True)
    is_pause = np.array([sent_bytes.get(first, NOISE_LEVELS) == NOISE_LEVELS for first in sorted(all_bytes)])
    return Heard(is_pause, sent_bytes, all_bytes, plain, replaced)


def streamed(microphone: FloatArray, vocoder: Vocoder, dtx: bool) -> tuple[FloatArray, dict[int, int]]:
    """Send a recording; return the decoded sound ``[samples]``, and the bytes of each packet by its first frame."""
    encoder = Encoder(_MEL, _TILE, EncoderConfig(dtx=dtx))
    decoder = Decoder(Hello(_MEL, _TILE, encoder.template, "pauses", live=False), open_stream(vocoder))
    heard: list[FloatArray] = []
    sizes: dict[int, int] = {}

    def speak() -> None:
        while (frames := decoder.next_frames(0.0)) is not None:
            heard.append(decoder.speak(frames).samples)

    for packet in [*encoder.push(microphone), *encoder.flush()]:
        assert not isinstance(packet, Bundle)  # no copies were requested
        sizes[packet.first_frame] = packet.payload_bytes
        decoder.push(packet)
        speak()
    decoder.end(encoder.bye())
    speak()
    heard.append(decoder.flush().samples)
    return np.concatenate(heard), sizes


def level_errors_db(microphone: FloatArray, heard: Heard) -> list[tuple[FloatArray, FloatArray]]:
    """Return for each pause of half a second its level above the original's in each group of bands.

    Two arrays ``[NOISE_LEVELS]`` in dB: with the pause replaced, and decoded from tiles. Inaudible groups are NaN.
    """
    original, plain, replaced = (_groups(log_mel(sound, _MEL)) for sound in (microphone, heard.plain, heard.replaced))
    errors = []
    for first, last in pause_runs(heard.is_pause):
        inside = slice(first * _TILE.frames + 4, last * _TILE.frames - 4)  # windows within the pause
        if (last - first) * _TILE.frames * _MEL.frame_s < 0.5:
            continue
        level = original[:, inside].mean(axis=1)
        unheard = np.where(level > INAUDIBLE_LOG10, 0.0, np.nan)
        one, other = (20 * (sound[:, inside].mean(axis=1) - level) + unheard for sound in (replaced, plain))
        errors.append((one, other))
    return errors


def _groups(frames: FloatArray) -> FloatArray:
    return np.asarray(frames.reshape(NOISE_LEVELS, -1, frames.shape[1]).mean(axis=1), np.float32)


def pause_runs(is_pause: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield the first tile of each pause and the first tile after it."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_pause.astype(int), [0]])))
    return ((int(first), int(end)) for first, end in edges.reshape(-1, 2))


def measure_pauses(scene: Scene, clips: Sequence[FloatArray], vocoder: Vocoder) -> list[str]:
    """Return the scene's row of the table."""
    scores, losses, rates, errors = [], [], [], []
    for seed, clip in enumerate(clips):
        speech, microphone = perform(scene, clip, [*clips[:seed], *clips[seed + 1 :]], seed)
        heard = transmit(microphone, vocoder)
        inside = np.repeat(heard.is_pause, TILE_SAMPLES)[: speech.size]
        losses.append(float(np.sum(speech[inside] ** 2.0) / np.sum(speech**2.0)))
        pause_bytes = sum(size for size in heard.sent_bytes.values() if size == NOISE_LEVELS)
        totals = (sum(heard.all_bytes.values()), sum(heard.sent_bytes.values()), pause_bytes)
        rates.append([*totals, heard.is_pause.sum(), heard.is_pause.size])
        before = [score(speech, heard.plain) for score in (stoi, pesq_wb)]
        after = [score(speech, heard.replaced) for score in (stoi, pesq_wb)] if inside.any() else before
        scores.append([before[0], after[0], before[1], after[1]])
        errors += level_errors_db(microphone, heard)
    plain_stoi, stoi_, plain_pesq, pesq_ = np.nanmean(scores, axis=0)
    worst = np.nanmax(np.array(scores)[:, 0] - np.array(scores)[:, 1])
    all_bytes, sent_bytes, pause_bytes, pause_tiles, tiles = np.sum(rates, axis=0)
    kbps = 8e-3 * RATE_HZ / TILE_SAMPLES
    return [
        scene.name,
        f"{100 * pause_tiles / tiles:.1f} %",
        "none" if not max(losses) else f"{10 * np.log10(np.mean(losses)):.0f} dB",
        f"{all_bytes / tiles * kbps:.2f}",
        f"{sent_bytes / tiles * kbps:.2f}",
        f"{pause_bytes / pause_tiles * kbps:.2f}" if pause_tiles else "",
        f"{plain_stoi:.3f}",
        f"{stoi_ - plain_stoi:+.4f}",
        f"{-worst:+.4f}",
        f"{plain_pesq:.2f}",
        f"{pesq_ - plain_pesq:+.2f}",
        *(_level_cell([pair[which] for pair in errors]) for which in (0, 1)),
    ]  # fmt: skip


def _level_cell(errors: Sequence[FloatArray]) -> str:
    if not errors:
        return ""
    by_group = np.nanmean(errors, axis=0)
    return f"{np.nanmean(errors):+.1f} ({np.nanmin(by_group):+.1f} to {np.nanmax(by_group):+.1f})"
