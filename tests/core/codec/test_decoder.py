"""The decoder keeps samples in their place, whatever is missing.

Most decoder tests use a picture codec and a vocoder that show what was spoken: the pixels of frame k are k, and its hop
of samples is k throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.codec import decoder
from audio_avif.codec.decoder import Decoder
from audio_avif.codec.encoder import Encoder
from audio_avif.codec.playout import Pacer, PlayoutConfig
from audio_avif.codec.position import Chunk
from audio_avif.config import EncoderConfig, TileConfig
from audio_avif.link.hello import Hello
from audio_avif.link.messages import Bye
from audio_avif.link.packets import Bundle, MediaPacket, PausePacket
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif.vocoders.griffin_lim import RtisiLa
from support.speech import speech_like, speech_with_a_pause
from support.stage import (
    FRAME_S,
    HOP,
    MEL,
    FrameTeller,
    Stage,
    TimedDecoder,
    damaged,
    decoder_of,
    pause,
    tell_pixels,
    tile,
)

TILE, FAST = TileConfig(8), EncoderConfig(speed=10)
TILE_FRAMES = 8
TILE_S = TILE_FRAMES * FRAME_S
SPEECH = speech_like(1.5)
PLENTY_S = 0.05  # of sound still to be played: nothing is urgent
PLAYOUT = PlayoutConfig(min_s=0.04, conceal_at_s=0.025, max_conceal_s=0.2, fade_s=0.1)
HELLO = Hello(MEL, TILE, Encoder(MEL, TILE, FAST).template, "")


@pytest.mark.parametrize("tile_frames", [2, 8, 32])
@pytest.mark.parametrize("live", [True, False])
def test_a_pause_costs_next_to_nothing_and_takes_its_time(tile_frames: int, live: bool) -> None:
    tile, samples = TileConfig(tile_frames), speech_with_a_pause()
    encoder = Encoder(MEL, tile, replace(FAST, dtx=True))
    packets = encoder.push(samples) + encoder.flush()
    assert [packet.sequence for packet in packets] == list(range(len(packets))) and encoder.bye().tiles == len(packets)
    pauses = [packet for packet in packets if isinstance(packet, PausePacket)]
    paused_s = encoder.noise_tiles * tile_frames * FRAME_S
    assert 2.5 < paused_s < 6.5
    assert sum(packet.payload_bytes for packet in pauses) * 8e-3 / paused_s < 0.5

    stage = Stage(Decoder(Hello(MEL, tile, encoder.template, "", live), RtisiLa(MEL)))
    for packet in packets:
        assert not isinstance(packet, Bundle)
        stage.arrive(packet, (packet.first_frame + tile_frames) * FRAME_S)
    stage.decoder.end(encoder.bye())
    stage.speak()
    spoken = sum(frames.log_mel.shape[1] for _, frames in stage.heard)
    assert spoken == pytest.approx(samples.size // HOP + 1, abs=12 if live else 0)
    assert stage.decoder.background.concealed_frames == stage.decoder.counts.lost == 0
    assert not (live and stage.underruns)
    assert stage.decoder.background.noise_frames * FRAME_S == pytest.approx(paused_s, abs=0.2)


def test_with_copies_every_other_message_may_be_lost() -> None:
    encoder = Encoder(MEL, TILE, replace(FAST, redundancy=1))
    packets = encoder.push(SPEECH) + encoder.flush()
    assert not isinstance(packets[0], Bundle) and all(isinstance(packet, Bundle) for packet in packets[1:])
    decoder = Decoder(Hello(MEL, TILE, encoder.template, "", live=False), FrameTeller())
    kept = [packet for packet in packets if packet.sequence % 2 == 0 or packet is packets[-1]]
    assert all_samples(decoder, kept, encoder.bye()).size >= SPEECH.size
    assert (decoder.counts.lost, decoder.background.concealed_frames) == (0, 0)
    assert decoder.counts.recovered == len(packets) - len(kept)


def test_copies_take_half_the_bits() -> None:
    tiles, bundles = (Encoder(MEL, TILE, replace(FAST, redundancy=n)).push(SPEECH) for n in (0, 1))
    sizes = [sum(packet.payload_bytes for packet in packets) for packets in (tiles, bundles)]
    assert 1.2 < sizes[1] / sizes[0] < 1.8


# Decoder, with the real picture codec


def all_samples(decoder: Decoder, packets: Sequence[MediaPacket], bye: Bye | None) -> FloatArray:
    """Drive a decoder through a whole stream."""
    pieces, now_s = [], 0.0
    for packet in packets:
        now_s = packet.sequence * TILE_S
        decoder.push(packet, now_s)
        while (frames := decoder.next_frames(PLENTY_S, now_s)) is not None:
            pieces.append(decoder.speak(frames).samples)
    decoder.end(bye)
    while (frames := decoder.next_frames(PLENTY_S, now_s)) is not None:
        pieces.append(decoder.speak(frames).samples)
    return np.concatenate([*pieces, decoder.flush().samples])


def test_a_file_comes_out_at_its_length_and_in_its_place() -> None:
    """Noise bursts stay where they are, through pixels and a real vocoder."""
    random = np.random.default_rng(0)
    bursts = (np.arange(30_000) // 1000 % 5 == 1) * random.normal(0, 0.1, 30_000)
    encoder = Encoder(MEL, TILE, EncoderConfig(90, 10))
    packets = encoder.push(bursts.astype(np.float32)) + encoder.flush()
    decoder = Decoder(replace(HELLO, template=encoder.template, live=False), RtisiLa(MEL))
    samples = all_samples(decoder, packets, encoder.bye())
    assert samples.size == bursts.size
    power = [np.convolve(signal**2, np.ones(200) / 200, "same") for signal in (bursts, samples)]
    scores = {
        lag: np.corrcoef(power[0][500:-500], np.roll(power[1], lag)[500:-500])[0, 1] for lag in range(-512, 513, 64)
    }
    best = max(scores, key=lambda lag: scores[lag])
    assert abs(best) <= 64
    assert scores[best] > 0.8


@pytest.mark.parametrize("samples", [1, 255, 256, 2047, 2048, 2049, 10_000])
def test_a_stream_ends_at_its_last_sample(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pacer, "push_frames", _keep_frames)
    encoder = Encoder(MEL, TILE, FAST)
    packets = encoder.push(SPEECH[:samples]) + encoder.flush()
    for live in (False, True):
        hello = replace(HELLO, template=encoder.template, live=live)
        for latency_frames in (1, 3):
            decoder = Decoder(hello, FrameTeller(latency_frames), PLAYOUT)
            assert all_samples(decoder, packets, encoder.bye()).size == samples
        # Without any delay the last hop has been spoken when the bye comes.
        decoder = Decoder(hello, FrameTeller(0), PLAYOUT)
        assert 0 < all_samples(decoder, packets, encoder.bye()).size - samples <= HOP


def test_a_damaged_picture_is_concealed_and_counted() -> None:
    encoder = Encoder(MEL, TILE, FAST)
    packets = encoder.push(SPEECH) + encoder.flush()
    packets[3] = replace(packets[3], payload=b"\xff" * 30, header=None)
    packets[5] = replace(packets[5], payload=b"no picture", is_whole_still=True)
    decoder = Decoder(replace(HELLO, template=encoder.template, live=False), FrameTeller(1))
    assert all_samples(decoder, packets, encoder.bye()).size == SPEECH.size
    assert (decoder.counts.damaged, decoder.counts.lost, decoder.background.concealed_frames) == (2, 0, 16)


def test_warm_up_leaves_no_trace() -> None:
    vocoder = RtisiLa(MEL)
    decoder.warm_up(HELLO, vocoder)
    np.testing.assert_array_equal(vocoder.push(log_mel(SPEECH)), RtisiLa(MEL).push(log_mel(SPEECH)))


# Decoder, with pixels and samples that tell their frame


def _keep_frames(
    self: Pacer, before: FloatArray, log_mel: FloatArray, surplus_s: float, is_quiet: bool
) -> tuple[FloatArray, float]:
    return log_mel, 0.0


@pytest.fixture
def _telling_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes in these tests, so nothing is made faster or slower; ``test_playout`` is for that."""
    tell_pixels(monkeypatch)
    monkeypatch.setattr(Pacer, "push_frames", _keep_frames)


