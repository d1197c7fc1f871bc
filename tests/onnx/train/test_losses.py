"""The loudness loss ranks sounds as PESQ does, and the loss of intelligibility as STOI does."""

from __future__ import annotations

import numpy as np
import pytest

from support.speech import speech_like

torch = pytest.importorskip("torch")
from audio_avif_onnx.train.objectives import losses

RATE_HZ = 16_000


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    heard = losses.LoudnessDifference(RATE_HZ)
    return float(heard(torch.from_numpy(found)[None], torch.from_numpy(wanted)[None]))


@pytest.fixture
def sound() -> np.ndarray:
    return 0.3 * speech_like(2.0, seed=3)


def noisy(sound: np.ndarray, share: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=sound.size).astype(np.float32)
    return sound + share * np.std(sound) * noise


def test_equal_sounds_are_not_apart(sound: np.ndarray) -> None:
    assert difference(sound, sound) < 0.01


def test_more_noise_is_further_away(sound: np.ndarray) -> None:
    distances = [difference(noisy(sound, share), sound) for share in (0.01, 0.03, 0.1, 0.3)]
    assert distances == sorted(distances) and distances[-1] > 1.5 * distances[0]


def test_it_ranks_sounds_as_pesq_does(sound: np.ndarray) -> None:
    pesq = pytest.importorskip("pesq").pesq
    dull = np.convolve(sound, np.hanning(9) / 4, mode="same").astype(np.float32)
    sounds = [noisy(sound, 0.003), noisy(sound, 0.03), noisy(sound, 0.3), dull]
    by_pesq = sorted(range(4), key=lambda number: -pesq(RATE_HZ, sound, sounds[number], "wb"))
    assert sorted(range(4), key=lambda number: difference(sounds[number], sound)) == by_pesq


def test_added_sound_counts_more_than_missing_sound(sound: np.ndarray) -> None:
    whole = noisy(sound, 0.1)
    assert difference(whole, sound) > 1.3 * difference(sound, whole)


def test_level_does_not_matter_if_both_have_it(sound: np.ndarray) -> None:
    distance = difference(noisy(sound, 0.1), sound)
    assert difference(0.1 * noisy(sound, 0.1), 0.1 * sound) == pytest.approx(distance, rel=0.01)


def test_silence_gives_no_distance_and_no_endless_gradient() -> None:
    silence = torch.zeros(1, RATE_HZ, requires_grad=True)
    distance = losses.LoudnessDifference(RATE_HZ)(silence, torch.zeros(1, RATE_HZ))
    distance.backward()
    assert distance.item() < 0.01 and torch.isfinite(silence.grad).all()


def test_its_gradient_leads_to_the_sound_wanted(sound: np.ndarray) -> None:
    wanted = torch.from_numpy(sound)[None]
    found = torch.from_numpy(noisy(sound, 0.1))[None].requires_grad_()
    heard = losses.LoudnessDifference(RATE_HZ)
    before = heard(found, wanted)
    before.backward()
    step = found.grad / found.grad.abs().max()
    with torch.no_grad():
        assert min(heard(found - size * step, wanted).item() for size in (1e-4, 1e-3, 1e-2)) < 0.999 * before.item()


def test_unintelligibility_ranks_sounds_as_stoi_does(sound: np.ndarray) -> None:
    stoi = pytest.importorskip("pystoi").stoi
    dull = np.convolve(sound, np.hanning(33) / 16, mode="same").astype(np.float32)
    sounds = [sound, *(noisy(sound, share) for share in (0.03, 0.1, 0.3, 1.0)), dull]
    lacks = [
        float(losses.Unintelligibility(RATE_HZ)(torch.from_numpy(each)[None], torch.from_numpy(sound)[None]))
        for each in sounds
    ]
    scores = [stoi(sound, each, RATE_HZ) for each in sounds]
    assert np.argsort(lacks).tolist() == np.argsort(scores)[::-1].tolist()
    assert lacks[0] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("seconds", [0.1, 2.0])
def test_unintelligibility_has_a_finite_gradient_in_silence_and_in_short_sound(seconds: float) -> None:
    silence = torch.zeros(1, round(seconds * RATE_HZ), requires_grad=True)
    losses.Unintelligibility(RATE_HZ)(silence, torch.zeros_like(silence)).backward()
    assert silence.grad is not None and bool(silence.grad.isfinite().all())
