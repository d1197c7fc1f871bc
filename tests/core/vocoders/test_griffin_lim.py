"""Mel inversion without a model: the stream's contract, and what comes out of both forms."""

from __future__ import annotations

import csv
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_avif.config import MelConfig
from audio_avif.signal.features import hann, log_mel, mel_basis
from audio_avif.types import FloatArray
from audio_avif.vocoders.griffin_lim import GriffinLim, RtisiLa, magnitudes, pseudo_inverse
from support.paths import CORPUS

MEL = MelConfig()
HOP = MEL.hop_samples
SILENT_LOG10 = float(np.log10(MEL.floor))
Invert = Callable[[FloatArray], FloatArray]


def stream(frames: FloatArray, chunks: list[int] | None = None, mel: MelConfig = MEL) -> FloatArray:
    """Run a whole log-mel through a stream, in chunks of the given widths."""
    vocoder = RtisiLa(mel)
    parts = np.split(frames, np.cumsum(chunks or []), axis=1)
    return np.concatenate([*(vocoder.push(part) for part in parts), vocoder.flush()])


def offline(frames: FloatArray) -> FloatArray:
    return GriffinLim(MEL).synthesize(frames)


def speechlike(seconds: float, seed: int = 0) -> FloatArray:
    """A buzz with a gliding pitch, gaps and noise: harmonics, onsets and silence for the iteration to chew on."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * MEL.rate_hz)) / MEL.rate_hz
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 1.3 * time_s)) / MEL.rate_hz
    buzz = np.sum([np.sin(k * phase) / k for k in range(1, 30)], axis=0)
    loudness = np.maximum(0, np.sin(2 * np.pi * 2.1 * time_s))
    return (0.1 * loudness * buzz + 1e-3 * rng.standard_normal(time_s.size)).astype(np.float32)


SPEECHLIKE_LOG_MEL = log_mel(speechlike(0.5), MEL)
BOTH_FORMS = pytest.mark.parametrize("invert", [offline, stream], ids=["offline", "stream"])


# Magnitudes


def test_pseudo_inverse_is_one_and_is_cached() -> None:
    inverse, basis = pseudo_inverse(MEL), mel_basis(MEL)
    np.testing.assert_allclose(basis @ inverse @ basis, basis, atol=1e-12)
    assert pseudo_inverse(MelConfig()) is inverse


def test_magnitudes_give_the_bands_back() -> None:
    frames = SPEECHLIKE_LOG_MEL
    bins = magnitudes(frames, MEL)
    bands = np.log10(np.maximum(mel_basis(MEL) @ bins, MEL.floor))
    assert bins.min() >= 0
    assert np.abs(bands - frames).mean() < 0.005  # a tenth of a decibel


def test_magnitudes_refuse_another_number_of_bands() -> None:
    with pytest.raises(ValueError, match=r"\[80, frames\]"):
        magnitudes(np.zeros((40, 3), np.float32), MEL)


# The stream's contract


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 9), max_size=12))
def test_any_chunking_equals_one_shot(chunks: list[int]) -> None:
    np.testing.assert_array_equal(stream(SPEECHLIKE_LOG_MEL, chunks), stream(SPEECHLIKE_LOG_MEL))


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 4, 5, 20])
@BOTH_FORMS
def test_every_frame_becomes_one_hop(invert: Invert, frames: int) -> None:
    samples = invert(SPEECHLIKE_LOG_MEL[:, :frames])
    assert samples.shape == (frames * HOP,)
    assert samples.dtype == np.float32


@pytest.mark.parametrize("lookahead_frames", [0, 1, 2, 3])
def test_samples_come_exactly_when_promised(lookahead_frames: int) -> None:
    vocoder = RtisiLa(MEL, lookahead_frames=lookahead_frames)
    assert vocoder.latency_samples == lookahead_frames * HOP + MEL.n_fft // 2
    emitted_samples = 0
    for newest_frame in range(12):
        emitted_samples += vocoder.push(SPEECHLIKE_LOG_MEL[:, newest_frame : newest_frame + 1]).size
        # The hop whose first sample lies latency_samples before the newest centre is out, and nothing after it.
        assert emitted_samples == max(0, (newest_frame + 1) * HOP - vocoder.latency_samples)
    assert emitted_samples + vocoder.flush().size == 12 * HOP


def test_the_default_latency_is_three_hops() -> None:
    assert RtisiLa().latency_samples == 768


def test_later_frames_do_not_change_earlier_samples() -> None:
    loud = np.zeros((MEL.n_mels, 10), np.float32)
    first = RtisiLa(MEL).push(SPEECHLIKE_LOG_MEL[:, :20])
    both = RtisiLa(MEL).push(np.concatenate([SPEECHLIKE_LOG_MEL[:, :20], loud], axis=1))
    np.testing.assert_array_equal(both[: first.size], first)


def test_flush_ends_the_stream_until_reset() -> None:
    vocoder = RtisiLa(MEL)
    first = np.concatenate([vocoder.push(SPEECHLIKE_LOG_MEL), vocoder.flush()])
    assert vocoder.flush().size == 0
    with pytest.raises(ValueError, match="reset"):
        vocoder.push(SPEECHLIKE_LOG_MEL)
    vocoder.reset()
    np.testing.assert_array_equal(np.concatenate([vocoder.push(SPEECHLIKE_LOG_MEL), vocoder.flush()]), first)


@pytest.mark.parametrize("hop_samples", [128, 256, 512, 1024])
def test_other_overlaps_keep_the_contract(hop_samples: int) -> None:
    mel = MelConfig(hop_samples=hop_samples)
    frames = log_mel(speechlike(0.3), mel)
    vocoder = RtisiLa(mel)
    emitted_samples = 0
    for newest_frame in range(frames.shape[1]):
        emitted_samples += vocoder.push(frames[:, newest_frame : newest_frame + 1]).size
        centre_samples = newest_frame * hop_samples - vocoder.latency_samples
        assert emitted_samples > centre_samples
        assert emitted_samples <= max(0, centre_samples + hop_samples)
    assert emitted_samples + vocoder.flush().size == frames.shape[1] * hop_samples
    samples = GriffinLim(mel, iterations=2).synthesize(frames)
    assert samples.size == frames.shape[1] * hop_samples
    assert np.isfinite(samples).all()


# What comes out


@pytest.mark.parametrize(("hertz", "tolerance_hz", "min_gain"), [(220, 4, 0.9), (1000, 4, 0.9), (3000, 40, 0.5)])
@BOTH_FORMS
def test_a_sine_stays_a_sine(invert: Invert, hertz: float, tolerance_hz: float, min_gain: float) -> None:
    """To within the width of a mel band, over which the energy of a higher sine is spread."""
    sine = (0.3 * np.sin(2 * np.pi * hertz * np.arange(MEL.rate_hz) / MEL.rate_hz)).astype(np.float32)
    samples = invert(log_mel(sine, MEL))[4 * HOP : -4 * HOP]
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size), 4 * MEL.rate_hz))
    assert abs(np.argmax(spectrum) / 4 - hertz) < tolerance_hz
    assert min_gain < np.sqrt(np.mean(samples**2) / np.mean(sine**2)) < 1.1


@pytest.mark.parametrize("hop", [10, 17, 24])
@BOTH_FORMS
def test_a_click_stays_where_it_was(invert: Invert, hop: int) -> None:
    click = np.zeros(40 * HOP, np.float32)
    click[hop * HOP] = 1.0
    samples = invert(log_mel(click, MEL))
    assert abs(int(np.argmax(np.abs(samples))) - hop * HOP) <= 64


@BOTH_FORMS
def test_silence_stays_silent(invert: Invert) -> None:
    samples = invert(np.full((MEL.n_mels, 12), SILENT_LOG10, np.float32))
    assert np.abs(samples).max() < 1e-6


@BOTH_FORMS
def test_silence_after_speech_is_silent_again(invert: Invert) -> None:
    silence = np.full((MEL.n_mels, 20), SILENT_LOG10, np.float32)
    samples = invert(np.concatenate([SPEECHLIKE_LOG_MEL, silence], axis=1))
    assert np.abs(samples[-16 * HOP :]).max() < 1e-6


@pytest.mark.parametrize("value", [-1e9, 4.0, 1e9, np.inf, -np.inf, np.nan])
@BOTH_FORMS
def test_absurd_values_stay_finite_and_in_range(invert: Invert, value: float) -> None:
    frames = SPEECHLIKE_LOG_MEL[:, :12].copy()
    frames[:, 6] = value
    samples = invert(frames)
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1.0


@pytest.mark.parametrize("iterations", [0, 32])
def test_the_true_phase_of_a_lossless_mel_gives_the_signal_back(iterations: int) -> None:
    """With bands narrower than a bin the magnitudes are exact, so true phases make a consistent spectrogram."""
    mel = MelConfig(n_fft=64, hop_samples=16, n_mels=256, fmin_hz=0, fmax_hz=8000)
    time_s = np.arange(4000) / mel.rate_hz
    signal = (0.3 * np.sin(2 * np.pi * 2000 * time_s) * np.hanning(4000)).astype(np.float32)
    padded = np.pad(signal.astype(np.float64), mel.n_fft // 2)
    cut = np.lib.stride_tricks.sliding_window_view(padded, mel.n_fft)[:: mel.hop_samples]
    phase = np.angle(np.fft.rfft(cut * hann(mel.n_fft))).T
    samples = GriffinLim(mel, iterations).synthesize(log_mel(signal, mel), phase)[: signal.size]
    assert np.sum((samples - signal) ** 2) < 1e-6 * np.sum(signal**2)  # 60 dB


def test_a_phase_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="initial_phase"):
        GriffinLim(MEL).synthesize(SPEECHLIKE_LOG_MEL, np.zeros((513, 2)))


# Real speech


def clean_clips(count: int) -> list[FloatArray]:
    """Clips spread over the clean part of the public corpus, at most six seconds of each."""
    with (CORPUS / "manifest.csv").open(newline="") as manifest:
        names = [row["file"] for row in csv.DictReader(manifest) if row["kind"] == "clean"]
    chosen = names[:: len(names) // count][:count]
    return [soundfile.read(CORPUS / name, dtype="float32", frames=6 * MEL.rate_hz)[0] for name in chosen]


@pytest.mark.slow
@pytest.mark.corpus
@pytest.mark.skipif(not (CORPUS / "manifest.csv").is_file(), reason=f"no speech corpus at {CORPUS}")
def test_clean_mels_come_out_as_good_speech() -> None:
    from pesq import pesq

    scores: dict[str, list[float]] = {"stream": [], "offline": []}
    for clip in clean_clips(8):
        frames = log_mel(clip, MEL)
        for name, invert in (("stream", stream), ("offline", offline)):
            scores[name].append(pesq(MEL.rate_hz, clip, invert(frames)[: clip.size], "wb"))
    assert np.mean(scores["stream"]) >= 2.5, scores
    assert np.mean(scores["offline"]) >= 2.5, scores