def ask(decoder: TimedDecoder, buffered_s: float = PLENTY_S) -> Chunk | None:
    """Ask once, as the last packet comes, and speak what there is."""
    frames = decoder.next_frames(buffered_s, decoder.now_s)
    return None if frames is None else decoder.speak(frames)


def numbers(*chunks: Chunk | None) -> list[float]:
    """The frames spoken, to a tenth."""
    samples = np.concatenate([chunk.samples for chunk in chunks if chunk is not None])
    return [round(float(value), 1) for value in samples[::HOP]]


def feed(decoder: TimedDecoder, *sequences: int, buffered_s: float = PLENTY_S) -> list[Chunk]:
    """Push tiles and speak what each makes ready."""
    chunks = []
    for sequence in sequences:
        arrive(decoder, tile(sequence))
        while (chunk := ask(decoder, buffered_s)) is not None:
            chunks.append(chunk)
    return chunks


def arrive(decoder: Decoder, packet: MediaPacket) -> None:
    """Push a packet as it comes on time."""
    decoder.push(packet, packet.sequence * TILE_S)


def finish(decoder: TimedDecoder, bye: Bye | None) -> list[Chunk]:
    """End the stream and speak the rest."""
    decoder.end(bye)
    chunks = []
    while (chunk := ask(decoder, 0.0)) is not None:
        chunks.append(chunk)
    return [*chunks, decoder.flush()]


