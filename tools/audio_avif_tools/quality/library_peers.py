"""Other codecs, run as C libraries: Opus with and without its enhancement networks, and AMR-WB."""

from __future__ import annotations

from dataclasses import dataclass

from audio_avif.config import RATE_HZ
from audio_avif.errors import AudioAvifError
from audio_avif.link.messages import wire_bytes
from audio_avif.types import FloatArray
from audio_avif_tools.quality import libamrwb
from audio_avif_tools.quality.framing import fit, padded
from audio_avif_tools.quality.libopus import Enhancement, OpusLibrary, enhancing_library, installed_libraries
from audio_avif_tools.quality.systems import Coded

_NAMES = {Enhancement.NONE: "Opus wideband", Enhancement.LACE: "Opus LACE", Enhancement.NOLACE: "Opus NoLACE"}


@dataclass(frozen=True)
class OpusWideband:
    """Opus for calls at a variable rate around ``kbps``, held at wideband, decoded plainly or by a network."""

    kbps: int
    packet_ms: int
    enhancement: Enhancement

    vocoder_ms = None

    @staticmethod
    def missing() -> str | None:
        """Why it cannot run here, in one sentence, or None."""
        if enhancing_library() is not None:
            return None
        found = " and ".join(dict.fromkeys(library.version for library in installed_libraries()))
        return (
            f"Opus with LACE and NoLACE needs libopus 1.5 or later built with these networks, such as Debian 13's "
            f"(here: {found or 'none'}); tools/install-system-packages.sh quality, in a checkout, fetches it"
        )

    @property
    def name(self) -> str:
        """The decoder and the length of a packet: each pair has a curve."""
        return f"{_NAMES[self.enhancement]}, {self.packet_ms} ms"

    @property
    def setting(self) -> str:
        """The requested rate."""
        return f"{self.kbps} kbps"

    @property
    def made_by(self) -> str:
        """The library and its version."""
        return self._library().version

    @property
    def codec_ms(self) -> float:
        """A packet and the encoder's lookahead; the networks add none."""
        return self.packet_ms + 1e3 * self._library().lookahead_samples / RATE_HZ

    def code(self, sound: FloatArray) -> Coded:
        """Encode and decode, without the delay that the encoder states."""
        library = self._library()
        lag = library.lookahead_samples
        whole = padded(sound, self.packet_ms * RATE_HZ // 1000, lag)
        packets = library.encode(whole, self.kbps, self.packet_ms)
        heard = library.decode(packets, self.packet_ms, self.enhancement)[lag:]
        sizes = [len(packet) for packet in packets]
        return Coded(fit(heard, sound.size), 8 * sum(sizes), sum(map(wire_bytes, sizes)))

    @staticmethod
    def _library() -> OpusLibrary:
        if (library := enhancing_library()) is None:
            raise AudioAvifError(str(OpusWideband.missing()))
        return library


@dataclass(frozen=True)
class AmrWb:
    """AMR-WB at the constant rate of a mode, 20 ms per packet: the wideband codec of mobile telephony."""

    mode: int

    name = "AMR-WB"
    made_by = "vo-amrwbenc and opencore-amrwb of unknown versions"
    vocoder_ms = None

    # The encoder's lookahead of 5 ms and the resampling to and from 12.8 kHz; correlation over the clips peaks there.
    DELAY_SAMPLES = 95

    @staticmethod
    def missing() -> str | None:
        """Why it cannot run here, in one sentence, or None."""
        absent = libamrwb.absent_libraries()
        packages = " ".join(f"lib{name}0" for name in absent)
        return f"AMR-WB needs {' and '.join(absent)}; install with: apt-get install {packages}" if absent else None

    @property
    def setting(self) -> str:
        """The rate."""
        return f"{libamrwb.FRAME_BITS[self.mode] * RATE_HZ / libamrwb.FRAME_SAMPLES / 1e3:g} kbps"

    @property
    def codec_ms(self) -> float:
        """A frame, and the delay that the codec leaves in its output."""
        return 1e3 * (libamrwb.FRAME_SAMPLES + self.DELAY_SAMPLES) / RATE_HZ

    def code(self, sound: FloatArray) -> Coded:
        """Encode and decode; a frame's header and the bits that fill its last byte are not payload."""
        frames = libamrwb.encode(padded(sound, libamrwb.FRAME_SAMPLES, self.DELAY_SAMPLES), self.mode)
        heard = libamrwb.decode(frames)[self.DELAY_SAMPLES :]
        wire = sum(wire_bytes(len(frame)) for frame in frames)
        return Coded(fit(heard, sound.size), len(frames) * libamrwb.FRAME_BITS[self.mode], wire)
