"""Long recordings spoken in parts: any pieces give the same parts, and the joined sound has no seam."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.config import MelConfig
from audio_avif.recording.segments import PART_FRAMES, Part, PartJoiner, cut_parts, speak, speak_part
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.registry import load_vocoder
from audio_avif.vocoders.streaming import open_stream
from audio_avif_tools.shared.signals import demo_clip
from support.speech import chunked

HOP = MelConfig().hop_samples


class Repeater:
    """A vocoder without memory: each sample of a frame's hop is the frame's first band."""

    name = "repeater"
    mel = MelConfig()

    def synthesize(self, log_mel: FloatArray) -> FloatArray:
        return np.repeat(log_mel[0], HOP)


def numbered(frames: int, channels: int = 1, seed: int = 0) -> FloatArray:
    """Frames that tell their number, in bands above of some loudness."""
    out = np.random.default_rng(seed).normal(-3, 1, (channels, 80, frames)).astype(np.float32)
    out[:, 0] = np.arange(frames)
    return out


def spoken(log_mels: list[FloatArray], vocoder: Vocoder, part_frames: int = PART_FRAMES) -> FloatArray:
    """All parts, joined ``[channels, samples]``."""
    joiner = PartJoiner(HOP)
    parts = cut_parts(log_mels, part_frames)
    return np.concatenate([joiner.push(speak_part(part, vocoder), part.is_last) for part in parts], axis=1)


def new_frames(part: Part) -> FloatArray:
    """What a part speaks first: without what leads up to it, and without its overlap."""
    own = part.log_mel[:, :, part.lead_frames :]
    return own if part.is_last else own[:, :, :-1]


@given(
    frames=st.integers(1, 700),
    channels=st.integers(1, 3),
    sizes=st.lists(st.integers(0, 300), max_size=12),
    part_frames=st.integers(63, 250),
)
def test_any_pieces_give_the_same_parts_and_each_frame_is_spoken_once(
    frames: int, channels: int, sizes: list[int], part_frames: int
) -> None:
    whole = numbered(frames, channels)
    parts = list(cut_parts([whole[:, :, piece] for piece in chunked(frames, sizes)], part_frames))
    for part, other in zip(parts, cut_parts([whole], part_frames), strict=True):
        np.testing.assert_array_equal(part.log_mel, other.log_mel)
        assert (part.lead_frames, part.is_last) == (other.lead_frames, other.is_last)
    assert [part.is_last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert max(part.log_mel.shape[2] for part in parts) <= part_frames + 17
    np.testing.assert_array_equal(np.concatenate([new_frames(part) for part in parts], axis=2), whole)
    for before, after in pairwise(parts):
        assert after.log_mel[0, 0, after.lead_frames] == before.log_mel[0, 0, -1], "the overlap is spoken by both"


def test_no_pieces_are_no_parts() -> None:
    assert list(cut_parts([])) == []


def test_a_part_ends_where_it_is_quietest() -> None:
    whole = numbered(400)
    whole[:, 1:] = -1.0
    whole[:, 1:, 170] = -5.0
    first = next(cut_parts([whole], 200))
    assert first.log_mel[0, 0, -1] == 171, "the quiet frame is its last before the overlap"


@given(sizes=st.lists(st.integers(0, 300), max_size=8), channels=st.integers(1, 2))
def test_parts_are_joined_in_their_places(sizes: list[int], channels: int) -> None:
    """What both parts say is faded over at equal power; all else is what the whole would have been."""
    frames = 700
    whole = numbered(frames, channels)
    whole[1:, 0] += 1000
    sound = spoken([whole[:, :, piece] for piece in chunked(frames, sizes)], Repeater(), 100)
    wanted = np.repeat(whole[:, 0], HOP, axis=1)
    assert sound.shape == wanted.shape
    faded = ~np.isclose(sound, wanted).all(axis=0)
    begun = np.flatnonzero(np.diff(faded.astype(int)) == 1)
    assert len(begun) == len(list(cut_parts([whole], 100))) - 1
    assert faded.sum() <= HOP * len(begun)
    assert (sound <= wanted * np.sqrt(2) + 1).all() and (sound >= wanted - 1).all()


def test_one_frame_is_spoken() -> None:
    assert spoken([numbered(1)], Repeater()).shape == (1, HOP)


@pytest.mark.parametrize("name", ["embedded", "embedded-low"])
def test_a_part_is_spoken_as_the_vocoder_speaks_it_whole(name: str) -> None:
    vocoder = load_vocoder(device="cpu", name=name)
    frames = log_mel(demo_clip())[:, :600]
    np.testing.assert_allclose(speak(frames, vocoder), vocoder.synthesize(frames), atol=1e-4)
    stream = open_stream(vocoder)
    streamed = np.concatenate([stream.push(frames), stream.flush()])
    np.testing.assert_allclose(speak(frames, vocoder), streamed, atol=1e-4)


def test_a_hifigan_with_state_speaks_a_part_as_it_speaks_it_whole(tmp_path: Path) -> None:
    """With the lookahead of a live stream, every call would end with frames that have too little future."""
    torch = pytest.importorskip("torch")
    from audio_avif_onnx.export.hifigan.checkpoints import Checkpoint
    from audio_avif_onnx.export.hifigan.export import export_checkpoint
    from audio_avif_onnx.export.hifigan.network import Generator, GeneratorConfig

    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(initial_channels=16)).eval().requires_grad_(False)
    for weight in (parameter for parameter in generator.parameters() if parameter.dim() > 1):
        torch.nn.init.kaiming_normal_(weight).mul_(0.6)  # to be heard: untrained weights are nearly silent
    generator.mean.fill_(-2.0)
    frames = log_mel(demo_clip())[:, :530]
    generator.conv_post.weight.mul_(0.1 / generator(torch.from_numpy(frames)[None]).std())
    export_checkpoint(Checkpoint("small", generator, MelConfig()), tmp_path / "small.onnx")
    vocoder = load_vocoder("cpu", str(tmp_path / "small.onnx"))
    whole = vocoder.synthesize(frames)
    assert whole.std() > 0.01
    np.testing.assert_allclose(speak(frames, vocoder), whole, atol=1e-4)
    stream = open_stream(vocoder)
    live = np.concatenate([stream.push(frames[:, :256]), stream.push(frames[:, 256:]), stream.flush()])
    assert np.abs(live - whole).max() > 1e-3, "the comparison would prove nothing"


def test_no_seam_is_heard_between_three_parts_of_speech() -> None:
    clip = demo_clip()
    whole = log_mel(np.resize(clip, 35 * 16_000))
    vocoder = load_vocoder(device="cpu", name="embedded")
    part_frames = PART_FRAMES // 4
    parts = list(cut_parts([whole[None]], part_frames))
    assert len(parts) == 3
    joined = spoken([whole[None]], vocoder, part_frames)[0]
    at_once = speak(whole, vocoder)
    assert joined.size == at_once.size == whole.shape[1] * HOP

    ends = np.cumsum([new_frames(part).shape[2] for part in parts[:-1]]) * HOP
    seams = np.concatenate([np.arange(end - HOP, end + 2 * HOP) for end in ends])
    elsewhere = np.setdiff1d(np.arange(joined.size - 1), seams)
    jumps = np.abs(np.diff(joined))
    assert jumps[seams].max() <= np.quantile(jumps[elsewhere], 0.99)
    for end in ends:
        # In a quiet place a click would stand out of what the whole recording has there, and a hole fall below it.
        for begin in range(end - HOP, end + 2 * HOP, HOP):
            levels = [np.sqrt(np.mean(sound[begin : begin + HOP] ** 2)) for sound in (joined, at_once)]
            assert levels[0] < 2 * levels[1] + 1e-3 and levels[0] > levels[1] / 2 - 1e-3
    # Away from the seams it is the same sound, but for the phases that the networks of two pasts choose.
    heard, wanted = log_mel(joined), log_mel(at_once)
    assert np.corrcoef(np.maximum(heard, -4).ravel(), np.maximum(wanted, -4).ravel())[0, 1] > 0.99