telling = pytest.mark.usefixtures("_telling_pixels")


@telling
@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("latency_frames", [1, 2, 11])
def test_in_order_every_frame_is_spoken_once_at_its_place(live: bool, latency_frames: int) -> None:
    decoder = decoder_of(live, latency_frames, PLAYOUT)
    chunks = feed(decoder, 0, 1, 2, buffered_s=0.2) + finish(decoder, Bye(3, 24 * HOP - 100))
    assert numbers(*chunks) == list(range(24))
    assert sum(chunk.samples.size for chunk in chunks) == 24 * HOP - 100
    ends = np.cumsum([chunk.samples.size for chunk in chunks])
    assert [chunk.first_sample for chunk in chunks] == [0, *ends[:-1]]
    assert decoder.background.concealed_frames == 0


@telling
def test_a_live_stream_starts_after_the_target_and_the_vocoders_delay() -> None:
    decoder = decoder_of(latency_frames=3)
    arrive(decoder, tile(0))
    frames = decoder.next_frames(0.0, decoder.now_s)
    assert frames is not None
    assert frames.silence_s == pytest.approx(0.041 + 3 * FRAME_S)
    decoder.speak(frames)
    arrive(decoder, tile(1))
    later = decoder.next_frames(PLENTY_S, 0.0)
    assert later is not None
    assert later.silence_s == 0.0


@telling
def test_a_file_starts_at_once() -> None:
    decoder = decoder_of(live=False, playout=PLAYOUT)
    arrive(decoder, tile(0))
    frames = decoder.next_frames(0.0, decoder.now_s)
    assert frames is not None
    assert (frames.silence_s, frames.tile) == (0.0, tile(0))


@telling
def test_before_the_first_tile_there_is_nothing_to_say() -> None:
    assert decoder_of().next_frames(0.0, 0.0) is None
    assert decoder_of(live=False).next_frames(0.0, 0.0) is None
    for live in (True, False):
        decoder = decoder_of(live, playout=PLAYOUT)
        (last,) = finish(decoder, None)
        assert last.samples.size == 0


