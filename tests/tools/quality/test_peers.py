"""Other codecs come out aligned, and what they send is counted as they pack it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from audio_avif.config import RATE_HZ
from audio_avif.errors import AudioAvifError, FileError, ModelError
from audio_avif.link.messages import wire_bytes
from audio_avif.metrics import SCORES
from audio_avif.types import FloatArray
from audio_avif_tools.quality.peers import Codec2, Lyra, Opus, ogg_packets
from audio_avif_tools.shared.signals import demo_clip
from support.alignment import best_lag
from support.paths import LYRA

needs_opus = pytest.mark.skipif(Opus.missing() is not None, reason=str(Opus.missing()))
needs_codec2 = pytest.mark.skipif(Codec2.missing() is not None, reason=str(Codec2.missing()))
needs_lyra = pytest.mark.skipif(not LYRA.is_dir(), reason=f"no models of Lyra v2 at {LYRA}; AUDIO_AVIF_LYRA names them")


def sound() -> FloatArray:
    return demo_clip()[: 3 * RATE_HZ + 77]


def page(payload: bytes, lacing: list[int]) -> bytes:
    return b"OggS" + bytes(22) + bytes([len(lacing), *lacing]) + payload


def test_ogg_packets_are_joined_over_segments_and_pages() -> None:
    long, short = bytes(range(256)) * 2, b"end"
    data = page(b"head" + long[:255], [4, 255]) + page(long[255:] + short, [255, 2, 3])
    assert list(ogg_packets(data)) == [b"head", long, short]
    for damaged in (b"RIFF" + bytes(40), data + b"OggS"):
        with pytest.raises(FileError, match="no page begins"):
            list(ogg_packets(damaged))


@needs_opus
def test_opus_is_aligned_and_counted_by_packets() -> None:
    clip = sound()
    low, high = Opus(6).code(clip), Opus(16).code(clip)
    assert low.samples.shape == high.samples.shape == clip.shape
    assert abs(best_lag(clip, high.samples)) <= 1
    seconds = clip.size / RATE_HZ
    assert 4.5e3 < low.payload_bits / seconds < 7e3 < 12e3 < high.payload_bits / seconds < 18e3
    packets = -(-clip.size // 320)
    overhead = low.wire_bytes - low.payload_bits // 8
    assert packets * wire_bytes(0) <= overhead <= (packets + 2) * wire_bytes(0)
    assert "opus" in Opus(6).made_by and Opus(6).setting == "6 kbps"
    assert (Opus(6).codec_ms, Opus(6).vocoder_ms) == (26.5, None)


@needs_codec2
@pytest.mark.parametrize("rate", [3200, 1600, 1300])
def test_codec2_is_aligned_and_has_its_nominal_rate(rate: int) -> None:
    clip = sound()
    coded = Codec2(rate).code(clip)
    assert coded.samples.shape == clip.shape
    assert coded.payload_bits * RATE_HZ / clip.size == pytest.approx(rate, rel=0.03)
    assert Codec2(rate).codec_ms == (40 if rate == 3200 else 60)
    if (reason := SCORES["stoi"].missing()) is not None:
        pytest.skip(reason)
    aligned, early, late = (SCORES["stoi"](clip, np.roll(coded.samples, shift)) for shift in (0, -100, 100))
    assert aligned > 0.75 and aligned > max(early, late)


@pytest.mark.corpus
@needs_lyra
@pytest.mark.parametrize(("quantizers", "kbps"), [(16, 3.2), (30, 6.0), (46, 9.2)])
def test_lyra_is_aligned_and_has_its_nominal_rate(quantizers: int, kbps: float) -> None:
    if (reason := Lyra.missing(LYRA)) is not None:
        pytest.skip(reason)
    clip, lyra = sound(), Lyra(LYRA, quantizers)
    coded = lyra.code(clip)
    assert coded.samples.shape == clip.shape
    assert lyra.setting == f"{kbps:g} kbps"
    assert coded.payload_bits * RATE_HZ / clip.size == pytest.approx(1e3 * kbps, rel=0.01)
    assert abs(best_lag(clip, coded.samples)) <= 2
    np.testing.assert_array_equal(lyra.code(clip).samples, coded.samples)  # from the zero state again


def test_a_folder_that_is_not_lyras_is_refused(tmp_path: Path) -> None:
    assert "--lyra" in str(Lyra.missing(None))
    with pytest.raises(ModelError, match=r"no soundstream_encoder\.tflite"):
        Lyra.missing(tmp_path)
    for name in Lyra.FILES:
        (tmp_path / name).write_bytes(b"no model")
    pytest.importorskip("ai_edge_litert")
    assert Lyra.missing(tmp_path) is None
    with pytest.raises(ModelError, match="not those of Lyra"):
        Lyra(tmp_path, 16).code(sound())


def test_missing_programs_are_named_with_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Opus.missing() == "Opus needs opusenc and opusdec; install with: apt-get install opus-tools"
    assert Codec2.missing() == "Codec2 needs c2enc and c2dec; install with: apt-get install codec2"
    with pytest.raises(AudioAvifError, match="c2enc cannot be run"):
        Codec2(3200).code(sound())


def test_a_program_that_fails_is_told_with_its_last_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "c2enc"
    program.write_text(f"#!{shutil.which('sh')}\necho 'first' >&2\necho 'out of bits' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(AudioAvifError, match="c2enc failed: out of bits"):
        Codec2(3200).code(sound())
