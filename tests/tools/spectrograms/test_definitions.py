"""Spectrograms of any definition: librosa's values, what pictures keep of them, and the way back to magnitudes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.config import MelConfig
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif.vocoders.griffin_lim import stft
from audio_avif_tools.shared.signals import demo_clip
from audio_avif_tools.spectrograms.definitions import (
    FLOOR_DB,
    SpectrogramConfig,
    find_phases,
    from_shares,
    is_mel,
    log_mel_for,
    magnitudes,
    mel_filters,
    peak_db,
    resample_rows,
    spectrogram,
    to_shares,
)

CLIP = demo_clip()[16_000:40_000]
VOICE = SpectrogramConfig(kind="mel", scale="log10", fmin_hz=80, fmax_hz=7600)  # the package's own mel


def sine(hertz: float, rate_hz: int, seconds: float = 1.0) -> FloatArray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)


# The definition


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 256), (2048, 512), (400, 160), (512, 100), (64, 64)])
def test_linear_spectrograms_are_librosas(n_fft: int, hop: int) -> None:
    ours = spectrogram(CLIP, SpectrogramConfig(n_fft=n_fft, hop_samples=hop))
    magnitude = np.abs(librosa.stft(CLIP, n_fft=n_fft, hop_length=hop, pad_mode="constant"))
    theirs = librosa.amplitude_to_db(magnitude, ref=1.0, amin=1e-10, top_db=None)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs)[theirs > -60].max() < 0.01


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("kind", "norm"), [("mel", "slaney"), ("mel-htk", None)])
def test_mel_spectrograms_are_librosas(kind: str, norm: str | None, power: int) -> None:
    config = SpectrogramConfig(kind=kind, scale="linear", power=power, n_mels=64, fmin_hz=50, fmax_hz=7000)
    theirs = librosa.feature.melspectrogram(
        y=CLIP, sr=16_000, n_fft=1024, hop_length=256, power=power, pad_mode="constant",
        n_mels=64, fmin=50, fmax=7000, htk=kind == "mel-htk", norm=norm,
    )  # fmt: skip
    np.testing.assert_allclose(spectrogram(CLIP, config), theirs, rtol=1e-3, atol=1e-5 * theirs.max())


def test_scales_are_logarithms_of_what_power_says() -> None:
    config = SpectrogramConfig(scale="linear", power=2)
    powers = np.maximum(spectrogram(CLIP, config), 1e-15)
    np.testing.assert_allclose(spectrogram(CLIP, replace(config, scale="db")), 10 * np.log10(powers), atol=1e-3)
    np.testing.assert_allclose(spectrogram(CLIP, replace(config, scale="ln")), np.log(powers), atol=1e-3)
    np.testing.assert_allclose(spectrogram(CLIP, replace(config, scale="log10")), np.log10(powers), atol=1e-3)


def test_the_packages_own_mel_is_one_of_them() -> None:
    assert is_mel(VOICE, MelConfig())
    np.testing.assert_allclose(spectrogram(CLIP, VOICE), log_mel(CLIP), atol=1e-4)


def test_fmin_and_fmax_cut_bins_out_of_a_linear_spectrogram() -> None:
    config = SpectrogramConfig(fmin_hz=1000, fmax_hz=4000)
    whole = spectrogram(CLIP, SpectrogramConfig())
    np.testing.assert_array_equal(spectrogram(CLIP, config), whole[64:257])
    back = magnitudes(spectrogram(CLIP, config), config)
    assert back.shape == whole.shape
    assert not back[:64].any() and not back[257:].any() and back[64:257].all()


@pytest.mark.parametrize("samples", [0, 1, 255, 256, 70_000])
def test_any_length_has_its_frames(samples: int) -> None:
    values = spectrogram(np.resize(CLIP, samples), SpectrogramConfig(n_fft=256, hop_samples=64))
    assert values.shape == (129, 1 + samples // 64 if samples else 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "bark"}, {"scale": "dB"}, {"order": "up"}, {"power": 3}, {"n_fft": 1023}, {"hop_samples": 0},
        {"hop_samples": 2000}, {"fmin_hz": 5000, "fmax_hz": 4000}, {"fmax_hz": 9000}, {"low_db": 3, "high_db": 3},
        {"fmin_hz": 1001, "fmax_hz": 1010}, {"n_mels": 1000}, {"rate_hz": 100}, {"high_db": 1e9},
    ],
)  # fmt: skip
def test_definitions_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        SpectrogramConfig(**wrong)


def test_settings_survive_json() -> None:
    config = SpectrogramConfig(kind="mel", fmax_hz=7000, colour="magma", low_db=-33.5, high_db=20)
    assert SpectrogramConfig.from_dict(config.to_dict()) == config


@given(
    st.dictionaries(
        st.sampled_from(sorted(SpectrogramConfig().to_dict())),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2),
    )
)
def test_settings_of_anyone_are_a_definition_or_refused(values: dict[str, Any]) -> None:
    try:
        config = SpectrogramConfig.from_dict({**SpectrogramConfig().to_dict(), **values})
    except ValueError:
        return
    assert 1 < config.rows <= 4097


# Pictures of it


@pytest.mark.parametrize("order", ["low-at-bottom", "low-at-top"])
@pytest.mark.parametrize("scale", ["db", "ln", "log10", "linear"])
@pytest.mark.parametrize("power", [1, 2])
def test_shares_give_values_back(scale: str, power: int, order: str) -> None:
    config = SpectrogramConfig(scale=scale, power=power, order=order, low_db=-50, high_db=40)
    values = spectrogram(CLIP, config)
    shares = to_shares(values, config)
    assert shares.min() >= 0 and shares.max() <= 1
    back = from_shares(shares, config)
    inside = (values > config.value_range[0]) & (values < config.value_range[1])
    assert inside.mean() > 0.5
    np.testing.assert_allclose(back[inside], values[inside], atol=1e-5 * np.ptp(config.value_range))


def test_low_frequencies_lie_where_they_are_said_to() -> None:
    values = spectrogram(sine(200, 16_000), SpectrogramConfig())
    bottom = to_shares(values, SpectrogramConfig())
    top = to_shares(values, SpectrogramConfig(order="low-at-top"))
    assert bottom[-14].mean() > 0.9 > 0.5 > bottom[13].mean()
    np.testing.assert_array_equal(bottom[::-1], top)


def test_black_is_silent() -> None:
    config = SpectrogramConfig()
    black = from_shares(np.zeros((513, 4), np.float32), config)
    assert magnitudes(black, config).max() <= 10 ** (FLOOR_DB / 20)
    assert not find_phases(black, config, iterations=2).round(6).any()


def test_rows_are_resampled_as_pictures_are() -> None:
    ramp = np.repeat(np.linspace(0, 1, 100, dtype=np.float32)[:, None], 3, axis=1)
    for rows in (37, 100, 513):
        resampled = resample_rows(ramp, rows)
        assert resampled.shape == (rows, 3)
        np.testing.assert_allclose(resampled[:, 0], np.linspace(0, 1, rows), atol=0.02)


def test_the_peak_is_told_in_decibels_of_magnitude() -> None:
    full_scale = sine(1000, 16_000) / np.float32(0.3)
    for scale in ("db", "ln", "log10", "linear"):
        for power in (1, 2):
            config = SpectrogramConfig(scale=scale, power=power)
            assert abs(peak_db(spectrogram(full_scale, config), config) - 20 * np.log10(256)) < 0.1
    assert peak_db(np.zeros((513, 0), np.float32), SpectrogramConfig()) == FLOOR_DB


# Back to magnitudes and sound


@pytest.mark.parametrize("scale", ["db", "ln", "log10", "linear"])
@pytest.mark.parametrize("power", [1, 2])
def test_magnitudes_of_linear_frequency_are_exact(scale: str, power: int) -> None:
    config = SpectrogramConfig(scale=scale, power=power, n_fft=512, hop_samples=100)
    true = np.abs(librosa.stft(CLIP, n_fft=512, hop_length=100, pad_mode="constant"))
    np.testing.assert_allclose(magnitudes(spectrogram(CLIP, config), config), true, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["mel", "mel-htk"])
@pytest.mark.parametrize("power", [1, 2])
def test_magnitudes_of_mel_bands_have_these_bands(kind: str, power: int) -> None:
    config = SpectrogramConfig(kind=kind, scale="db", power=power)
    values = spectrogram(CLIP, config)
    bands = 20 / power * np.log10(np.maximum(mel_filters(config) @ magnitudes(values, config) ** power, 1e-12))
    heard = values > values.max() - 60
    assert np.abs(bands - values)[heard].mean() < 0.5


def test_another_number_of_rows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[513, frames\]"):
        magnitudes(np.zeros((80, 3), np.float32), SpectrogramConfig())


@pytest.mark.parametrize("value", [-1e30, 1e30, -np.inf, np.nan])
@pytest.mark.parametrize("kind", ["linear", "mel"])
@pytest.mark.parametrize("scale", ["db", "linear"])
def test_absurd_values_stay_finite(value: float, kind: str, scale: str) -> None:
    config = SpectrogramConfig(kind=kind, scale=scale)
    values = spectrogram(CLIP[:4000], config)
    values[5, 3] = value
    assert np.isfinite(find_phases(values, config, iterations=2)).all()
    assert np.isfinite(log_mel_for(values, config, MelConfig())).all()


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 256), (400, 160), (512, 100), (2048, 441)])
def test_true_phases_give_the_signal_back_at_any_hop(n_fft: int, hop: int) -> None:
    config = SpectrogramConfig(n_fft=n_fft, hop_samples=hop)
    values = spectrogram(CLIP, config)
    padded = np.pad(CLIP, (0, values.shape[1] * hop - CLIP.size)).astype(np.float64)
    angles = np.angle(stft(padded, config)).T.astype(np.float32)
    sound = find_phases(values, config, iterations=0, angles=angles)
    assert sound.shape == (values.shape[1] * hop,)
    difference = (sound[: CLIP.size] - CLIP)[n_fft:-n_fft]
    assert np.sum(difference**2) < 1e-6 * np.sum(CLIP**2)


def test_angles_of_another_shape_are_refused() -> None:
    config = SpectrogramConfig()
    with pytest.raises(ValueError, match="angles"):
        find_phases(spectrogram(CLIP, config), config, angles=np.zeros((513, 2), np.float32))


# To the mel of a vocoder


def test_its_own_mel_passes_as_it_is() -> None:
    np.testing.assert_allclose(log_mel_for(spectrogram(CLIP, VOICE), VOICE, MelConfig()), log_mel(CLIP), atol=1e-4)


def test_a_linear_spectrogram_on_the_same_bins_gives_the_exact_mel() -> None:
    config = SpectrogramConfig()
    ours, exact = log_mel_for(spectrogram(CLIP, config), config, MelConfig()), log_mel(CLIP)
    assert np.abs(ours - exact)[exact > -5].max() < 1e-3


def test_other_frames_are_refused() -> None:
    config = SpectrogramConfig(rate_hz=22_050)
    with pytest.raises(ValueError, match="frames are not those"):
        log_mel_for(spectrogram(CLIP, config), config, MelConfig())
