"""Changed copies of a corpus: each change does what it says, and a copy is the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audio_avif.config import MelConfig
from support.speech import speech_like
from support.training import write_speech

pytest.importorskip("torch")
from audio_avif_onnx.train import progress
from audio_avif_onnx.train.data import augment, corpus

RATE_HZ = 16_000
Augmentation = augment.Augmentation


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples)))


def test_the_default_changes_nothing() -> None:
    sound = speech_like(0.5)
    assert np.allclose(augment.augment(sound, Augmentation(), RATE_HZ), sound, atol=1e-6)


@pytest.mark.parametrize("speed", [0.85, 1.0, 1.13])
def test_speed_moves_length_and_pitch_together(speed: float) -> None:
    how = Augmentation(speed=speed)
    faster = augment.augment(tone(400.0), how, RATE_HZ)
    assert faster.size == how.length(RATE_HZ) == round(RATE_HZ / speed)
    spectrum = np.abs(np.fft.rfft(faster * np.hanning(faster.size)))
    assert abs(np.argmax(spectrum) * RATE_HZ / faster.size - 400.0 * speed) < 2.0


def test_the_equaliser_raises_what_it_is_asked_to_raise() -> None:
    gains_db = (0.0, 0.0, 0.0, 0.0, 6.0, 0.0, 0.0)
    how = Augmentation(equaliser_db=gains_db)
    for hz, gain_db in ((250.0, 0.0), (1500.0, 6.0)):
        changed = augment.augment(tone(hz), how, RATE_HZ)
        assert abs(10 * np.log10(power(changed) / power(tone(hz))) - gain_db) < 0.3


def test_noise_comes_at_the_ratio_asked_for() -> None:
    sound = speech_like(2.0) * np.float32(0.3)
    noisy = augment.augment(sound, Augmentation(signal_to_noise_db=20.0), RATE_HZ)
    assert abs(10 * np.log10(power(sound) / power(noisy - sound)) - 20.0) < 0.1


def test_a_room_adds_a_tail_of_the_ratio_asked_for() -> None:
    click = np.zeros(RATE_HZ, np.float32)
    click[100] = 0.5
    heard = augment.augment(click, Augmentation(reverberation_s=0.3, direct_to_reverberant_db=10.0), RATE_HZ)
    assert heard[100] == pytest.approx(0.5) and np.abs(heard[:100]).max() < 1e-6
    assert abs(10 * np.log10(0.25 / np.sum(heard[101:] ** 2)) - 10.0) < 0.3


def test_nothing_exceeds_full_scale() -> None:
    loud = np.clip(8 * speech_like(0.5), -1, 1).astype(np.float32)
    how = Augmentation(equaliser_db=(12.0,) * 7, signal_to_noise_db=5.0)
    assert np.abs(augment.augment(loud, how, RATE_HZ)).max() <= 1.0


def test_silence_stays_finite() -> None:
    silence = np.zeros(RATE_HZ, np.float32)
    how = Augmentation(0.9, (3.0,) * 7, 0.2, 10.0, 20.0)
    assert not augment.augment(silence, how, RATE_HZ).any()


def test_a_copy_is_made_once_and_differs_from_the_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mel, display = MelConfig(), progress.Display()
    opened = corpus.open_corpus(write_speech(tmp_path / "data", 1.0, 1.5), tmp_path / "cache", mel, display)
    capsys.readouterr()
    first = augment.open_augmented(opened, mel, 0, display)
    assert "augmenting copy 0" in capsys.readouterr().err
    again, other = (augment.open_augmented(opened, mel, number, display) for number in (0, 1))
    assert "augmenting copy 0" not in capsys.readouterr().err
    assert again.clips == first.clips and np.array_equal(again.samples, first.samples)
    assert not np.array_equal(other.samples, first.samples)
    assert [clip.name for clip in other.clips] == [clip.name for clip in opened.clips]


def test_a_copy_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    mel, display = MelConfig(), progress.Display()
    opened = corpus.open_corpus(write_speech(tmp_path / "data", 1.0), tmp_path / "cache", mel, display)
    whole = augment.open_augmented(opened, mel, 0, display).samples.tobytes()
    file = opened.folder / "augmented_0.i16"
    file.write_bytes(whole[:100])
    assert augment.open_augmented(opened, mel, 0, display).samples.tobytes() == whole
