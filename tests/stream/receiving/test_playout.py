"""How a live stream is kept in time: the buffer follows the arrivals, stalls leave no delay, and clocks may drift."""

from __future__ import annotations

import numpy as np
import pytest

from audio_avif.codec.playout import PlayoutConfig, Unsteadiness
from audio_avif.config import TileConfig
from audio_avif.link.packets import Bundle
from audio_avif.still.tiles import from_pixels
from support.stage import FRAME_S, Stage, decoder_of, pause, tell_pixels, tile

TILE_S = 8 * FRAME_S
FIRST_S = 0.041
"""The buffer before this machine is known: time to make concealment, and a frame."""
MARGIN_S = 0.5 * FRAME_S
KNOWN_S = 0.025 + MARGIN_S
"""The buffer once the arrivals are known: a margin instead of the frame."""


@pytest.fixture(autouse=True)
def _telling_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    tell_pixels(monkeypatch)


def stream(stage: Stage, lateness_s: list[float], tile_frames: int = 8, first: int = 0) -> None:
    """Send a tile for each, so much later than a path without jitter would have brought it, in order."""
    tile_s, last_s = tile_frames * FRAME_S, stage.now_s
    for number, late_s in enumerate(lateness_s, first):
        last_s = max(last_s, (number + 1) * tile_s + late_s)
        stage.arrive(tile(number, tile_frames), last_s)


@pytest.mark.parametrize("min_s", [0.05, 0.12])
def test_on_a_quiet_path_the_buffer_is_what_was_asked(min_s: float) -> None:
    stage = Stage(decoder_of(playout=PlayoutConfig(min_s)))
    stream(stage, [0.0] * 100)
    assert stage.decoder.pacer.target_s == pytest.approx(min_s)
    np.testing.assert_allclose(stage.delays_s(0.0), TILE_S + min_s, atol=1e-6)
    assert (stage.underruns, stage.decoder.background.concealed_frames, stage.decoder.counts.skipped) == (0, 0, 0)


def known_of(unsteady_s: float, tile_frames: int = 8) -> Stage:
    """A receiver on a machine that is known to be so unsteady."""
    stage = Stage(decoder_of(tile_frames=tile_frames))
    stage.decoder.pacer.unsteady = Unsteadiness(unsteady_s, unsteady_s)
    return stage


def settled_s(stage: Stage, tile_frames: int, after_s: float) -> float:
    """The playout delay beyond a tile, of the tiles spoken after that time."""
    return float(np.median(stage.delays_s(after_s))) - tile_frames * FRAME_S


@pytest.mark.parametrize("tile_frames", [2, 4, 8])
@pytest.mark.parametrize("unsteady_s", [0.0, 0.005, 0.2])
def test_the_buffer_is_as_deep_as_this_machine_needs(tile_frames: int, unsteady_s: float) -> None:
    stage = known_of(unsteady_s, tile_frames)
    stream(stage, [0.0] * round(8 / tile_frames / FRAME_S), tile_frames)
    needed_s = min(unsteady_s, 0.025) + MARGIN_S
    assert stage.decoder.pacer.target_s == pytest.approx(needed_s)
    assert settled_s(stage, tile_frames, 6.0) == pytest.approx(needed_s, abs=0.25 * FRAME_S)
    assert (stage.underruns, stage.decoder.background.concealed_frames) == (0, 0)


def test_one_late_tile_deepens_the_buffer_at_once_and_for_ten_seconds() -> None:
    stage = known_of(0.0)
    stream(stage, [0.0] * 160)
    assert stage.decoder.pacer.target_s == pytest.approx(MARGIN_S)
    stream(stage, [0.04], first=160)
    assert stage.decoder.pacer.target_s == pytest.approx(FIRST_S)  # no more than 95 of 100 tiles need
    stream(stage, [0.0] * 70, first=161)
    assert stage.decoder.pacer.target_s == pytest.approx(FIRST_S)
    stream(stage, [0.0] * 20, first=231)
    assert stage.decoder.pacer.target_s == pytest.approx(MARGIN_S)
    assert stage.underruns == 0


@pytest.mark.parametrize("tile_frames", [2, 4, 8])
def test_of_tiles_that_keep_to_40_ms_none_is_concealed_after_two_seconds(tile_frames: int) -> None:
    """50 +- 20 ms, in order as TCP delivers them, on a machine that is punctual."""
    stage = known_of(0.003, tile_frames)
    stream(stage, list(np.random.default_rng(5).uniform(0, 0.04, round(40 / tile_frames / FRAME_S))), tile_frames)
    concealed = sum(frames.log_mel.shape[1] for at_s, frames in stage.heard if at_s > 2 and not frames.tile)
    assert (concealed, stage.underruns) == (0, 0)
    assert 0.04 < stage.decoder.pacer.target_s < 0.06


