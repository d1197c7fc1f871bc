"""The encoder makes the same packets for any chunking; the decoder keeps samples in their place, whatever is missing.

Most decoder tests use a picture codec and a vocoder that show what was spoken: the pixels of frame k are k, and its hop
of samples is k throughout.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speech import FloatArray, chunked, speech_like

from audio_avif import codec
from audio_avif.codec import Chunk, Decoder, Encoder, PlayoutConfig
from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.container import inspect_still
from audio_avif.errors import TileError
from audio_avif.features import log_mel
from audio_avif.images import decode_still, encode_still
from audio_avif.tiles import Pixels, to_pixels
from audio_avif.vocoders.griffin_lim import RtisiLa
from audio_avif.vocoders.protocol import VocoderStream
from audio_avif.wire import Bye, Hello, TilePacket

MEL, TILE, FAST = MelConfig(), TileConfig(8), EncoderConfig(speed=10)
HOP, TILE_FRAMES = MEL.hop_samples, 8
FRAME_S = MEL.frame_s
TILE_S = TILE_FRAMES * FRAME_S
SPEECH = speech_like(1.5)
PLENTY_S = 0.15  # of sound still to be played: nothing is urgent, nothing is surplus for a while
PLAYOUT = PlayoutConfig(target_s=0.04, conceal_at_s=0.025, max_conceal_s=0.2)
HELLO = Hello(MEL, TILE, Encoder(MEL, TILE, FAST).template, "")


# Encoder


@lru_cache
def speech_packets() -> tuple[TilePacket, ...]:
    """The stream of ``SPEECH``, pushed in one piece."""
    encoder = Encoder(MEL, TILE, FAST)
    return (*encoder.push(SPEECH), *encoder.flush())


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(0, 6000), max_size=8))
def test_any_chunking_gives_the_same_packets(sizes: list[int]) -> None:
    encoder, expected = Encoder(MEL, TILE, FAST), speech_packets()
    pieces = [packet for piece in chunked(SPEECH.size, sizes) for packet in encoder.push(SPEECH[piece])]
    assert (*pieces, *encoder.flush()) == expected
    assert encoder.bye() == Bye(len(expected), SPEECH.size)


def test_packets_are_numbered_and_hold_the_pixels_of_the_features() -> None:
    encoder = Encoder(MEL, TILE, FAST)
    packets = encoder.push(SPEECH) + encoder.flush()
    frames = log_mel(SPEECH)
    assert [packet.sequence for packet in packets] == list(range(len(packets)))
    assert [packet.first_frame for packet in packets] == list(range(0, frames.shape[1], 8))
    assert sum(packet.frames for packet in packets) == frames.shape[1]
    assert encoder.whole_stills == 0
    for packet in packets:
        pixels = decode_still(packet.still(encoder.template), 8, 80)[:, : packet.frames]
        expected = to_pixels(frames[:, packet.first_frame : packet.first_frame + packet.frames], TILE)
        assert np.abs(pixels.astype(int) - expected).mean() < 12


def test_a_tile_comes_as_soon_as_its_last_sample_is_known() -> None:
    encoder = Encoder(MEL, TILE, FAST)
    assert encoder.latency_samples == 7 * 256 + 512
    assert encoder.push(SPEECH[: encoder.latency_samples - 1]) == []
    assert len(encoder.push(SPEECH[:1])) == 1


def test_silence_of_no_length_is_a_stream_of_no_tiles() -> None:
    encoder = Encoder(MEL, TILE, FAST)
    assert encoder.push(np.zeros(0, np.float32)) + encoder.flush() == []
    assert encoder.bye() == Bye(0, 0)


def test_stills_that_do_not_fit_the_template_are_sent_whole_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder whose container varies from still to still: every other one is of another value range."""
    encoder = Encoder(MEL, TILE, FAST)
    stills: list[bytes] = []

    def varying(pixels: Pixels, config: EncoderConfig) -> bytes:
        still = encode_still(pixels, config)
        layout = inspect_still(still)
        if len(stills) % 2:  # the full-range flag of the colr box
            at = still.index(b"nclx") + 10
            assert at < layout.frame_at
            still = still[:at] + bytes([still[at] ^ 0x80]) + still[at + 1 :]
        stills.append(still)
        return still

    monkeypatch.setattr(codec, "encode_still", varying)
    packets = encoder.push(SPEECH) + encoder.flush()
    assert encoder.whole_stills == sum(packet.is_whole_still for packet in packets) == len(packets) // 2
    assert [packet.is_whole_still for packet in packets[:4]] == [False, True, False, True]
    assert [packet.still(encoder.template) for packet in packets] == stills


