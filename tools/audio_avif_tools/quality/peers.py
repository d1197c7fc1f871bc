"""Other codecs, run as programs or models: a clip in, the decoded sound and the bits of its packets out.

Each codec runs at its smallest fair setting: mono speech at 16 kHz (Codec2: 8 kHz), packets of 20 ms or the codec's own
length, without containers and headers. Delay that a codec leaves in its output is removed here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from audio_avif.config import RATE_HZ
from audio_avif.edge.sound_files import WavWriter, from_s16le, read_audio, to_s16le
from audio_avif.errors import AudioAvifError, FileError, ModelError
from audio_avif.link.messages import wire_bytes
from audio_avif.metrics import INSTALL
from audio_avif.quiet import quiet_c_libraries
from audio_avif.types import FloatArray
from audio_avif_tools.quality.framing import fit, padded
from audio_avif_tools.quality.systems import Coded

_OGG_HEADER_BYTES = 27
_OPUS_HEADER_PACKETS = 2  # OpusHead and OpusTags


def _missing_program(codec: str, programs: tuple[str, ...], package: str) -> str | None:
    absent = [program for program in programs if shutil.which(program) is None]
    return f"{codec} needs {' and '.join(absent)}; install with: apt-get install {package}" if absent else None


def _run(command: list[str]) -> str:
    """Run a program; return its output. Raises AudioAvifError with its last message where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise AudioAvifError(f"{command[0]} cannot be run: {error.strerror or error}") from error
    if done.returncode:
        raise AudioAvifError(f"{command[0]} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return done.stdout


def ogg_packets(data: bytes) -> Iterator[bytes]:
    """Return the packets of an Ogg file with one stream. Raises FileError for anything else. Source: RFC 3533."""
    at, packet = 0, b""
    while at < len(data):
        header = data[at : at + _OGG_HEADER_BYTES]
        if len(header) < _OGG_HEADER_BYTES or header[:4] != b"OggS":
            raise FileError(f"the Ogg file is damaged: no page begins at byte {at}")
        at += _OGG_HEADER_BYTES + header[-1]
        for length in data[at - header[-1] : at]:
            packet += data[at : at + length]
            at += length
            if length < 255:
                yield packet
                packet = b""


@dataclass(frozen=True)
class Opus:
    """Opus at a variable rate around ``kbps``, 20 ms per packet, complexity 10."""

    kbps: int

    name = "Opus"
    vocoder_ms = None
    codec_ms = 20 + 6.5  # a packet, and the encoder's lookahead

    @staticmethod
    def missing() -> str | None:
        """Why it cannot run here, in one sentence, or None."""
        return _missing_program("Opus", ("opusenc", "opusdec"), "opus-tools")

    @property
    def setting(self) -> str:
        """The requested rate."""
        return f"{self.kbps} kbps"

    @property
    def made_by(self) -> str:
        """The encoder and its library."""
        return _opus_version()

    def code(self, sound: FloatArray) -> Coded:
        """Encode and decode; opusdec removes the delay that the file states."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with WavWriter(folder / "in.wav") as wav:
                wav.write(sound)
            encode = ["opusenc", "--quiet", "--bitrate", str(self.kbps), "--framesize", "20", "--comp", "10"]
            _run([*encode, str(folder / "in.wav"), str(folder / "a.opus")])
            _run(["opusdec", "--quiet", "--rate", str(RATE_HZ), str(folder / "a.opus"), str(folder / "out.wav")])
            packets = list(ogg_packets((folder / "a.opus").read_bytes()))[_OPUS_HEADER_PACKETS:]
            heard = read_audio(folder / "out.wav")
        sizes = [len(packet) for packet in packets]
        return Coded(fit(heard, sound.size), 8 * sum(sizes), sum(map(wire_bytes, sizes)))


@lru_cache(maxsize=1)
def _opus_version() -> str:
    return _run(["opusenc", "--version"]).splitlines()[0]


@dataclass(frozen=True)
class Codec2:
    """Codec2 at one of its constant rates, for speech up to 4 kHz."""

    bits_per_s: int

    name = "Codec2"
    made_by = "the programs c2enc and c2dec, which report no version"
    vocoder_ms = None

    RATE_HZ = 8_000
    FRAME_MS = {3200: 20, 2400: 20, 1600: 40, 1400: 40, 1300: 40, 1200: 40}  # noqa: RUF012 - read, never written
    # The codec leaves this delay in its output at every rate; STOI over the clips peaks there.
    DELAY_SAMPLES = 160

    @staticmethod
    def missing() -> str | None:
        """Why it cannot run here, in one sentence, or None."""
        return _missing_program("Codec2", ("c2enc", "c2dec"), "codec2")

    @property
    def setting(self) -> str:
        """The rate."""
        return f"{self.bits_per_s / 1e3:g} kbps"

    @property
    def codec_ms(self) -> float:
        """A frame, and the delay that the codec leaves in its output."""
        return self.FRAME_MS[self.bits_per_s] + 1e3 * self.DELAY_SAMPLES / self.RATE_HZ

    def code(self, sound: FloatArray) -> Coded:
        """Encode and decode at 8 kHz; bits that fill a packet's last byte are not payload."""
        frame_samples = self.FRAME_MS[self.bits_per_s] * self.RATE_HZ // 1000
        frame_bits = self.bits_per_s * self.FRAME_MS[self.bits_per_s] // 1000
        narrow = padded(soxr.resample(sound, RATE_HZ, self.RATE_HZ), frame_samples, self.DELAY_SAMPLES)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "in.raw").write_bytes(to_s16le(narrow))
            _run(["c2enc", str(self.bits_per_s), str(folder / "in.raw"), str(folder / "a.bit")])
            _run(["c2dec", str(self.bits_per_s), str(folder / "a.bit"), str(folder / "out.raw")])
            heard = from_s16le((folder / "out.raw").read_bytes())[self.DELAY_SAMPLES :]
        frames = narrow.size // frame_samples
        wide = np.asarray(soxr.resample(heard, self.RATE_HZ, RATE_HZ), np.float32)
        return Coded(fit(wide, sound.size), frames * frame_bits, frames * wire_bytes(-(-frame_bits // 8)))


@dataclass(frozen=True)
class Lyra:
    """Lyra v2: SoundStream's encoder, a residual quantiser and a generative decoder, 20 ms per packet.

    Source: the three TFLite models of github.com/google/lyra, 16 kHz, each with a state, 4 bits per quantiser.
    """

    folder: Path
    quantizers: int

    name = "Lyra v2"
    vocoder_ms = None
    codec_ms = 20.0  # a packet: its output is aligned with its input

    FILES = ("soundstream_encoder.tflite", "quantizer.tflite", "lyragan.tflite")
    FRAME_SAMPLES = 320
    BITS_PER_QUANTIZER = 4

    @staticmethod
    def missing(folder: Path | None) -> str | None:
        """Why it cannot run here, in one sentence, or None. Raises ModelError where the folder lacks a model."""
        if folder is None:
            return "Lyra v2 needs its three TFLite models; name their folder with --lyra"
        for name in Lyra.FILES:
            if not (folder / name).is_file():
                raise ModelError(f"there is no {name} in {folder}; Lyra v2 needs {', '.join(Lyra.FILES)}")
        if importlib.util.find_spec("ai_edge_litert") is None:
            return f"Lyra v2 needs ai-edge-litert; install with: {INSTALL}"
        return None

    @property
    def setting(self) -> str:
        """The rate."""
        return f"{self._packet_bits * RATE_HZ / self.FRAME_SAMPLES / 1e3:g} kbps"

    @property
    def made_by(self) -> str:
        """The digest of the models."""
        return f"Lyra v2 models {hashlib.sha256(b''.join(_model_bytes(self.folder))).hexdigest()[:8]}"

    @property
    def _packet_bits(self) -> int:
        return self.BITS_PER_QUANTIZER * self.quantizers

    def code(self, sound: FloatArray) -> Coded:
        """Run the models frame by frame from their zero state; their output is aligned with the input."""
        encode, quantize, dequantize, decode = _lyra_models(self.folder)
        frames = padded(sound, self.FRAME_SAMPLES).reshape(-1, self.FRAME_SAMPLES)
        heard = []
        for frame in frames:
            features = encode(input_audio=frame[None])["output_0"]
            indices = quantize(input_frames=features, num_quantizers=np.int32(self.quantizers))["output_0"]
            features = dequantize(encoding_indices=indices)["output_0"]
            heard.append(decode(input_audio=features)["output_0"][0])
        wire = len(frames) * wire_bytes(-(-self._packet_bits // 8))
        return Coded(fit(np.concatenate(heard), sound.size), len(frames) * self._packet_bits, wire)


@lru_cache(maxsize=1)
def _model_bytes(folder: Path) -> tuple[bytes, ...]:
    return tuple((folder / name).read_bytes() for name in Lyra.FILES)


def _lyra_models(folder: Path) -> tuple[Any, Any, Any, Any]:
    """Create interpreters with zero state. Raises ModelError where a file is not such a model."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet_c_libraries():
            models = [Interpreter(model_content=data, num_threads=1) for data in _model_bytes(folder)]
            encoder, quantizer, decoder = models
            return (
                encoder.get_signature_runner("serving_default"),
                quantizer.get_signature_runner("encode"),
                quantizer.get_signature_runner("decode"),
                decoder.get_signature_runner("serving_default"),
            )
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"the models in {folder} are not those of Lyra v2: {error}") from error
