"""Callers' samples and rates of any type mean the same sound."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import soundfile

from audio_avif import Encoder, decode, encode, wav_to_logmel
from audio_avif.config import MelConfig, whole_rate_hz
from audio_avif.recording.picture_encoder import FileConfig
from audio_avif.recording.picture_reader import PictureReader
from audio_avif.signal.samples import as_samples, float_scale
from support.speech import speech_like

FAST = FileConfig(speed=10)
VOICE = np.rint(speech_like(1.0) * 2**15).astype(np.int16)
FLOATS = VOICE.astype(np.float32) / 2**15
SAME_SOUND = {
    "int16": VOICE,
    "int16, big-endian": VOICE.astype(">i2"),
    "int32": VOICE.astype(np.int32) << 16,
    "uint16": (VOICE.astype(np.int32) + 2**15).astype(np.uint16),
    "float64": FLOATS.astype(np.float64),
    "float64, big-endian": FLOATS.astype(">f8"),
    "a list": FLOATS.tolist(),
}


@pytest.mark.parametrize("kind", SAME_SOUND)
def test_every_public_entry_takes_samples_of_any_type(kind: str) -> None:
    audio = SAME_SOUND[kind]
    np.testing.assert_array_equal(as_samples(audio), FLOATS)
    assert encode(audio, 16_000, FAST) == encode(FLOATS, 16_000, FAST)
    encoder, reference = Encoder(), Encoder()
    assert encoder.push(audio) + encoder.flush() == reference.push(FLOATS) + reference.flush()
    assert encoder.bye() == reference.bye()
    if isinstance(audio, np.ndarray):
        np.testing.assert_array_equal(wav_to_logmel(audio), wav_to_logmel(FLOATS))


def test_integers_are_scaled_as_soundfile_scales_them() -> None:
    wav = io.BytesIO()
    soundfile.write(wav, VOICE, 16_000, format="WAV", subtype="PCM_16")
    wav.seek(0)
    expected, _ = soundfile.read(wav, dtype="float32")
    np.testing.assert_array_equal(as_samples(VOICE), expected)


@pytest.mark.parametrize(
    ("integers", "floats"),
    [
        (np.array([-128, 0, 127], np.int8), [-1, 0, 127 / 128]),
        (np.array([0, 128, 255], np.uint8), [-1, 0, 127 / 128]),
        (np.array([-(2**15), 1], np.int16), [-1, 2**-15]),
        (np.array([-(2**31), 2**30], np.int32), [-1, 0.5]),
        (np.array([0, 2**31], np.uint32), [-1, 0]),
        (np.array([0.5, -1.0], np.float16), [0.5, -1]),
        (np.array([np.nan, np.inf, 1e300, 0.25]), [0, 0, 0, 0.25]),
    ],
)
def test_full_scale_is_the_range_of_the_type(integers: Any, floats: list[float]) -> None:
    assert as_samples(integers).dtype == np.float32
    assert as_samples(integers).tolist() == floats


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros(99, bool),
        np.zeros(99, complex),
        np.zeros(99, object),
        np.array(["sound"]),
        np.zeros(99, np.int64),
        np.zeros(99, "datetime64[s]"),
        "talk.wav",
        None,
        b"RIFF",
    ],
)
def test_what_is_no_sound_is_a_type_error(audio: Any) -> None:
    with pytest.raises(TypeError, match="samples"):
        encode(audio, 16_000)
    with pytest.raises(TypeError, match="samples"):
        Encoder().push(audio)


@pytest.mark.parametrize("rate_hz", [22_050.0, np.float64(22_050), np.int32(22_050), np.float32(22_050)])
def test_rates_may_be_whole_numbers_of_any_type(rate_hz: Any) -> None:
    picture = encode(FLOATS, rate_hz, FAST)
    assert picture == encode(FLOATS, 22_050, FAST)
    assert PictureReader(io.BytesIO(picture)).info.source_rate_hz == 22_050
    assert decode(picture)[0].size == pytest.approx(FLOATS.size * 16_000 / 22_050, abs=1)
    assert type(MelConfig(rate_hz=rate_hz, fmax_hz=7600).rate_hz) is int


@pytest.mark.parametrize(
    ("rate_hz", "error"),
    [
        (44_100.5, ValueError),
        (Fraction(1, 2), ValueError),
        (0, ValueError),
        (-16_000, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (10**9, ValueError),
        (True, TypeError),
        ("16000", TypeError),
        (None, TypeError),
        (16_000j, TypeError),
    ],
)
def test_other_rates_are_refused(rate_hz: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="rate_hz must be"):
        whole_rate_hz(rate_hz)
    with pytest.raises(error, match="rate_hz must be"):
        encode(FLOATS, rate_hz)


@pytest.mark.parametrize("scale", [2**15, 2**23, 2**31])
def test_floats_in_the_range_of_integers_are_recognised(scale: int, caplog: pytest.LogCaptureFixture) -> None:
    unscaled = FLOATS * np.float32(scale)
    assert encode(unscaled, 16_000, FAST) == encode(FLOATS, 16_000, FAST)
    assert "divided by" in caplog.text


@pytest.mark.parametrize(
    "samples",
    [
        FLOATS,
        FLOATS * 8,
        np.zeros(0, np.float32),
        np.zeros(99, np.float32),
        np.full(99, np.nan, np.float32),
        np.where(np.arange(FLOATS.size) % 99 == 0, np.float32(3e38), FLOATS),
        np.where(np.arange(FLOATS.size) == 99, np.float32(32_000), FLOATS),
    ],
    ids=["usual", "18 dB too loud", "empty", "silence", "nan", "damaged", "a click"],
)
def test_loud_and_damaged_floats_are_left_as_they_are(samples: Any) -> None:
    assert float_scale(samples) == 1
