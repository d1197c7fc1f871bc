"""Codecs that are C libraries come out aligned, at the rate asked for, and are named where they are missing."""

from __future__ import annotations

import ctypes.util

import pytest

from audio_avif.config import RATE_HZ
from audio_avif.errors import AudioAvifError
from audio_avif.link.messages import wire_bytes
from audio_avif.metrics import SCORES
from audio_avif.types import FloatArray
from audio_avif_tools.quality import library_peers
from audio_avif_tools.quality.libopus import Enhancement
from audio_avif_tools.quality.library_peers import AmrWb, OpusWideband
from audio_avif_tools.shared.signals import demo_clip
from support.alignment import best_lag

needs_opus = pytest.mark.skipif(OpusWideband.missing() is not None, reason=str(OpusWideband.missing()))
needs_amr_wb = pytest.mark.skipif(AmrWb.missing() is not None, reason=str(AmrWb.missing()))


def sound() -> FloatArray:
    return demo_clip()[: 3 * RATE_HZ + 77]


@needs_opus
@pytest.mark.parametrize(("packet_ms", "delay_ms"), [(20, 26.5), (60, 66.5)])
@pytest.mark.parametrize("enhancement", Enhancement)
def test_opus_is_aligned_and_counted_by_packets(enhancement: Enhancement, packet_ms: int, delay_ms: float) -> None:
    clip = sound()
    opus = OpusWideband(9, packet_ms, enhancement)
    coded = opus.code(clip)
    assert coded.samples.shape == clip.shape
    assert abs(best_lag(clip, coded.samples)) <= 1
    assert coded.payload_bits * RATE_HZ / clip.size == pytest.approx(9e3, rel=0.15)
    packets = -(-(clip.size + 104) // (16 * packet_ms))
    assert coded.wire_bytes == coded.payload_bits // 8 + packets * wire_bytes(0)
    assert (opus.codec_ms, opus.vocoder_ms) == (delay_ms, None)
    assert opus.made_by.startswith("libopus 1.") and opus.setting == "9 kbps"


def test_opus_has_a_curve_for_each_decoder_and_packet_length() -> None:
    names = {OpusWideband(9, packet_ms, each).name for each in Enhancement for packet_ms in (20, 60)}
    assert names == {f"Opus {each}, {ms} ms" for each in ("wideband", "LACE", "NoLACE") for ms in (20, 60)}


@needs_amr_wb
@pytest.mark.parametrize(("mode", "setting", "frame_bytes"), [(0, "6.6 kbps", 18), (1, "8.85 kbps", 24)])
def test_amr_wb_is_aligned_and_has_its_nominal_rate(mode: int, setting: str, frame_bytes: int) -> None:
    clip, codec = sound(), AmrWb(mode)
    coded = codec.code(clip)
    assert coded.samples.shape == clip.shape
    assert abs(best_lag(clip, coded.samples)) <= 2
    assert codec.setting == setting
    assert coded.payload_bits * RATE_HZ / clip.size == pytest.approx(1e3 * float(setting.split()[0]), rel=0.02)
    assert coded.wire_bytes == -(-(clip.size + 95) // 320) * wire_bytes(frame_bytes)
    assert codec.codec_ms == pytest.approx(20 + 5.9, abs=0.1)
    if (reason := SCORES["stoi"].missing()) is not None:
        pytest.skip(reason)
    assert SCORES["stoi"](clip, coded.samples) > 0.9


def test_what_is_missing_is_named_in_a_sentence_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    assert AmrWb.missing() == (
        "AMR-WB needs vo-amrwbenc and opencore-amrwb; install with: apt-get install libvo-amrwbenc0 libopencore-amrwb0"
    )
    monkeypatch.setattr(library_peers, "enhancing_library", lambda: None)
    monkeypatch.setattr(library_peers, "installed_libraries", lambda: ())
    assert OpusWideband.missing() == (
        "Opus with LACE and NoLACE needs libopus 1.5 or later built with these networks, such as Debian 13's "
        "(here: none); tools/install-system-packages.sh quality, in a checkout, fetches it"
    )
    with pytest.raises(AudioAvifError, match="needs libopus"):
        OpusWideband(9, 20, Enhancement.LACE).code(sound())
