"""The acoustic measurement finds delays that are known."""

from __future__ import annotations

import numpy as np
import pytest

from audio_avif.codec.decoder import Decoder
from audio_avif.codec.encoder import Encoder
from audio_avif.errors import AudioAvifError
from audio_avif.link.hello import Hello
from audio_avif.vocoders.griffin_lim import GriffinLim
from audio_avif.vocoders.streaming import open_stream
from audio_avif_tools.latency.acoustic import Recording, find_delays_ms
from audio_avif_tools.shared.delays import percentiles
from audio_avif_tools.shared.signals import RATE_HZ, chirp_train, clicks_and_speech

SECONDS = 6.0


def through_codec(sound: np.ndarray) -> np.ndarray:
    encoder = Encoder()
    decoder = Decoder(Hello(encoder.mel, encoder.tile, encoder.template, "test", live=False), open_stream(GriffinLim()))
    parts = []
    for packet in [*encoder.push(sound), *encoder.flush()]:
        decoder.push(packet)
        while (frames := decoder.next_frames(0.0)) is not None:
            parts.append(decoder.speak(frames).samples)
    decoder.end(encoder.bye())
    parts.append(decoder.flush().samples)
    return np.concatenate(parts)


def delayed(sound: np.ndarray, seconds: float, noise: float) -> np.ndarray:
    late = np.concatenate([np.zeros(round(seconds * RATE_HZ)), sound, np.zeros(RATE_HZ)])
    return (late + noise * np.random.default_rng(3).standard_normal(late.size)).astype(np.float32)


@pytest.mark.parametrize("delay_s", [0.08, 0.271, 0.9])
@pytest.mark.parametrize("ear_started_s", [-0.3, 0.0, 0.25])
def test_chirps_that_went_through_the_codec_are_found_to_a_few_ms(delay_s: float, ear_started_s: float) -> None:
    train = chirp_train(SECONDS)
    mouth = Recording(delayed(train, 0.4, 0.001), 100.0)
    heard = delayed(through_codec(train), 0.4 + delay_s - ear_started_s, 0.001)
    delays = find_delays_ms(mouth, Recording(heard, 100.0 + ear_started_s), SECONDS, has_one_microphone=False)
    assert np.abs(np.asarray(delays) - delay_s * 1e3).max() < 8


def test_devices_with_other_rates_change_no_delay() -> None:
    """A steady delay stays the same, though one device counts 16 006 samples a second and the other 15 997."""
    seconds, delay_s = 60.0, 0.15
    train = chirp_train(seconds)

    def recorded(sound: np.ndarray, rate_hz: float, noise: int) -> Recording:
        random = np.random.default_rng(noise)
        count = round(sound.size * rate_hz / RATE_HZ)
        samples = np.interp(np.arange(count) * RATE_HZ / rate_hz, np.arange(sound.size), sound).astype(np.float32)
        counts = list(range(160, count, 160))
        return Recording.timed(samples, counts, [100 + n / rate_hz + random.exponential(0.003) for n in counts])

    mouth, ear = (
        recorded(delayed(train, 0.4, 0.001), 16_006, 1),
        recorded(delayed(train, 0.4 + delay_s, 0.001), 15_997, 2),
    )
    assert mouth.rate_hz == pytest.approx(16_006, abs=0.2) and ear.rate_hz == pytest.approx(15_997, abs=0.2)
    delays = find_delays_ms(mouth, ear, seconds, has_one_microphone=False)
    assert np.abs(np.asarray(delays) - delay_s * 1e3).max() < 2


def test_one_microphone_hears_both() -> None:
    train = chirp_train(SECONDS)
    echo = delayed(0.5 * through_codec(train), 0.4 + 0.25, 0.0)
    both = delayed(train, 0.4, 0.001)
    both = both + np.resize(np.concatenate([echo, np.zeros(both.size, np.float32)]), both.size)
    delays = find_delays_ms(Recording(both, 0.0), Recording(both, 0.0), SECONDS, has_one_microphone=True)
    assert abs(np.median(delays) - 250) < 8


def test_silence_at_the_ear_is_said() -> None:
    mouth = Recording(delayed(chirp_train(SECONDS), 0.4, 0.0), 0.0)
    with pytest.raises(AudioAvifError, match="chirps came back; turn the volume up"):
        find_delays_ms(mouth, Recording(np.zeros(8 * RATE_HZ, np.float32), 0.0), SECONDS, has_one_microphone=False)


def test_the_codec_itself_moves_nothing() -> None:
    """Delays are accounted from stream positions, so sound must lie where its position says."""
    sound = clicks_and_speech(6.0)
    heard = through_codec(sound)
    assert heard.size == sound.size
    size = 2 * sound.size
    correlation = np.fft.irfft(np.fft.rfft(np.abs(heard), size) * np.conj(np.fft.rfft(np.abs(sound), size)))
    lag = int(np.argmax(correlation))
    assert abs(lag if lag < sound.size else lag - size) <= 96  # 6 ms: the window of a frame is 64


def test_percentiles_of_nothing_are_refused() -> None:
    assert percentiles([1.0, 2.0, 3.0])["p50_ms"] == 2.0
    with pytest.raises(AudioAvifError, match="no tile was received"):
        percentiles([])