@telling
def test_a_stream_may_begin_with_a_later_tile() -> None:
    decoder = decoder_of(playout=PLAYOUT)
    (chunk,) = feed(decoder, 3)
    assert (numbers(chunk), chunk.first_sample) == (list(range(24, 32)), 24 * HOP)


@telling
@pytest.mark.parametrize("live", [True, False])
def test_tiles_out_of_order_are_spoken_in_order(live: bool) -> None:
    decoder = decoder_of(live, playout=PLAYOUT)
    chunks = feed(decoder, 0, 2, 1, 1, 0, 3, buffered_s=0.03)
    assert numbers(*chunks) == list(range(32))
    assert (decoder.counts.late, decoder.counts.lost) == (2, 0)


@telling
@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("latency_frames", [0, 2])
def test_a_short_gap_is_bridged_by_interpolation(missing: int, latency_frames: int) -> None:
    """Straight lines between numbers are the numbers, so the gap does not show."""
    decoder = decoder_of(latency_frames=latency_frames, playout=PLAYOUT)
    chunks: list[Chunk | None] = [*feed(decoder, 0, 1 + missing)]
    assert len(chunks) == 1  # it waits while there is sound
    chunks += [ask(decoder, 0.02)]
    chunks += finish(decoder, Bye(2 + missing, 1 << 40))
    assert numbers(*chunks) == list(range(8 * (2 + missing)))
    assert chunks[1] is not None
    assert chunks[1].first_sample == (8 - latency_frames) * HOP
    assert (decoder.counts.lost, decoder.background.concealed_frames) == (missing, 8 * missing)


@telling
def test_a_late_tile_is_bridged_frame_by_frame_then_spoken_whole() -> None:
    decoder = decoder_of(playout=PLAYOUT)
    feed(decoder, 0)
    assert ask(decoder, 0.03) is None
    bridges = [ask(decoder, 0.02) for _ in range(3)]
    assert len(numbers(*bridges)) == 3
    assert [chunk.first_sample for chunk in bridges if chunk] == [8 * HOP, 9 * HOP, 10 * HOP]
    (chunk,) = feed(decoder, 1)
    assert (numbers(chunk), chunk.first_sample) == (list(range(8, 16)), 8 * HOP)
    assert (decoder.background.concealed_frames, decoder.counts.lost) == (3, 0)


@telling
def test_a_lost_tile_that_was_bridged_is_filled_for_the_rest() -> None:
    decoder = decoder_of(playout=PLAYOUT)
    feed(decoder, 0)
    bridges = [ask(decoder, 0.02) for _ in range(3)]
    assert bridges[-1] is not None
    arrive(decoder, tile(2))
    chunk = ask(decoder, 0.02)
    assert chunk is not None
    assert chunk.first_sample == 11 * HOP
    fill = numbers(chunk)[:5]
    assert np.ptp(np.diff([*fill, 16.0])) < 0.3  # a straight line to the next frame
    assert numbers(chunk)[5:] == list(range(16, 24))
    (after,) = feed(decoder, 3)
    assert after.first_sample == 24 * HOP


@telling
def test_more_bridging_than_was_lost_leaves_the_position_right() -> None:
    decoder = decoder_of(playout=PLAYOUT)
    feed(decoder, 0)
    for _ in range(10):
        assert ask(decoder, 0.0) is not None
    arrive(decoder, tile(2))
    chunk = ask(decoder, 0.0)
    assert chunk is not None
    assert (numbers(chunk), chunk.first_sample) == (list(range(16, 24)), 16 * HOP)