# Decoder, with the real picture codec


def all_samples(decoder: Decoder, packets: list[TilePacket], bye: Bye | None) -> FloatArray:
    """Drive a decoder through a whole stream."""
    pieces = []
    for packet in packets:
        decoder.push(packet)
        while (frames := decoder.next_frames(PLENTY_S)) is not None:
            pieces.append(decoder.speak(frames).samples)
    decoder.end(bye)
    while (frames := decoder.next_frames(PLENTY_S)) is not None:
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
def test_a_stream_ends_at_its_last_sample(samples: int) -> None:
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
    packets[3] = replace(packets[3], payload=b"\xff" * 30)
    packets[5] = replace(packets[5], payload=b"no picture", is_whole_still=True)
    decoder = Decoder(replace(HELLO, template=encoder.template, live=False), FrameTeller(1))
    assert all_samples(decoder, packets, encoder.bye()).size == SPEECH.size
    assert (decoder.counts.damaged, decoder.counts.lost, decoder.concealed_frames) == (2, 0, 16)


def test_warm_up_leaves_no_trace() -> None:
    vocoder = RtisiLa(MEL)
    codec.warm_up(HELLO, vocoder)
    np.testing.assert_array_equal(vocoder.push(log_mel(SPEECH)), RtisiLa(MEL).push(log_mel(SPEECH)))


# Decoder, with pixels and samples that tell their frame


class FrameTeller:
    """A vocoder that speaks the number of each frame, ``latency_frames`` late."""

    def __init__(self, latency_frames: int = 0) -> None:
        self.latency_samples = latency_frames * HOP
        self.reset()

    def reset(self) -> None:
        self._held: FloatArray = np.zeros(0, np.float32)

    def push(self, log_mel: FloatArray) -> FloatArray:
        numbers = (log_mel[0] - TILE.log10_min) * 255 / (TILE.log10_max - TILE.log10_min)
        held = np.concatenate([self._held, np.repeat(numbers, HOP)])
        ready = max(0, held.size - self.latency_samples)
        self._held = held[ready:]
        return held[:ready]

    def flush(self) -> FloatArray:
        held, self._held = self._held, np.zeros(0, np.float32)
        return held


def tile(sequence: int, frames: int = TILE_FRAMES) -> TilePacket:
    """A tile whose picture holds the numbers of its frames."""
    return TilePacket(sequence, sequence * TILE_FRAMES, frames, bytes([sequence * TILE_FRAMES]))


def damaged(sequence: int) -> TilePacket:
    return replace(tile(sequence), payload=b"\xff")


@pytest.fixture
def _telling_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(still: bytes, width: int, height: int) -> Pixels:
        if still[-1] == 0xFF:
            raise TileError("damaged on purpose")
        return np.tile(np.arange(still[-1], still[-1] + width, dtype=np.uint8), (height, 1))

    monkeypatch.setattr(codec, "decode_still", decode)


def decoder_of(live: bool = True, latency_frames: int = 0, playout: PlayoutConfig = PLAYOUT) -> Decoder:
    vocoder: VocoderStream = FrameTeller(latency_frames)
    return Decoder(replace(HELLO, live=live), vocoder, playout)


