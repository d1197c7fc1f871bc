"""The systems that the quality bench compares: their interface, and this project's codec behind it.

A system is small, equal by value and can be pickled for worker processes; each process loads models once, when it first
uses them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

import audio_avif
from audio_avif import __version__
from audio_avif.codec.decoder import Decoder
from audio_avif.codec.encoder import Encoder
from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.errors import ModelError
from audio_avif.link.hello import Hello
from audio_avif.link.messages import wire_bytes
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import AOM_OPTIONS
from audio_avif.types import FloatArray
from audio_avif.vocoders.mel_consistency import ConsistentVocoder
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.registry import MODEL_SUFFIX, load_vocoder, model_path
from audio_avif.vocoders.streaming import open_stream


@dataclass(frozen=True)
class Coded:
    """The output of a system for one clip.

    ``samples`` are aligned with the clip and have its length. ``payload_bits`` counts the contents of its packets,
    ``wire_bytes`` the packets sent as one message each; both are 0 where nothing was sent.
    """

    samples: FloatArray
    payload_bits: int = 0
    wire_bytes: int = 0


class System(Protocol):
    """A codec, or a vocoder alone, at one setting."""

    @property
    def name(self) -> str:
        """The name of its curve, which all settings of one system share."""
        ...

    @property
    def setting(self) -> str:
        """The name of this point of the curve."""
        ...

    @property
    def made_by(self) -> str:
        """Comma-separated versions and digests that affect the result; a change leads to a new score."""
        ...

    @property
    def vocoder_ms(self) -> float | None:
        """The vocoder's share of the delay; None for a codec without one."""
        ...

    @property
    def codec_ms(self) -> float:
        """The delay of the whole codec that no faster machine or network shortens."""
        ...

    def code(self, sound: FloatArray) -> Coded:
        """Code ``[samples]`` at 16 kHz and return the decoded sound. Raises AudioAvifError where that fails."""
        ...


@dataclass(frozen=True)
class Voice:
    """A vocoder: its name in tables, and its source for ``load_vocoder``."""

    name: str
    source: str
    digest: str

    @classmethod
    def of(cls, source: str) -> Voice:
        """Load a vocoder. Raises ModelError where there is none or its mel is not the codec's."""
        vocoder = _vocoder(source)
        source = vocoder.name if source == "default" else source
        if vocoder.mel != MelConfig():
            raise ModelError(f"vocoder {source} expects {vocoder.mel}, but the bench runs at {MelConfig()}")
        if isinstance(vocoder, ConsistentVocoder):
            return cls(vocoder.name, source, _file_digest(model_path(vocoder.base.name)))
        path = Path(source) if source.endswith(MODEL_SUFFIX) else model_path(source)
        return cls(vocoder.name if path is None else path.stem, source, _file_digest(path))

    @property
    def made_by(self) -> str:
        """The version and sources of the package, and the model file's digest where there is one."""
        model = f", {self.name}{MODEL_SUFFIX} {self.digest}" if self.digest else ""
        return f"audio-avif {__version__} (sources {_sources_digest()}){model}"

    @property
    def latency_samples(self) -> int:
        """The delay of its sound behind the centre of a frame."""
        return open_stream(_vocoder(self.source)).latency_samples


def _file_digest(path: Path | None) -> str:
    return "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()[:8]


@lru_cache(maxsize=1)
def _sources_digest() -> str:
    """The digest of the codec's modules: between two versions they change, and an earlier score with them."""
    folder = Path(audio_avif.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:8]


@lru_cache(maxsize=16)
def _vocoder(source: str) -> Vocoder:
    return load_vocoder(device="cpu", name=source)


def _ms(samples: int) -> float:
    return 1e3 * samples / MelConfig().rate_hz


@dataclass(frozen=True)
class CleanMel:
    """A vocoder fed with the original mel, without pictures."""

    voice: Voice

    @property
    def name(self) -> str:
        """The name of its only point's curve."""
        return f"{self.voice.name}, no AVIF"

    @property
    def setting(self) -> str:
        """The only setting."""
        return "clean mel"

    @property
    def made_by(self) -> str:
        """The versions of the vocoder."""
        return self.voice.made_by

    @property
    def vocoder_ms(self) -> float:
        """The vocoder's delay."""
        return _ms(self.voice.latency_samples)

    @property
    def codec_ms(self) -> float:
        """The vocoder's delay plus the analysis window's."""
        return _ms(self.voice.latency_samples + MelConfig().lookahead_samples)

    def code(self, sound: FloatArray) -> Coded:
        """Vocode the clip's mel as a stream."""
        stream = open_stream(_vocoder(self.voice.source))
        heard = np.concatenate([stream.push(log_mel(sound)), stream.flush()])
        return Coded(heard[: sound.size])


@dataclass(frozen=True)
class Tiles:
    """This codec: encoder, packets and decoder as in a stream, without the network."""

    voice: Voice
    tile_frames: int
    quality: int

    @property
    def name(self) -> str:
        """The vocoder and the tile width: each pair has a curve."""
        return f"{self.voice.name}, {self.tile_frames}-frame tiles"

    @property
    def setting(self) -> str:
        """The AVIF quality."""
        return f"quality {self.quality}"

    @property
    def made_by(self) -> str:
        """The versions of the vocoder and of the picture encoder."""
        tile, speed = TileConfig(), EncoderConfig().speed
        options = " ".join(f"{name}={value}" for name, value in AOM_OPTIONS.items())
        pictures = f"pillow-avif-plugin {version('pillow-avif-plugin')}, AVIF speed {speed} {options}"
        return f"{self.voice.made_by}, {pictures}, tile range {tile.log10_min:g}..{tile.log10_max:g}"

    @property
    def vocoder_ms(self) -> float:
        """The vocoder's delay."""
        return _ms(self.voice.latency_samples)

    @property
    def codec_ms(self) -> float:
        """The vocoder's delay plus the tile's and the analysis window's."""
        return _ms(self.voice.latency_samples + self._encoder().latency_samples)

    def _encoder(self) -> Encoder:
        return Encoder(tile=TileConfig(self.tile_frames), encoder=EncoderConfig(self.quality))

    def code(self, sound: FloatArray) -> Coded:
        """Code the clip; the last tile counts as a whole one."""
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
            8 * sum(packet.payload_bytes for packet in packets),
            sum(wire_bytes(len(packet.to_bytes())) for packet in packets),
        )


def _spoken(decoder: Decoder) -> list[FloatArray]:
    heard = []
    while (frames := decoder.next_frames(0.0)) is not None:
        heard.append(decoder.speak(frames).samples)
    return heard
