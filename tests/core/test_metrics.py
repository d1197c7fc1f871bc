"""Scores know the same from the worse, say when they have no answer, and what to install."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest

from audio_avif import metrics
from audio_avif.config import RATE_HZ
from audio_avif.errors import AudioAvifError
from audio_avif.metrics import MAX_CLIP_S, SCORES, Score
from audio_avif.types import FloatArray
from audio_avif_tools.shared.signals import demo_clip

BEST = {"pesq_wb": 4.6, "stoi": 1.0, "estoi": 1.0, "visqol": 4.2, "dnsmos": 2.5, "mel_distance": 0.0}


@pytest.fixture(params=SCORES.values(), ids=list(SCORES))
def score(request: pytest.FixtureRequest) -> Score:
    chosen: Score = request.param
    if (reason := chosen.missing()) is not None:
        pytest.skip(reason)
    return chosen


def clip(seconds: float = 4.6) -> FloatArray:
    return demo_clip()[: round(seconds * RATE_HZ)]


def with_noise(sound: FloatArray, level: float) -> FloatArray:
    noise = np.random.default_rng(0).normal(size=sound.size)
    return (sound + level * noise).astype(np.float32)


def test_the_same_is_best_and_more_noise_is_worse(score: Score) -> None:
    sound = clip()
    levels = [score(sound, sound), score(sound, with_noise(sound, 0.003)), score(sound, with_noise(sound, 0.05))]
    assert levels == sorted(levels, reverse=score.higher_is_better) and len(set(levels)) == 3
    assert levels[0] == pytest.approx(BEST[score.key], abs=1e-5) or levels[0] > BEST[score.key]


def test_silence_has_no_score(score: Score) -> None:
    silence = np.zeros_like(clip())
    assert math.isnan(score(clip(), silence)) and math.isnan(score(silence, clip()))


@pytest.mark.parametrize("samples", [1, 300, 3000])
@pytest.mark.parametrize("key", ["pesq_wb", "stoi", "estoi"])
def test_a_clip_too_short_for_a_score_has_none(key: str, samples: int) -> None:
    clip = np.full(samples, 0.5, np.float32)
    assert math.isnan(SCORES[key](clip, clip))


@pytest.mark.parametrize("key", ["pesq_wb", "stoi", "estoi", "visqol"])
def test_a_fifth_of_a_second_has_no_score_by_what_needs_more(key: str) -> None:
    if (reason := SCORES[key].missing()) is not None:
        pytest.skip(reason)
    short = demo_clip()[4_000:7_200]
    assert math.isnan(SCORES[key](short, short))


def test_bad_samples_are_the_callers_mistake(score: Score) -> None:
    sound = clip(2.0)
    broken = sound.copy()
    broken[7] = np.nan
    with pytest.raises(ValueError, match="equal length"):
        score(sound, sound[:-1])
    with pytest.raises(ValueError, match="finite"):
        score(sound, broken)
    with pytest.raises(ValueError, match="at most"):
        score(*[np.ones(MAX_CLIP_S * RATE_HZ + 1, np.float32)] * 2)


def test_speech_that_starts_and_stops_all_the_time_does_not_overrun_pesq() -> None:
    if (reason := SCORES["pesq_wb"].missing()) is not None:
        pytest.skip(reason)
    sound = np.random.default_rng(0).normal(scale=0.2, size=MAX_CLIP_S * RATE_HZ).astype(np.float32)
    sound[np.arange(sound.size) // 3_360 % 2 == 1] = 0.0
    assert 1.0 <= SCORES["pesq_wb"](sound, with_noise(sound, 0.01)) < 4.64


def test_the_mel_distance_of_twice_the_level_is_that_of_6_db() -> None:
    noise = np.random.default_rng(0).normal(scale=0.1, size=32_000).astype(np.float32)
    assert metrics.mel_distance(noise, 2 * noise) == pytest.approx(math.log10(2), rel=1e-3)


def test_what_is_missing_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert SCORES["mel_distance"].missing() is None
    for key in ("pesq_wb", "stoi", "visqol", "dnsmos"):
        reason = SCORES[key].missing()
        assert reason is not None and "\n" not in reason
        extra = "report" if key in ("pesq_wb", "stoi") else "bench"
        assert SCORES[key].title in reason and reason.endswith(f"pip install 'audio-avif[{extra}]'")
        with pytest.raises(AudioAvifError, match="install with"):
            SCORES[key](clip(1.0), clip(1.0))


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [4.805, 8.2, 10.5])
def test_dnsmos_is_what_its_package_computes(seconds: float) -> None:
    if (reason := SCORES["dnsmos"].missing()) is not None:
        pytest.skip(reason)
    pytest.importorskip("librosa")
    pytest.importorskip("requests")
    from speechmos import dnsmos

    heard = with_noise(clip(seconds), 0.01)
    theirs = dnsmos.run(np.clip(heard, -1, 1), RATE_HZ)["ovrl_mos"]
    assert SCORES["dnsmos"](heard, heard) == pytest.approx(theirs, abs=1e-4)
