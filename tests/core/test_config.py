"""A configuration that exists is one that works, whatever the bytes it came from."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.signal.features import mel_basis

NUMBERS = st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=3), st.just(10**400))


def test_the_defaults_are_the_published_definition() -> None:
    mel = MelConfig()
    assert mel.to_dict() == {
        "rate_hz": 16000,
        "n_fft": 1024,
        "hop_samples": 256,
        "n_mels": 80,
        "fmin_hz": 80.0,
        "fmax_hz": 7600.0,
        "floor": 1e-10,
    }
    assert (mel.frame_s, mel.lookahead_samples) == (0.016, 512)
    assert str(mel) == "16000 Hz, n_fft 1024, hop 256, 80 bands 80-7600 Hz, floor 1e-10"
    assert TileConfig().to_dict() == {"frames": 8, "log10_min": -5.5, "log10_max": 1.0}


@pytest.mark.parametrize(
    "values",
    [
        {"rate_hz": 3999},
        {"rate_hz": 192_001},
        {"n_fft": 62},
        {"n_fft": 1023},
        {"n_fft": 8194},
        {"hop_samples": 255},
        {"hop_samples": 8},
        {"hop_samples": 2048},
        {"n_mels": 7},
        {"n_mels": 257},
        {"fmin_hz": -1.0},
        {"fmin_hz": 7600.0},
        {"fmax_hz": 8000.5},
        {"fmax_hz": math.nan},
        {"floor": 0.0},
        {"floor": 1.0},
        {"floor": math.nan},
    ],
    ids=str,
)
def test_an_impossible_mel_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        MelConfig(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"frames": 1},
        {"frames": 65},
        {"log10_min": 4.0},
        {"log10_min": -20.5},
        {"log10_max": 10.5},
        {"log10_max": math.nan},
        {"log10_min": -math.inf},
    ],
    ids=str,
)
def test_an_impossible_tile_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        TileConfig(**values)


@pytest.mark.parametrize("values", [{"quality": -1}, {"quality": 101}, {"speed": -1}, {"speed": 11}], ids=str)
def test_an_impossible_encoder_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        EncoderConfig(**values)


@pytest.mark.parametrize("config", [MelConfig(), MelConfig(n_mels=40, fmin_hz=0.0), TileConfig(64, -5.5, 1.0)], ids=str)
def test_json_round_trip(config: MelConfig | TileConfig) -> None:
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_whole_numbers_may_stand_for_floats_but_not_the_other_way() -> None:
    as_int = MelConfig.from_dict({**MelConfig().to_dict(), "fmin_hz": 80})
    assert as_int == MelConfig()
    assert isinstance(as_int.fmin_hz, float)
    with pytest.raises(ValueError, match="n_fft must be a number"):
        MelConfig.from_dict({**MelConfig().to_dict(), "n_fft": 1024.0})


@pytest.mark.parametrize(
    "values", [{}, {"frames": 8}, [], None, "frames", {**TileConfig().to_dict(), "more": 1}], ids=str
)
def test_missing_and_unknown_keys_are_refused(values: Any) -> None:
    with pytest.raises(ValueError, match="needs exactly the keys"):
        TileConfig.from_dict(values)


@given(values=st.fixed_dictionaries({name: NUMBERS for name in MelConfig().to_dict()}))
def test_any_values_give_a_working_mel_or_a_value_error(values: dict[str, Any]) -> None:
    try:
        config = MelConfig.from_dict(values)
    except ValueError:
        return
    assert mel_basis(config).shape == (config.n_mels, config.n_fft // 2 + 1)


@given(name=st.sampled_from(sorted(MelConfig().to_dict())), value=NUMBERS)
def test_one_bad_value_gives_a_value_error_or_a_mel_that_travels(name: str, value: Any) -> None:
    try:
        config = MelConfig.from_dict({**MelConfig().to_dict(), name: value})
    except ValueError:
        return
    assert MelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_peers_nonsense_is_not_repeated_at_length() -> None:
    with pytest.raises(ValueError, match="must be a number") as wrong:
        MelConfig.from_dict({**MelConfig().to_dict(), "rate_hz": "9" * 60_000})
    assert len(str(wrong.value)) < 100