@telling
def test_bridging_falls_silent_and_the_next_tile_is_anchored_anew() -> None:
    decoder = decoder_of(playout=PLAYOUT)
    feed(decoder, 0)
    bridges = 0
    while ask(decoder, 0.0) is not None:
        bridges += 1
    assert bridges == np.ceil((PLAYOUT.max_conceal_s + PLAYOUT.fade_s) / FRAME_S)
    assert ask(decoder, 0.0) is None
    arrive(decoder, tile(9))
    frames = decoder.next_frames(0.0, decoder.now_s)
    assert frames is not None
    assert frames.silence_s == pytest.approx(0.041)
    chunk = decoder.speak(frames)
    assert (numbers(chunk)[-1], chunk.first_sample) == (79, 72 * HOP)
    assert decoder.background.concealed_frames == bridges


@telling
def test_a_file_is_neither_bridged_nor_skipped_nor_shortened() -> None:
    decoder = decoder_of(live=False, playout=PLAYOUT)
    feed(decoder, 0)
    assert ask(decoder, 0.0) is None
    for sequence in range(1, 25):
        arrive(decoder, tile(sequence))
    chunks = []
    while (chunk := ask(decoder, 100.0)) is not None:
        chunks.append(chunk)
    assert numbers(*chunks) == list(range(8, 200))
    assert decoder.counts.skipped == 0


@telling
def test_a_file_waits_for_a_missing_tile_until_many_more_have_come() -> None:
    decoder = decoder_of(live=False, playout=PLAYOUT)
    assert len(feed(decoder, 0, 2, 3, 4, 5, 6, 7, 8, 9)) == 1
    chunks = feed(decoder, 10)
    assert numbers(*chunks) == list(range(8, 88))
    assert decoder.counts.lost == 1


@telling
def test_a_file_may_begin_with_a_pause() -> None:
    decoder = decoder_of(live=False)
    for packet in (pause(0, 0), pause(1, 24)):
        arrive(decoder, packet)
        assert ask(decoder) is not None
    arrive(decoder, tile(2, first_frame=48))
    chunks = [ask(decoder), *finish(decoder, None)]
    assert numbers(*chunks)[-8:] == list(range(48, 56))
    assert sum(chunk.samples.size for chunk in chunks if chunk is not None) == (56 - 32) * HOP


@telling
def test_no_sound_lies_before_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = decoder_of(playout=PlayoutConfig(min_s=0.6), tile_frames=64)
    stretched = lambda before, log_mel, surplus_s, is_quiet: (np.repeat(log_mel, 2, axis=1), 0.0)  # noqa: E731
    monkeypatch.setattr(decoder.pacer, "push_frames", stretched)
    decoder.push(pause(0, 0, 64), 0.0)
    said_s = 0.0
    while (chunk := ask(decoder, said_s)) is not None:
        said_s += chunk.samples.size / MEL.rate_hz
    decoder.push(tile(1, 64, 1), 0.0)
    chunk = ask(decoder, 0.0)
    assert chunk is not None and chunk.first_sample == 0


@telling
@pytest.mark.parametrize("live", [True, False])
def test_damage_is_concealed_like_loss_and_counted_apart(live: bool) -> None:
    decoder = decoder_of(live, playout=PLAYOUT)
    chunks = feed(decoder, 0)
    arrive(decoder, damaged(1))
    assert ask(decoder) is None
    chunks += feed(decoder, 2)
    assert numbers(*chunks) == list(range(24))
    assert (decoder.counts.damaged, decoder.counts.lost, decoder.background.concealed_frames) == (1, 0, 8)


@telling
def test_a_tile_that_overlaps_what_was_spoken_is_damage() -> None:
    decoder = decoder_of(playout=PLAYOUT)
    feed(decoder, 0, 1)
    arrive(decoder, replace(tile(2), first_frame=3))
    assert ask(decoder) is None
    (chunk,) = feed(decoder, 3)
    assert chunk.first_sample == 16 * HOP
    assert decoder.counts.damaged == 1


