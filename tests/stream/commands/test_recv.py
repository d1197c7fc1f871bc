"""What ``audio-avif-recv`` makes of its options, before any stream comes."""

from __future__ import annotations

import argparse

import pytest

from audio_avif.vocoders.registry import load_vocoder
from audio_avif.vocoders.streaming import open_stream
from audio_avif_stream.commands import options, recv


def parsed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[str, float]:
    """The vocoder and the buffer in ms that would be used."""
    seen: list[argparse.Namespace] = []
    monkeypatch.setattr(recv, "_run", seen.append)
    assert recv.main(arguments) == 0
    (options,) = seen
    return options.vocoder, options.buffer_ms


@pytest.mark.parametrize(
    ("arguments", "vocoder", "buffer_ms"),
    [
        ([], "default", 0.0),
        (["--latency", "low"], "embedded-low", 0.0),
        (["--latency", "safe"], "embedded-high", 120.0),
        (["--latency", "low", "--vocoder", "griffin-lim"], "griffin-lim", 0.0),
        (["--latency", "low", "--buffer-ms", "35"], "embedded-low", 35.0),
    ],
)
def test_one_word_chooses_vocoder_and_buffer_and_each_may_be_given(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], vocoder: str, buffer_ms: float
) -> None:
    assert parsed(monkeypatch, *arguments) == (vocoder, buffer_ms)


@pytest.mark.parametrize(
    ("arguments", "token"),
    [([], "from-outside"), (["--token", "given"], "given"), (["--no-token"], None)],
)
def test_what_is_typed_comes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], token: str | None
) -> None:
    monkeypatch.setenv("AUDIO_AVIF_TOKEN", "from-outside")
    seen: list[argparse.Namespace] = []
    monkeypatch.setattr(recv, "_run", seen.append)
    assert recv.main(arguments) == 0
    assert seen[0].token == token


def test_a_recording_is_made_or_played(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        recv.main(["--record", "a.rec", "--replay", "b.rec"])
    assert "--record cannot be combined with --replay" in capsys.readouterr().err


def test_low_latency_is_the_fastest_vocoder_and_the_least_buffer() -> None:
    delays = {
        choice: open_stream(load_vocoder(device="cpu", name=name)).latency_samples / 16 + buffer_ms
        for choice, (name, buffer_ms) in options.LATENCIES.items()
    }
    assert delays["low"] == 16 < delays["balanced"] == 48 < delays["safe"] == 144 + 120