def ask(decoder: Decoder, buffered_s: float = PLENTY_S) -> Chunk | None:
    """Ask once, and speak what there is."""
    frames = decoder.next_frames(buffered_s)
    return None if frames is None else decoder.speak(frames)


def numbers(*chunks: Chunk | None) -> list[float]:
    """The frames spoken, to a tenth."""
    samples = np.concatenate([chunk.samples for chunk in chunks if chunk is not None])
    return [round(float(value), 1) for value in samples[::HOP]]


def feed(decoder: Decoder, *sequences: int, buffered_s: float = PLENTY_S) -> list[Chunk]:
    """Push tiles and speak what each makes ready."""
    chunks = []
    for sequence in sequences:
        decoder.push(tile(sequence))
        while (chunk := ask(decoder, buffered_s)) is not None:
            chunks.append(chunk)
    return chunks


def finish(decoder: Decoder, bye: Bye | None) -> list[Chunk]:
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
    decoder = decoder_of(live, latency_frames)
    chunks = feed(decoder, 0, 1, 2) + finish(decoder, Bye(3, 24 * HOP - 100))
    assert numbers(*chunks) == list(range(24))
    assert sum(chunk.samples.size for chunk in chunks) == 24 * HOP - 100
    ends = np.cumsum([chunk.samples.size for chunk in chunks])
    assert [chunk.first_sample for chunk in chunks] == [0, *ends[:-1]]
    assert decoder.concealed_frames == 0


@telling
def test_a_live_stream_starts_after_the_target_and_the_vocoders_delay() -> None:
    decoder = decoder_of(latency_frames=3)
    decoder.push(tile(0))
    frames = decoder.next_frames(0.0)
    assert frames is not None
    assert frames.silence_s == pytest.approx(0.04 + 3 * FRAME_S)
    decoder.speak(frames)
    decoder.push(tile(1))
    later = decoder.next_frames(PLENTY_S)
    assert later is not None
    assert later.silence_s == 0.0


@telling
def test_a_file_starts_at_once() -> None:
    decoder = decoder_of(live=False)
    decoder.push(tile(0))
    frames = decoder.next_frames(0.0)
    assert frames is not None
    assert (frames.silence_s, frames.tile) == (0.0, tile(0))


@telling
def test_before_the_first_tile_there_is_nothing_to_say() -> None:
    assert decoder_of().next_frames(0.0) is None
    assert decoder_of(live=False).next_frames(0.0) is None
    for live in (True, False):
        decoder = decoder_of(live)
        (last,) = finish(decoder, None)
        assert last.samples.size == 0


@telling
def test_a_stream_may_begin_with_a_later_tile() -> None:
    decoder = decoder_of()
    (chunk,) = feed(decoder, 3)
    assert (numbers(chunk), chunk.first_sample) == (list(range(24, 32)), 24 * HOP)


@telling
@pytest.mark.parametrize("live", [True, False])
def test_tiles_out_of_order_are_spoken_in_order(live: bool) -> None:
    decoder = decoder_of(live)
    chunks = feed(decoder, 0, 2, 1, 1, 0, 3, buffered_s=0.03)
    assert numbers(*chunks) == list(range(32))
    assert (decoder.counts.late, decoder.counts.lost) == (2, 0)


@telling
@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("latency_frames", [0, 2])
def test_a_short_gap_is_bridged_by_interpolation(missing: int, latency_frames: int) -> None:
    """Straight lines between numbers are the numbers, so the gap does not show."""
    decoder = decoder_of(latency_frames=latency_frames)
    chunks: list[Chunk | None] = [*feed(decoder, 0, 1 + missing)]
    assert len(chunks) == 1  # it waits while there is sound
    chunks += [ask(decoder, 0.02)]
    chunks += finish(decoder, Bye(2 + missing, 1 << 40))
    assert numbers(*chunks) == list(range(8 * (2 + missing)))
    assert chunks[1] is not None
    assert chunks[1].first_sample == (8 - latency_frames) * HOP
    assert (decoder.counts.lost, decoder.concealed_frames) == (missing, 8 * missing)