@telling
def test_the_last_tile_is_spoken_as_far_as_it_is_sound() -> None:
    decoder = decoder_of(playout=PLAYOUT)
    chunks = feed(decoder, 0)
    arrive(decoder, tile(1, 3, first_frame=8))
    chunks += finish(decoder, Bye(2, 10 * HOP + 77))
    assert numbers(*chunks) == list(range(11))
    assert sum(chunk.samples.size for chunk in chunks) == 10 * HOP + 77


@telling
def test_after_the_end_gaps_are_waited_for_no_longer_and_nothing_is_bridged_or_skipped() -> None:
    decoder = decoder_of(playout=PLAYOUT)
    chunks = feed(decoder, 0)
    for sequence in (2, 3, 4, 5):
        arrive(decoder, tile(sequence))
    chunks += finish(decoder, Bye(8, 64 * HOP))
    assert numbers(*chunks) == list(range(48))
    assert (decoder.counts.lost, decoder.counts.skipped) == (1 + 2, 0)


@telling
@pytest.mark.parametrize("latency_frames", [0, 5])
def test_without_a_bye_all_that_came_is_spoken(latency_frames: int) -> None:
    decoder = decoder_of(latency_frames=latency_frames, playout=PLAYOUT)
    chunks = feed(decoder, 0, 1) + finish(decoder, None)
    assert numbers(*chunks) == list(range(16))


@telling
@pytest.mark.parametrize("latency_frames", [0, 3])
def test_a_stream_with_a_gap_near_its_end_still_ends_at_its_last_sample(latency_frames: int) -> None:
    decoder = decoder_of(latency_frames=latency_frames, playout=PLAYOUT)
    chunks = feed(decoder, 0)
    arrive(decoder, tile(6))
    chunks += finish(decoder, Bye(7, 54 * HOP + 10))
    assert numbers(*chunks) == [*range(8), *range(48, 55)]
    assert sum(chunk.samples.size for chunk in chunks) == 14 * HOP + 10


@telling
@given(
    arrivals=st.lists(st.one_of(st.none(), st.integers(0, 25)), max_size=40),
    latency_frames=st.integers(0, 4),
    live=st.booleans(),
    depth=st.lists(st.sampled_from([0.0, 0.03, 0.1, 0.3]), min_size=1, max_size=5),
)
def test_whatever_arrives_real_frames_are_spoken_at_their_own_position(
    arrivals: list[int | None], latency_frames: int, live: bool, depth: list[float]
) -> None:
    """In any order, with repeats, gaps (None: time passes) and any buffer depth."""
    decoder = decoder_of(live, latency_frames, PLAYOUT)
    places: list[float] = []  # of the frames given to the vocoder; NaN for bridges
    chunks: list[Chunk] = []

    def speak_all(buffered_s: float) -> None:
        while (frames := decoder.next_frames(buffered_s, decoder.now_s)) is not None:
            chunks.append(decoder.speak(frames))
            if frames.tile is None:
                places.extend([np.nan] * frames.log_mel.shape[1])
                return  # time passes
            end = frames.tile.first_frame + TILE_FRAMES
            places.extend(range(end - frames.log_mel.shape[1], end))

    for i, sequence in enumerate(arrivals):
        if sequence is not None:
            arrive(decoder, tile(sequence))
        speak_all(depth[i % len(depth)])
    decoder.end(None)
    speak_all(0.0)
    chunks.append(decoder.flush())

    assert sum(chunk.samples.size for chunk in chunks) == len(places) * HOP
    emitted = 0
    for chunk in chunks:
        if chunk.samples.size and not np.isnan(places[emitted]):
            assert chunk.first_sample == places[emitted] * HOP
        emitted += chunk.samples.size // HOP
    counts = decoder.counts
    assert counts.received + counts.late + counts.repeated == len(arrivals) - arrivals.count(None)


@pytest.mark.parametrize("min_s", [-0.001, 10.1, float("nan")])
def test_an_impossible_playout_buffer_is_refused(min_s: float) -> None:
    with pytest.raises(ValueError, match="playout buffer"):
        PlayoutConfig(min_s=min_s)
