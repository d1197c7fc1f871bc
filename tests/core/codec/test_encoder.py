"""The encoder makes the same packets for any chunking, and numbers what it sends."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_avif.codec import tile_encoder
from audio_avif.codec.encoder import Encoder
from audio_avif.config import EncoderConfig, TileConfig
from audio_avif.link.hello import Hello
from audio_avif.link.messages import Bye
from audio_avif.link.packets import TilePacket
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import decode_still, encode_still
from audio_avif.still.boxes import inspect_still
from audio_avif.still.tiles import to_pixels
from audio_avif.types import Pixels
from support.speech import chunked, speech_like, speech_with_a_pause
from support.stage import (
    FRAME_S,
    MEL,
)

TILE, FAST = TileConfig(8), EncoderConfig(speed=10)
TILE_FRAMES = 8
TILE_S = TILE_FRAMES * FRAME_S
SPEECH = speech_like(1.5)
PLENTY_S = 0.05  # of sound still to be played: nothing is urgent
HELLO = Hello(MEL, TILE, Encoder(MEL, TILE, FAST).template, "")


@lru_cache
def speech_packets() -> tuple[TilePacket, ...]:
    """The stream of ``SPEECH``, pushed in one piece."""
    encoder = Encoder(MEL, TILE, FAST)
    return (*encoder.push(SPEECH), *encoder.flush())


@settings(max_examples=20)
@given(before=st.integers(0, 5000), frames=st.sampled_from([2, 8]))
def test_as_many_samples_as_are_missing_complete_a_tile(before: int, frames: int) -> None:
    encoder = Encoder(MEL, TileConfig(frames), FAST)
    encoder.push(SPEECH[:before])
    missing = encoder.missing_samples
    assert not encoder.push(SPEECH[before : before + missing - 1])
    assert len(encoder.push(SPEECH[:1])) == 1


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

    monkeypatch.setattr(tile_encoder, "encode_still", varying)
    packets = encoder.push(SPEECH) + encoder.flush()
    assert encoder.whole_stills == sum(packet.is_whole_still for packet in packets) == len(packets) // 2
    assert [packet.is_whole_still for packet in packets[:4]] == [False, True, False, True]
    assert [packet.still(encoder.template) for packet in packets] == stills


# Pauses and copies


@settings(max_examples=5)
@given(sizes=st.lists(st.integers(0, 6000), max_size=8))
def test_any_chunking_gives_the_same_pauses_and_copies(sizes: list[int]) -> None:
    config = replace(FAST, dtx=True, redundancy=1)
    whole, parts = Encoder(MEL, TILE, config), Encoder(MEL, TILE, config)
    samples = speech_with_a_pause()
    pieces = [packet for piece in chunked(samples.size, sizes) for packet in parts.push(samples[piece])]
    assert pieces + parts.flush() == whole.push(samples) + whole.flush()