@telling
@pytest.mark.parametrize("latency_frames", [0, 2])
def test_a_long_gap_is_left_out_and_the_position_jumps_where_the_sound_does(latency_frames: int) -> None:
    decoder = decoder_of(latency_frames=latency_frames)
    chunks = feed(decoder, 0, 4)
    after_the_gap = ask(decoder, 0.02)
    assert after_the_gap is not None
    chunks.append(after_the_gap)
    chunks += feed(decoder, 5)
    assert numbers(*chunks) == [*range(8), *range(32, 48 - latency_frames)]
    positions = [chunk.first_sample // HOP for chunk in chunks]
    assert positions == ([0, 32, 40] if not latency_frames else [0, 6, 38])
    assert (decoder.counts.lost, decoder.concealed_frames) == (3, 0)


@telling
def test_a_late_tile_is_bridged_frame_by_frame_then_spoken_whole() -> None:
    decoder = decoder_of()
    feed(decoder, 0)
    assert ask(decoder, 0.03) is None
    bridges = [ask(decoder, 0.02) for _ in range(3)]
    fall = 10 * FRAME_S * 255 / 15
    assert numbers(*bridges) == [round(7 - fall * (i + 1), 1) if fall * (i + 1) < 7 else 0.0 for i in range(3)]
    assert [chunk.first_sample for chunk in bridges if chunk] == [8 * HOP, 9 * HOP, 10 * HOP]
    (chunk,) = feed(decoder, 1)
    assert (numbers(chunk), chunk.first_sample) == (list(range(8, 16)), 8 * HOP)
    assert (decoder.concealed_frames, decoder.counts.lost) == (3, 0)


@telling
def test_a_lost_tile_that_was_bridged_is_filled_for_the_rest() -> None:
    decoder = decoder_of()
    feed(decoder, 0)
    bridges = [ask(decoder, 0.02) for _ in range(3)]
    assert bridges[-1] is not None
    decoder.push(tile(2))
    chunk = ask(decoder, 0.02)
    assert chunk is not None
    assert chunk.first_sample == 11 * HOP
    fill = numbers(chunk)[:5]
    assert len(set(np.diff([*fill, 16.0]).round())) == 1  # a straight line to the next frame
    assert numbers(chunk)[5:] == list(range(16, 24))
    (after,) = feed(decoder, 3)
    assert after.first_sample == 24 * HOP


@telling
def test_more_bridging_than_was_lost_leaves_the_position_right() -> None:
    decoder = decoder_of()
    feed(decoder, 0)
    for _ in range(10):
        assert ask(decoder, 0.0) is not None
    decoder.push(tile(2))
    chunk = ask(decoder, 0.0)
    assert chunk is not None
    assert (numbers(chunk), chunk.first_sample) == (list(range(16, 24)), 16 * HOP)


@telling
def test_bridging_falls_silent_and_the_next_tile_is_anchored_anew() -> None:
    decoder = decoder_of()
    feed(decoder, 0)
    bridges = 0
    while ask(decoder, 0.0) is not None:
        bridges += 1
    assert bridges == np.ceil(0.2 / FRAME_S)
    assert ask(decoder, 0.0) is None
    decoder.push(tile(9))
    frames = decoder.next_frames(0.0)
    assert frames is not None
    assert frames.silence_s == pytest.approx(0.04)
    chunk = decoder.speak(frames)
    assert (numbers(chunk), chunk.first_sample) == (list(range(72, 80)), 72 * HOP)
    assert decoder.concealed_frames == bridges


@telling
def test_a_file_is_neither_bridged_nor_skipped_nor_shortened() -> None:
    decoder = decoder_of(live=False)
    feed(decoder, 0)
    assert ask(decoder, 0.0) is None
    for sequence in range(1, 31):
        decoder.push(tile(sequence))
    chunks = []
    while (chunk := ask(decoder, 100.0)) is not None:
        chunks.append(chunk)
    assert numbers(*chunks) == list(range(8, 248))
    assert decoder.counts.skipped == 0


@telling
def test_a_file_waits_for_a_missing_tile_until_many_more_have_come() -> None:
    decoder = decoder_of(live=False)
    assert len(feed(decoder, 0, 2, 3, 4, 5, 6, 7, 8, 9)) == 1
    chunks = feed(decoder, 10)
    assert numbers(*chunks) == list(range(8, 88))
    assert decoder.counts.lost == 1


@telling
@pytest.mark.parametrize("latency_frames", [0, 2])
def test_a_backlog_is_skipped_to_what_fits_the_target(latency_frames: int) -> None:
    decoder = decoder_of(latency_frames=latency_frames)
    feed(decoder, 0)
    for sequence in range(1, 11):
        decoder.push(tile(sequence))
    chunks = []
    buffered_s = 0.05
    while (chunk := ask(decoder, buffered_s)) is not None:
        chunks.append(chunk)
        buffered_s += chunk.samples.size / MEL.rate_hz
    assert decoder.counts.skipped == 9
    assert buffered_s <= PLAYOUT.target_s + TILE_S + 0.05
    (after,) = feed(decoder, 11)
    assert numbers(*chunks, after)[latency_frames:] == list(range(80, 96 - latency_frames))
    assert after.first_sample == (88 - latency_frames) * HOP


@telling
def test_a_backlog_that_comes_tile_by_tile_is_skipped_too() -> None:
    """Faster than it is played and slower than it is decoded: no two tiles ever wait at once."""
    decoder, buffered_s = decoder_of(), PLAYOUT.target_s - 0.01
    for sequence in range(17):
        decoder.push(tile(sequence))
        if (chunk := ask(decoder, buffered_s)) is not None:
            buffered_s += chunk.samples.size / MEL.rate_hz
        assert buffered_s <= PLAYOUT.target_s + 2 * TILE_S + 1e-9
    assert decoder.counts.skipped == 15
    assert numbers(*feed(decoder, 17, buffered_s=0.04)) == list(range(136, 144))


@telling
@pytest.mark.parametrize("latency_frames", [3, 24])
def test_a_vocoder_that_holds_much_back_is_no_reason_to_skip(latency_frames: int) -> None:
    """What is queued at first is silence in place of frames that the vocoder has yet to give back."""
    decoder = decoder_of(latency_frames=latency_frames)
    played_s = buffered_until_s = PLAYOUT.target_s + latency_frames * FRAME_S
    for sequence in range(12):
        decoder.push(tile(sequence))
        chunk = ask(decoder, buffered_until_s - sequence * TILE_S if sequence else 0.0)
        assert chunk is not None
        buffered_until_s += chunk.samples.size / MEL.rate_hz
    assert (decoder.counts.skipped, decoder.concealed_frames) == (0, 0)
    assert buffered_until_s == pytest.approx(played_s + (12 * TILE_FRAMES - latency_frames) * FRAME_S)


@telling
def test_what_was_skipped_is_not_filled_again() -> None:
    decoder = decoder_of()
    feed(decoder, 0)
    for sequence in (1, 2):
        decoder.push(tile(sequence))
    chunk = ask(decoder, 0.1)
    assert chunk is not None
    assert (numbers(chunk), chunk.first_sample) == (list(range(16, 24)), 16 * HOP)
    assert (decoder.counts.skipped, decoder.concealed_frames) == (1, 0)


@telling
def test_depth_that_no_jitter_uses_is_given_back() -> None:
    """The buffer is a tenth of a second deeper than it need be whenever a tile comes; after a second it is not."""
    decoder = decoder_of()
    spoken = [numbers(*feed(decoder, sequence, buffered_s=0.14)) for sequence in range(16)]
    assert [8 - len(frames) for frames in spoken] == [0] * 7 + [6] + [0] * 7 + [6]
    assert spoken[7] == [62, 63]
    decoder.push(tile(16))
    chunk = ask(decoder)
    assert chunk is not None
    assert chunk.first_sample == 128 * HOP


@telling
@pytest.mark.parametrize("live", [True, False])
def test_damage_is_concealed_like_loss_and_counted_apart(live: bool) -> None:
    decoder = decoder_of(live)
    chunks = feed(decoder, 0)
    decoder.push(damaged(1))
    assert ask(decoder) is None
    chunks += feed(decoder, 2)
    assert numbers(*chunks) == list(range(24))
    assert (decoder.counts.damaged, decoder.counts.lost, decoder.concealed_frames) == (1, 0, 8)


@telling
def test_a_tile_that_overlaps_what_was_spoken_is_damage() -> None:
    decoder = decoder_of()
    feed(decoder, 0, 1)
    decoder.push(replace(tile(2), first_frame=3))
    assert ask(decoder) is None
    (chunk,) = feed(decoder, 3)
    assert chunk.first_sample == 16 * HOP
    assert decoder.counts.damaged == 1


@telling
def test_the_last_tile_is_spoken_as_far_as_it_is_sound() -> None:
    decoder = decoder_of()
    chunks = feed(decoder, 0)
    decoder.push(tile(1, frames=3))
    chunks += finish(decoder, Bye(2, 10 * HOP + 77))
    assert numbers(*chunks) == list(range(11))
    assert sum(chunk.samples.size for chunk in chunks) == 10 * HOP + 77


@telling
def test_after_the_end_gaps_are_waited_for_no_longer_and_nothing_is_bridged_or_skipped() -> None:
    decoder = decoder_of()
    chunks = feed(decoder, 0)
    for sequence in (2, 3, 4, 5):
        decoder.push(tile(sequence))
    chunks += finish(decoder, Bye(8, 64 * HOP))
    assert numbers(*chunks) == list(range(48))
    assert (decoder.counts.lost, decoder.counts.skipped) == (1 + 2, 0)


@telling
@pytest.mark.parametrize("latency_frames", [0, 5])
def test_without_a_bye_all_that_came_is_spoken(latency_frames: int) -> None:
    decoder = decoder_of(latency_frames=latency_frames)
    chunks = feed(decoder, 0, 1) + finish(decoder, None)
    assert numbers(*chunks) == list(range(16))


@telling
@pytest.mark.parametrize("latency_frames", [0, 3])
def test_a_stream_with_a_gap_near_its_end_still_ends_at_its_last_sample(latency_frames: int) -> None:
    decoder = decoder_of(latency_frames=latency_frames)
    chunks = feed(decoder, 0)
    decoder.push(tile(5))
    chunks += finish(decoder, Bye(6, 46 * HOP + 10))
    assert numbers(*chunks) == [*range(8), *range(40, 47)]
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
    decoder = decoder_of(live, latency_frames)
    places: list[float] = []  # of the frames given to the vocoder; NaN for bridges
    chunks: list[Chunk] = []

    def speak_all(buffered_s: float) -> None:
        while (frames := decoder.next_frames(buffered_s)) is not None:
            chunks.append(decoder.speak(frames))
            if frames.tile is None:
                places.append(np.nan)
                return  # time passes
            end = frames.tile.first_frame + TILE_FRAMES
            places.extend(range(end - frames.log_mel.shape[1], end))

    for i, sequence in enumerate(arrivals):
        if sequence is not None:
            decoder.push(tile(sequence))
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


@pytest.mark.parametrize("target_s", [-0.001, 10.1, float("nan")])
def test_an_impossible_playout_buffer_is_refused(target_s: float) -> None:
    with pytest.raises(ValueError, match="playout buffer"):
        PlayoutConfig(target_s=target_s)
