"""Long log-mels spoken in parts, which can be made side by side and are joined without a seam.

A part ends where it is quietest within a second, and begins a quarter of a second early, so that the vocoder has heard
what leads up to it. Two networks that heard different pasts choose different phases; in the quiet place, one hop of
crossfade hides it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from audio_avif.types import FloatArray
from audio_avif.vocoders.mel_consistency import ConsistentVocoder
from audio_avif.vocoders.onnx_model import OnnxVocoder
from audio_avif.vocoders.protocol import Vocoder, VocoderStream
from audio_avif.vocoders.streaming import ContextStream, StateStream, open_stream

PART_FRAMES = 3750
_SEARCH_FRAMES = 62
_LEAD_FRAMES = 16
_OVERLAP_FRAMES = 1
_CALL_FRAMES = 256


@dataclass(frozen=True)
class Part:
    """``log_mel [channels, n_mels, frames]``, of which the first ``lead_frames`` only lead up to what is spoken."""

    log_mel: FloatArray
    lead_frames: int
    is_last: bool


def cut_parts(log_mels: Iterable[FloatArray], part_frames: int = PART_FRAMES) -> Iterator[Part]:
    """Cut pieces ``[channels, n_mels, frames]`` of one recording, of any lengths, into parts; the last may be short."""
    pending: FloatArray | None = None
    lead = 0
    for piece in log_mels:
        pending = piece if pending is None else np.concatenate([pending, piece], axis=2)
        while pending.shape[2] > lead + part_frames + _OVERLAP_FRAMES:
            search_from = lead + part_frames - _SEARCH_FRAMES
            loudness = pending[:, :, search_from : lead + part_frames].mean(axis=(0, 1))
            end = search_from + int(loudness.argmin()) + 1
            yield Part(pending[:, :, : end + _OVERLAP_FRAMES], lead, is_last=False)
            pending = pending[:, :, max(0, end - _LEAD_FRAMES) :]
            lead = min(end, _LEAD_FRAMES)
    if pending is not None:
        yield Part(pending, lead, is_last=True)


def speak_part(part: Part, vocoder: Vocoder) -> FloatArray:
    """Make ``[channels, samples]`` of a part, its overlap with the next one included."""
    lead_samples = part.lead_frames * vocoder.mel.hop_samples
    return np.stack([speak(log_mel, vocoder)[lead_samples:] for log_mel in part.log_mel])


def speak(log_mel: FloatArray, vocoder: Vocoder) -> FloatArray:
    """Make ``[samples]`` of ``[n_mels, frames]`` as ``vocoder.synthesize`` does, in less memory."""
    if not isinstance(vocoder, OnnxVocoder | ConsistentVocoder):
        return vocoder.synthesize(log_mel)
    stream = _open_whole(vocoder)
    calls = range(0, log_mel.shape[1], _CALL_FRAMES)
    return np.concatenate([*(stream.push(log_mel[:, at : at + _CALL_FRAMES]) for at in calls), stream.flush()])


def _open_whole(vocoder: OnnxVocoder | ConsistentVocoder) -> VocoderStream:
    """Start a stream whose sound is that of whole-signal synthesis."""
    if isinstance(vocoder, ConsistentVocoder):
        return open_stream(vocoder)
    receptive_frames = vocoder.info.receptive_frames
    if vocoder.has_state and not receptive_frames:
        return StateStream(vocoder)
    return ContextStream(vocoder, receptive_frames, receptive_frames)


class PartJoiner:
    """Joins spoken parts, in order, into one recording."""

    def __init__(self, hop_samples: int) -> None:
        self._overlap_samples = _OVERLAP_FRAMES * hop_samples
        ramp = (np.arange(self._overlap_samples, dtype=np.float32) + 0.5) / self._overlap_samples
        self._fade_in = np.sin(np.pi / 2 * ramp).astype(np.float32)  # of equal power: the two are unrelated
        self._tail: FloatArray | None = None

    def push(self, samples: FloatArray, is_last: bool) -> FloatArray:
        """Take what ``speak_part`` made ``[channels, samples]``; return the samples that are now final."""
        samples = samples.copy()
        if self._tail is not None:
            overlap = samples[:, : self._overlap_samples]
            overlap *= self._fade_in[: overlap.shape[1]]
            overlap += (self._tail * self._fade_in[::-1])[:, : overlap.shape[1]]
        if is_last:
            return samples
        self._tail = samples[:, -self._overlap_samples :].copy()
        return samples[:, : -self._overlap_samples]
