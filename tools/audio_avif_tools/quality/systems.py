"""What the quality bench puts side by side: the form all systems take, and this project's own chain in that form.

A system is small, equal by value and can be pickled, so that worker processes take it; what is heavy is loaded where it
is used, once a process.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from audio_avif import __version__
from audio_avif.codec.decoder import Decoder
from audio_avif.codec.encoder import Encoder
from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.errors import ModelError
from audio_avif.link.messages import Hello, wire_bytes
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import AOM_OPTIONS
from audio_avif.types import FloatArray
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.registry import MODEL_SUFFIX, load_vocoder, model_path
from audio_avif.vocoders.streaming import open_stream


@dataclass(frozen=True)
class Coded:
    """What a system made of a clip.

    ``samples`` are aligned with the clip and as long. ``payload_bits`` is what its packets hold and ``wire_bytes`` what
    they cost when each is a message of its own; both are 0 where nothing was sent.
    """

    samples: FloatArray
    payload_bits: int = 0
    wire_bytes: int = 0


class System(Protocol):
    """A codec, or a vocoder alone, at one setting."""

    @property
    def name(self) -> str:
        """What its curve is called; all settings of one system share it."""
        ...

    @property
    def setting(self) -> str:
        """Which point of the curve this is."""
        ...

    @property
    def made_by(self) -> str:
        """Versions and digests, with commas between, that decide the result: where they differ, it is scored again."""
        ...

    @property
    def delays_ms(self) -> tuple[float, float] | None:
        """The vocoder's delay and the whole codec's before devices and network; None where it is not ours to state."""
        ...

    def code(self, sound: FloatArray) -> Coded:
        """Send ``[samples]`` at 16 kHz and return what is heard. Raises AudioAvifError where that fails."""
        ...


@dataclass(frozen=True)
class Voice:
    """A vocoder by the name it goes by in tables, and by what ``load_vocoder`` finds it with."""

    name: str
    source: str
    digest: str

    @classmethod
    def of(cls, source: str) -> Voice:
        """Raises ModelError where there is no such vocoder, or where its mel is not the codec's."""
        vocoder = _vocoder(source)
        source = vocoder.name if source == "default" else source
        if vocoder.mel != MelConfig():
            raise ModelError(f"vocoder {source} is made for {vocoder.mel}, and the bench runs at {MelConfig()}")
        path = Path(source) if source.endswith(MODEL_SUFFIX) else model_path(source)
        digest = "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        return cls(vocoder.name if path is None else path.stem, source, digest)

    @property
    def made_by(self) -> str:
        """The package's version, and the model file's digest where there is one."""
        return f"audio-avif {__version__}" + (f", {self.name}{MODEL_SUFFIX} {self.digest}" if self.digest else "")

    @property
    def latency_samples(self) -> int:
        """How far its sound lags behind a frame's centre."""
        return open_stream(_vocoder(self.source)).latency_samples


@lru_cache(maxsize=16)
def _vocoder(source: str) -> Vocoder:
    return load_vocoder(source, "cpu")


def _ms(samples: int) -> float:
    return 1e3 * samples / MelConfig().rate_hz


@dataclass(frozen=True)
class CleanMel:
    """A vocoder fed with the mel as it is: no pictures, nothing sent."""

    voice: Voice

    @property
    def name(self) -> str:
        """One point: a curve of its own."""
        return f"{self.voice.name}, no AVIF"

    @property
    def setting(self) -> str:
        """There is only this one."""
        return "clean mel"

    @property
    def made_by(self) -> str:
        """As of the voice."""
        return self.voice.made_by

    @property
    def delays_ms(self) -> tuple[float, float]:
        """The vocoder's delay, and with the analysis window's."""
        lag = self.voice.latency_samples
        return _ms(lag), _ms(lag + MelConfig().lookahead_samples)

    def code(self, sound: FloatArray) -> Coded:
        """Speak the clip's mel as a stream."""
        stream = open_stream(_vocoder(self.voice.source))
        heard = np.concatenate([stream.push(log_mel(sound)), stream.flush()])
        return Coded(heard[: sound.size])


@dataclass(frozen=True)
class Tiles:
    """This codec: encoder, packets and decoder as a stream runs them, without the network between."""

    voice: Voice
    tile_frames: int
    quality: int

    @property
    def name(self) -> str:
        """A curve for each vocoder and tile width."""
        return f"{self.voice.name}, {self.tile_frames}-frame tiles"

    @property
    def setting(self) -> str:
        """The AVIF quality."""
        return f"quality {self.quality}"

    @property
    def made_by(self) -> str:
        """The voice, and what decides the pictures."""
        tile, speed = TileConfig(), EncoderConfig().speed
        options = " ".join(f"{name}={value}" for name, value in AOM_OPTIONS.items())
        pictures = f"pillow-avif-plugin {version('pillow-avif-plugin')}, AVIF speed {speed} {options}"
        return f"{self.voice.made_by}, {pictures}, tile range {tile.log10_min:g}..{tile.log10_max:g}"

    @property
    def delays_ms(self) -> tuple[float, float]:
        """The vocoder's delay, and with the tile's and the analysis window's."""
        lag = self.voice.latency_samples
        return _ms(lag), _ms(lag + self._encoder().latency_samples)

    def _encoder(self) -> Encoder:
        return Encoder(tile=TileConfig(self.tile_frames), encoder=EncoderConfig(self.quality))

    def code(self, sound: FloatArray) -> Coded:
        """Send the clip; the last tile counts whole."""
        encoder = self._encoder()
        packets = [*encoder.push(sound), *encoder.flush()]
        hello = Hello(encoder.mel, encoder.tile, encoder.template, "bench", live=False)
        decoder = Decoder(hello, open_stream(_vocoder(self.voice.source)))
        heard: list[FloatArray] = []
        for packet in packets:
            decoder.push(packet)
            heard += _spoken(decoder)
        decoder.end(encoder.bye())
        heard += [*_spoken(decoder), decoder.flush().samples]
        return Coded(
            np.concatenate(heard),
            8 * sum(len(packet.payload) for packet in packets),
            sum(wire_bytes(len(packet.to_bytes())) for packet in packets),
        )


def _spoken(decoder: Decoder) -> list[FloatArray]:
    heard = []
    while (frames := decoder.next_frames(0.0)) is not None:
        heard.append(decoder.speak(frames).samples)
    return heard
