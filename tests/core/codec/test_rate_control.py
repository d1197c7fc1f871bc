"""Rate control: the rate over two seconds, how far quality moves, limits, pauses and copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_avif.codec.encoder import Encoder
from audio_avif.codec.rate_control import MAX_STEP, WINDOW_S, RateControl
from audio_avif.config import MAX_BITRATE_KBPS, MIN_BITRATE_KBPS, EncoderConfig, TileConfig
from audio_avif.edge.sound_files import read_audio
from support.paths import CORPUS

TILE_S = 0.128
TILES = round(WINDOW_S / TILE_S)


def tile_of(complexity: float) -> Callable[[int], bytes]:
    """An encoder whose payload grows with quality from 14 bytes on, and with what there is to see; empty at zero."""
    return lambda quality: bytes(round(14 + complexity * 3 * 1.055**quality) if complexity else 9)


def speech(seed: int, tiles: int) -> list[float]:
    """Complexities as those of speech: within a quarter of their mean, neighbours alike."""
    random = np.random.default_rng(seed)
    noise = np.convolve(random.normal(size=tiles + 3), np.full(4, 0.5), "valid")
    return list(np.exp(0.15 * noise))


def run(control: RateControl, complexities: Sequence[float]) -> tuple[list[int], list[int]]:
    """Sizes in bytes, and qualities."""
    sizes, qualities = [], []
    for complexity in complexities:
        sizes.append(len(control.encode(tile_of(complexity))))
        qualities.append(control.quality)
    return sizes, qualities


def window_kbps(sizes: Sequence[int]) -> np.ndarray:
    return np.convolve(sizes, np.ones(TILES), "valid") / (125 * TILES * TILE_S)


def test_without_bitrate_and_limit_each_tile_is_encoded_once_at_the_quality_given() -> None:
    asked: list[int] = []

    def encode_at(quality: int) -> bytes:
        asked.append(quality)
        return b"tile"

    control = RateControl(EncoderConfig(quality=70), TILE_S)
    assert [control.encode(encode_at) for _ in range(3)] == [b"tile"] * 3
    control.spend(1000)
    control.encode(encode_at)
    assert asked == [70] * 4


@settings(max_examples=40)
@given(st.floats(2.5, MAX_BITRATE_KBPS), st.integers(0, 1000))
def test_two_seconds_hold_the_rate_from_the_first_on(kbps: float, seed: int) -> None:
    sizes, qualities = run(RateControl(EncoderConfig(bitrate_kbps=kbps), TILE_S), speech(seed, 150))
    assert np.abs(window_kbps(sizes) / kbps - 1).max() <= 0.05
    assert max(after - before for before, after in pairwise(qualities)) <= MAX_STEP


@settings(max_examples=40)
@given(st.floats(2.5, MAX_BITRATE_KBPS), st.lists(st.floats(0, 50), min_size=TILES, max_size=80))
def test_any_content_keeps_below_the_rate_and_quality_rises_in_steps(kbps: float, complexities: list[float]) -> None:
    control = RateControl(EncoderConfig(bitrate_kbps=kbps), TILE_S)
    sizes, qualities = run(control, complexities)
    assert all(0 <= quality <= 100 for quality in qualities)
    assert max(after - before for before, after in pairwise(qualities)) <= MAX_STEP
    least = [len(tile_of(complexity)(0)) for complexity in complexities]
    if max(least) <= 0.8 * 125 * kbps * TILE_S:  # or no quality could make good for the tiles before
        assert window_kbps(sizes).max() <= 1.05 * kbps


def test_even_content_gets_an_even_quality_after_one_trial() -> None:
    trials: list[int] = []
    control = RateControl(EncoderConfig(bitrate_kbps=6), TILE_S)
    run(control, [1.0] * 40)

    def encode_at(quality: int) -> bytes:
        trials.append(quality)
        return tile_of(1.0)(quality)

    for _ in range(50):
        control.encode(encode_at)
    assert len(trials) <= 60
    assert max(trials) - min(trials) <= 4


def test_a_tile_takes_few_trials() -> None:
    count = 0

    def encode_at(quality: int, complexity: float) -> bytes:
        nonlocal count
        count += 1
        return tile_of(complexity)(quality)

    control = RateControl(EncoderConfig(bitrate_kbps=4), TILE_S)
    complexities = speech(1, 300)
    for complexity in complexities:
        before = count
        control.encode(lambda quality, complexity=complexity: encode_at(quality, complexity))
        assert count - before <= 6
    assert count <= 2 * len(complexities)


def test_quality_falls_as_far_as_it_must_after_much_simpler_content() -> None:
    control = RateControl(EncoderConfig(bitrate_kbps=6), TILE_S)
    sizes, qualities = run(control, [*[0.1] * 40, *speech(3, 40)])
    assert min(after - before for before, after in pairwise(qualities)) < -MAX_STEP
    assert window_kbps(sizes).max() <= 1.05 * 6


def test_the_same_tiles_get_the_same_qualities() -> None:
    config = EncoderConfig(bitrate_kbps=3)
    assert run(RateControl(config, TILE_S), speech(2, 60)) == run(RateControl(config, TILE_S), speech(2, 60))


def test_speech_after_silence_stays_within_the_rate() -> None:
    control = RateControl(EncoderConfig(bitrate_kbps=6), TILE_S)
    sizes, qualities = run(control, [*speech(3, 30), *[0.0] * 30, *speech(4, 30)])
    assert sum(sizes[30:60]) == 30 * 9  # there is nothing to spend on
    assert window_kbps(sizes).max() <= 1.05 * 6
    assert qualities[29] - 15 < qualities[65] < qualities[29] + 15


@pytest.mark.parametrize("bitrate_kbps", [None, 12.0])
def test_a_limit_is_kept_at_once_and_quality_returns_when_it_goes(bitrate_kbps: float | None) -> None:
    control = RateControl(EncoderConfig(quality=80, bitrate_kbps=bitrate_kbps), TILE_S)
    _, before = run(control, speech(5, 40))
    control.limit_kbps = 4.0
    sizes, during = run(control, speech(6, 60))
    assert sum(sizes[:4]) / (125 * 4 * TILE_S) <= 1.2 * 4
    assert window_kbps(sizes).max() <= 4
    assert window_kbps(sizes).mean() >= 0.9 * 4
    control.limit_kbps = None
    _, after = run(control, speech(7, 40))
    assert max(later - earlier for earlier, later in pairwise([during[-1], *after])) <= MAX_STEP
    assert abs(np.mean(after[10:]) - np.mean(before[10:])) <= 2


def test_a_limit_never_raises_the_quality_given() -> None:
    control = RateControl(EncoderConfig(quality=40), TILE_S)
    control.limit_kbps = 100.0
    _, qualities = run(control, [*speech(8, 20), *[0.0] * 20, *speech(9, 20)])
    assert set(qualities) == {40}


def test_a_limit_above_the_bitrate_changes_nothing() -> None:
    config = EncoderConfig(bitrate_kbps=6)
    limited = RateControl(config, TILE_S)
    limited.limit_kbps = 7.0
    assert run(limited, speech(10, 60)) == run(RateControl(config, TILE_S), speech(10, 60))


@pytest.mark.parametrize("limit_kbps", [0.0, 1e-9, 0.5])
def test_a_limit_that_no_quality_keeps_gives_the_least(limit_kbps: float) -> None:
    control = RateControl(EncoderConfig(), TILE_S)
    control.limit_kbps = limit_kbps
    sizes, qualities = run(control, speech(11, 30))
    assert qualities[-1] == 0
    assert min(sizes) > 0
    control.limit_kbps = None
    assert run(control, speech(12, 10))[1][-1] == EncoderConfig().quality


@pytest.mark.parametrize("copy_bytes", [10, 30])
def test_copies_are_paid_for_by_the_tiles(copy_bytes: int) -> None:
    control = RateControl(EncoderConfig(bitrate_kbps=6), TILE_S)
    sizes = []
    for complexity in speech(13, 80):
        sizes.append(len(control.encode(tile_of(complexity))) + copy_bytes)
        control.spend(copy_bytes)
    assert np.abs(window_kbps(sizes) / 6 - 1).max() <= 0.05


def test_a_pause_saves_nothing_for_what_follows() -> None:
    with_pause, without = (RateControl(EncoderConfig(bitrate_kbps=6), TILE_S) for _ in range(2))
    assert run(with_pause, speech(14, 40)) == run(without, speech(14, 40))
    for _ in range(10):
        with_pause.spend(8, 3 * TILE_S)
        with_pause.spend(0, TILE_S)
    assert run(with_pause, speech(15, 40)) == run(without, speech(15, 40))


@pytest.mark.parametrize("tile_frames", [2, 4, 16, 64])
def test_tiles_of_any_width_keep_the_rate(tile_frames: int) -> None:
    tile_s = tile_frames * 0.016
    control = RateControl(EncoderConfig(bitrate_kbps=12), tile_s)
    seconds = [
        len(control.encode(lambda quality, c=c: bytes(round(4 + c * tile_frames / 2 * 1.055**quality)))) / 1500
        for c in speech(16, round(10 / tile_s))
    ]
    tiles = round(WINDOW_S / tile_s)
    windows = np.convolve(seconds, np.ones(tiles), "valid") / (tiles * tile_s)
    assert np.abs(windows - 1).max() <= 0.05


def test_rates_outside_the_range_are_refused() -> None:
    for kbps in (MIN_BITRATE_KBPS - 0.1, MAX_BITRATE_KBPS + 0.1):
        with pytest.raises(ValueError, match="bitrate must be 2 to 24 kbps"):
            EncoderConfig(bitrate_kbps=kbps)


@pytest.mark.slow
@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no speech in {CORPUS}; AUDIO_AVIF_CORPUS may name a folder")
@pytest.mark.parametrize("kbps", [2.0, 3.0, 6.0, 12.0, 24.0])
def test_real_speech_keeps_the_rate(kbps: float) -> None:
    for clip in sorted(CORPUS.glob("*_clean_*.flac"))[2:48:8]:
        encoder = Encoder(tile=TileConfig(frames=8), encoder=EncoderConfig(bitrate_kbps=kbps))
        sizes = [packet.payload_bytes for packet in encoder.push(read_audio(clip))]
        assert len(sizes) > TILES
        assert np.abs(window_kbps(sizes) / kbps - 1).max() <= 0.05, clip.name
