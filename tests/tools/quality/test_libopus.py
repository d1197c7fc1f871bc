"""libopus codes wideband speech as asked, enhances it where it can, and fails with an error of this project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audio_avif.config import RATE_HZ
from audio_avif.errors import AudioAvifError
from audio_avif.metrics import SCORES
from audio_avif.types import FloatArray
from audio_avif_tools.quality import libopus
from audio_avif_tools.quality.libopus import Enhancement, OpusLibrary, enhancing_library, installed_libraries
from audio_avif_tools.quality.library_peers import OpusWideband
from audio_avif_tools.shared.signals import demo_clip
from support.alignment import best_lag

needs_opus = pytest.mark.skipif(enhancing_library() is None, reason=str(OpusWideband.missing()))
# RFC 6716, 3.1: the first five bits of a packet for SILK alone at wideband.
WIDEBAND_SPEECH = {20: 9, 60: 11}


def library() -> OpusLibrary:
    found = enhancing_library()
    assert found is not None
    return found


def sound() -> FloatArray:
    return demo_clip()[: 3 * RATE_HZ]


@pytest.fixture
def searched_anew() -> Iterator[None]:
    """Forget the libraries that were found, before and after a test."""
    for found in (installed_libraries, enhancing_library):
        found.cache_clear()
    yield
    for found in (installed_libraries, enhancing_library):
        found.cache_clear()


@needs_opus
@pytest.mark.parametrize("packet_ms", [20, 60])
@pytest.mark.parametrize("kbps", [6, 9, 12])
def test_packets_hold_wideband_speech_at_the_rate_asked_for(kbps: int, packet_ms: int) -> None:
    clip = sound()
    packets = library().encode(clip, kbps, packet_ms)
    assert len(packets) == 3000 // packet_ms
    assert {packet[0] >> 3 for packet in packets} == {WIDEBAND_SPEECH[packet_ms]}
    assert 8 * sum(map(len, packets)) / 3 == pytest.approx(1e3 * kbps, rel=0.2)


@needs_opus
@pytest.mark.parametrize("packet_ms", [20, 60])
@pytest.mark.parametrize("enhancement", Enhancement)
def test_the_sound_is_late_by_the_lookahead(enhancement: Enhancement, packet_ms: int) -> None:
    clip = sound()
    heard = library().decode(library().encode(clip, 12, packet_ms), packet_ms, enhancement)
    assert heard.shape == clip.shape
    lag = library().lookahead_samples
    assert lag == 104
    assert abs(best_lag(clip[: clip.size - lag], heard[lag:])) <= 1


@needs_opus
def test_each_network_changes_the_sound_and_improves_it() -> None:
    clip = sound()
    packets = library().encode(clip, 6, 20)
    heard = [library().decode(packets, 20, enhancement) for enhancement in Enhancement]
    assert len({samples.tobytes() for samples in heard}) == 3
    if (reason := SCORES["pesq_wb"].missing()) is not None:
        pytest.skip(reason)
    lag = library().lookahead_samples
    plain, lace, nolace = (SCORES["pesq_wb"](clip[:-lag], samples[lag:]) for samples in heard)
    assert min(lace, nolace) > plain


def test_a_library_before_1_5_is_not_taken_for_an_enhancing_one() -> None:
    old = [each for each in installed_libraries() if each.version.startswith(("libopus 1.3", "libopus 1.4"))]
    if not old:
        pytest.skip("no libopus before 1.5 is installed")
    assert not old[0].can_enhance()
    with pytest.raises(AudioAvifError, match=r"libopus 1\.\d.* failed: request not implemented"):
        old[0].decode(old[0].encode(sound(), 9, 20), 20, Enhancement.LACE)


@needs_opus
def test_what_cannot_be_coded_is_an_error() -> None:
    with pytest.raises(ValueError, match="48001 samples are no whole number of packets of 320"):
        library().encode(np.zeros(48_001, np.float32), 9, 20)
    with pytest.raises(ValueError, match="not 30"):
        library().encode(sound(), 9, 30)
    with pytest.raises(AudioAvifError, match="failed: corrupted stream"):
        library().decode([b"\xff\xff"], 20, Enhancement.LACE)
    packets = library().encode(sound(), 9, 20)
    with pytest.raises(AudioAvifError, match="to 320 samples, not 960"):
        library().decode(packets, 60, Enhancement.NONE)


class Counting:
    """The calls of a library, counted by name."""

    def __init__(self, calls: Any) -> None:
        self.calls = calls
        self.counts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.counts[name] += 1
        return getattr(self.calls, name)


@needs_opus
def test_every_state_is_freed_after_a_failure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(library()._calls)
    monkeypatch.setattr(library(), "_calls", counting)
    library().decode(library().encode(sound(), 9, 20), 20, Enhancement.LACE)
    with pytest.raises(AudioAvifError):
        library().decode([b"\xff\xff"], 20, Enhancement.NONE)
    for kind, opened in (("encoder", 1), ("decoder", 2)):
        created, destroyed = (counting.counts[f"opus_{kind}_{what}"] for what in ("create", "destroy"))
        assert created == destroyed == opened


@pytest.mark.usefixtures("searched_anew")
def test_without_a_library_or_with_a_damaged_one_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(libopus.ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(libopus, "fetched_library", lambda: tmp_path / "libopus.so.0")
    assert installed_libraries() == () and enhancing_library() is None
    (tmp_path / "libopus.so.0").write_bytes(b"no library")
    installed_libraries.cache_clear()
    enhancing_library.cache_clear()
    assert installed_libraries() == () and enhancing_library() is None
    assert "(here: none)" in str(OpusWideband.missing())


@pytest.mark.usefixtures("searched_anew")
def test_the_systems_library_is_used_before_a_fetched_one(monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = {"system": OpusLibrary.__new__(OpusLibrary), "fetched": OpusLibrary.__new__(OpusLibrary)}
    monkeypatch.setattr(OpusLibrary, "can_enhance", lambda self: True)
    monkeypatch.setattr(libopus, "installed_libraries", lambda: tuple(libraries.values()))
    assert enhancing_library() is libraries["system"]
    monkeypatch.setattr(OpusLibrary, "can_enhance", lambda self: self is libraries["fetched"])
    enhancing_library.cache_clear()
    assert enhancing_library() is libraries["fetched"]