@pytest.mark.parametrize("tile_frames", [2, 4, 8])
def test_a_stream_that_starts_deep_settles_in_the_first_second_of_quiet(tile_frames: int) -> None:
    """The first tiles come late, and everything after them on time."""
    stage, tiles_s = known_of(0.005, tile_frames), tile_frames * FRAME_S
    late_s = [max(0.0, 0.15 - 0.5 * number * tiles_s) for number in range(round(4 / tiles_s))]
    stream(stage, late_s, tile_frames)
    assert settled_s(stage, tile_frames, 3.0) < KNOWN_S + 0.004


@pytest.mark.parametrize("tile_frames", [2, 4, 8, 16])
def test_the_buffer_follows_the_95th_percentile_of_what_arrives(tile_frames: int) -> None:
    jitter_s = np.random.default_rng(1).uniform(0, 0.1, 60 * 8 * 8 // tile_frames)
    stage = Stage(decoder_of(tile_frames=tile_frames))
    stream(stage, list(jitter_s), tile_frames)
    assert 0.095 < stage.decoder.pacer.target_s < 0.15
    settled_s = stage.now_s / 2
    concealed = sum(frames.log_mel.shape[1] for at_s, frames in stage.heard if at_s > settled_s and not frames.tile)
    assert concealed * FRAME_S < 0.01 * settled_s
    late = np.median(stage.delays_s(settled_s)) - tile_frames * FRAME_S - stage.decoder.pacer.target_s
    assert abs(late) < 0.035


def test_after_a_burst_of_jitter_the_buffer_shrinks_again_without_skipping() -> None:
    random = np.random.default_rng(2)
    stage = Stage(decoder_of())
    lateness_s = [0.0] * 80 + list(random.uniform(0, 0.12, 80)) + [0.0] * 250
    stream(stage, lateness_s)
    assert stage.decoder.pacer.target_s == pytest.approx(KNOWN_S)
    assert np.median(stage.delays_s(45.0)) == pytest.approx(TILE_S + FIRST_S, abs=2.1 * FRAME_S)
    assert stage.decoder.counts.skipped == 0 and stage.decoder.pacer.shortened_s >= 3 * FRAME_S


@pytest.mark.parametrize("tile_frames", [2, 8, 16])
@pytest.mark.parametrize("stall_s", [0.3, 1.0, 2.0, 8.0])
def test_after_a_stall_the_delay_is_back_within_a_tile_in_three_seconds(tile_frames: int, stall_s: float) -> None:
    tile_s = tile_frames * FRAME_S
    stage = Stage(decoder_of(tile_frames=tile_frames))
    begins_s, count = 20.0, round(40 / tile_s)
    back_s = begins_s + stall_s
    due_s = [(k + 1) * tile_s for k in range(count)]
    stream(stage, [max(0.0, back_s - at_s) if at_s > begins_s else 0.0 for at_s in due_s], tile_frames)
    usual_s = tile_s + FIRST_S
    assert max(stage.delays_s(back_s + 3)) <= usual_s + tile_s
    assert np.median(stage.delays_s(back_s + 10)) == pytest.approx(usual_s, abs=2.1 * FRAME_S)
    assert stage.decoder.pacer.target_s < 0.08
    counts = stage.decoder.counts
    spoken = sum(frames.tile is not None for _, frames in stage.heard)
    assert counts.received == count == spoken + counts.skipped


def test_a_short_stall_loses_nothing() -> None:
    stage = Stage(decoder_of())
    stream(stage, [0.0] * 80 + [0.3, 0.172, 0.044] + [0.0] * 80)
    assert stage.decoder.counts.skipped == 0
    assert stage.decoder.background.concealed_frames < 30


def test_no_tile_is_changed_by_more_than_15_of_100_over_any_second() -> None:
    stage = Stage(decoder_of())
    stream(stage, [0.0] * 80 + [0.3, 0.172, 0.044] + [0.0] * 80 + list(np.random.default_rng(3).uniform(0, 0.1, 100)))
    spoken = [frames for _, frames in stage.heard if frames.tile is not None]
    for k in range(len(spoken) - 8):
        told = sum(frames.log_mel.shape[1] for frames in spoken[k : k + 8])
        assert told >= 64 * 0.85 - 1  # a gap that is filled may make it more


@pytest.mark.slow
@pytest.mark.no_cover  # the loop runs for minutes where each line is counted
@pytest.mark.parametrize(("tile_frames", "unsteady_s"), [(8, 0.003), (16, 0.003), (16, 0.2), (32, 0.003), (64, 0.003)])
@pytest.mark.parametrize(
    ("sender_ppm", "speaker_ppm"), [(300, 0), (-300, 0), (0, 300), (0, -300)], ids=lambda ppm: f"{ppm:+d}"
)
def test_half_an_hour_of_drifting_clocks(
    sender_ppm: int, speaker_ppm: int, unsteady_s: float, tile_frames: int
) -> None:
    """The crystals of two sound cards differ: one side's sound runs faster than the other side plays it."""
    stage = Stage(decoder_of(tile_frames=tile_frames), speaker_ppm=speaker_ppm)
    stage.decoder.pacer.unsteady = Unsteadiness(unsteady_s, unsteady_s)
    second = 1 / (1 + sender_ppm * 1e-6)  # how long what the sender takes for one lasts
    tile_s = tile_frames * FRAME_S * second
    jitter_s = np.random.default_rng(4).uniform(0, 0.01, 1000)
    usual_s = []
    for half in range(2):
        stage.heard.clear()
        stage.spoken.clear()
        tiles = round(900 / tile_s)
        for number in range(half * tiles, (half + 1) * tiles):
            stage.arrive(tile(number, tile_frames), (number + 1) * tile_s + jitter_s[number % 1000])
        usual_s.append(tile_s + stage.decoder.pacer.target_s)
        delays_s = stage.delays_s(frame_s=FRAME_S * second)[50:]
        assert usual_s[-1] - 0.02 < delays_s.min() and delays_s.max() < usual_s[-1] + 3 * FRAME_S
    decoder = stage.decoder
    assert (stage.underruns, decoder.counts.skipped, decoder.background.concealed_frames) == (0, 0, 0)
    followed = decoder.pacer.shortened_s - decoder.pacer.lengthened_s
    assert followed == pytest.approx((sender_ppm - speaker_ppm) * 1e-6 * 1800, abs=0.1)


# Pauses


def test_a_pause_is_filled_with_noise_and_the_next_word_comes_on_time() -> None:
    stage = Stage(decoder_of())
    stream(stage, [0.0] * 20)
    number, frame = 20, 160
    for _ in range(8):  # a pause of 24 tiles, told of every third
        stage.arrive(pause(number, frame), (frame + 8) * FRAME_S)
        number, frame = number + 1, frame + 24
    for _ in range(20):
        stage.arrive(tile(number, first_frame=frame), (frame + 8) * FRAME_S)
        number, frame = number + 1, frame + 8
    decoder = stage.decoder
    assert (stage.underruns, decoder.counts.lost, decoder.background.concealed_frames) == (0, 0, 0)
    assert decoder.background.noise_frames == pytest.approx(24 * 8, abs=4)
    assert np.median(stage.delays_s(5.7)) == pytest.approx(TILE_S + FIRST_S, abs=0.02)


@pytest.mark.parametrize(("processing_s", "piece_frames"), [(0.005, 1), (0.05, 5), (0.09, 8)])
def test_a_slow_vocoder_is_given_pieces_that_last_longer_than_it_takes(processing_s: float, piece_frames: int) -> None:
    stage = Stage(decoder_of())
    stage.decoder.pacer.processing_s = processing_s
    stream(stage, [0.0] * 20)
    stage.arrive(pause(20, 160), 21 * TILE_S)
    stage.arrive(tile(21), 22 * TILE_S)
    stage.arrive(tile(23), 24.5 * TILE_S)  # the one before is lost
    pieces = [frames.log_mel.shape[1] for _, frames in stage.heard if frames.tile is None]
    assert set(pieces) == {piece_frames}


def test_a_pause_that_nothing_ends_fades_to_silence() -> None:
    stage = Stage(decoder_of())
    stream(stage, [0.0] * 20)
    stage.arrive(pause(20, 160), 21 * TILE_S)
    stage.run_until(60.0)
    assert stage.decoder.is_waiting
    spoken_s = sum(frames.log_mel.shape[1] for _, frames in stage.heard) * FRAME_S
    assert spoken_s == pytest.approx(20 * TILE_S + 1.5, abs=0.25)


def test_a_stream_may_begin_with_a_pause() -> None:
    stage = Stage(decoder_of(latency_frames=3))
    stage.arrive(pause(0, 0), TILE_S)
    stage.arrive(tile(1, first_frame=24), 4 * TILE_S)
    stage.arrive(tile(2, first_frame=32), 5 * TILE_S)
    assert (stage.underruns, stage.decoder.background.concealed_frames) == (0, 0)
    assert stage.delays_s(0)[-1] == pytest.approx(TILE_S + FIRST_S, abs=0.02)


@pytest.mark.parametrize("min_s", [0.0, 0.01])
def test_without_a_buffer_a_pause_is_filled_too(min_s: float) -> None:
    stage = Stage(decoder_of(playout=PlayoutConfig(min_s)))
    stream(stage, [0.0] * 20)
    for number in range(8):
        stage.arrive(pause(20 + number, 160 + 24 * number), (168 + 24 * number) * FRAME_S)
    assert stage.underruns == 0
    assert stage.decoder.background.noise_frames == pytest.approx(7 * 24, abs=4)


def test_a_pause_of_the_widest_tiles_does_not_fade_between_two_messages() -> None:
    stage, tile_s = Stage(decoder_of(tile_frames=64)), 64 * FRAME_S
    stream(stage, [0.0] * 10, 64)
    stage.arrive(pause(10, 640, 64), 11 * tile_s)
    stage.arrive(pause(11, 704, 64), 12 * tile_s + 0.15)
    noise = [frames.log_mel.mean() for at_s, frames in stage.heard if frames.tile is None and at_s > 11.5 * tile_s]
    assert min(noise) > np.mean(noise) - 0.4


# Copies


def test_a_lost_tile_is_spoken_from_its_copy() -> None:
    stage = Stage(decoder_of())
    stream(stage, [0.0] * 10)
    stage.arrive(Bundle(tile(11), (tile(10), tile(9))), 12 * TILE_S)
    stage.arrive(tile(12), 13 * TILE_S)
    spoken = [frames.tile.sequence for _, frames in stage.heard if frames.tile is not None]
    assert spoken == list(range(13))
    counts = stage.decoder.counts
    assert (counts.recovered, counts.lost, counts.late) == (1, 0, 0)


def test_a_stream_with_copies_waits_for_them() -> None:
    """One message in ten is lost; the copy of its tile comes with the next one, and nothing is concealed."""
    stage = Stage(decoder_of())
    for number in range(200):
        if number % 10 != 5:
            packet = Bundle(tile(number), (tile(number - 1),)) if number else tile(0)
            stage.arrive(packet, (number + 1) * TILE_S)
    decoder = stage.decoder
    assert decoder.pacer.target_s == pytest.approx(KNOWN_S + TILE_S)
    assert (decoder.counts.recovered, decoder.counts.lost) == (20, 0)
    settled = [frames for at_s, frames in stage.heard if at_s > 4 and frames.tile is None]
    assert not settled and stage.underruns == 0


def test_copies_hold_a_stream_back_for_a_second_at_most() -> None:
    """A speaker's ring holds no more than that beside all else."""
    decoder = decoder_of(tile_frames=64)
    decoder.push(Bundle(tile(8, 64), tuple(tile(number, 64) for number in range(7, -1, -1))), 0.0)
    assert decoder.pacer.target_s == pytest.approx(1 + FIRST_S)


# Clocks that jump


@pytest.mark.parametrize("jump_s", [-3600.0, -30.0, 30.0, 3600.0])
def test_a_clock_that_jumps_does_not_open_the_buffer(jump_s: float) -> None:
    """A laptop slept: its clock stood still, or everybody else's did."""
    stage = Stage(decoder_of())
    stream(stage, [0.0] * 100)
    skipped_frames = round(-jump_s / TILE_S) * 8 if jump_s < 0 else 0  # our clock stood still, theirs did not
    at_s = stage.now_s + (jump_s if jump_s > 0 else 0.5)
    for number in range(100, 200):
        stage.arrive(tile(number, first_frame=number * 8 + skipped_frames), at_s + (number - 100) * TILE_S)
    assert stage.decoder.pacer.target_s == pytest.approx(KNOWN_S, abs=0.02)
    assert stage.buffered_s < FIRST_S + 2 * TILE_S


def test_silence_after_a_break_is_followed_by_a_fade_in() -> None:
    stage = Stage(decoder_of())
    stream(stage, [0.0] * 20)
    stage.run_until(40.0)
    assert stage.decoder.is_waiting
    stage.arrive(tile(20), 41.0)
    _, frames = stage.heard[-1]
    shown = from_pixels(np.tile(np.arange(160, 168, dtype=np.uint8), (80, 1)), TileConfig())
    np.testing.assert_allclose((frames.log_mel - shown)[0, [0, 1, -1]], [-1.0, -0.84, 0.0], atol=1e-5)
    assert frames.silence_s == pytest.approx(FIRST_S)
