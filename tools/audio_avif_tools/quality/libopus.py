"""libopus through ctypes: wideband speech, one channel at 16 kHz, to packets and back.

Source: opus.h and opus_defines.h of libopus 1.5, from which on a decoder's complexity chooses a network that enhances
speech, where the library was built with them (OSCE).
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from functools import lru_cache
from pathlib import Path

import numpy as np
import platformdirs

from audio_avif.config import RATE_HZ
from audio_avif.errors import AudioAvifError
from audio_avif.types import FloatArray

_APPLICATION_VOIP = 2048
_SET_BITRATE, _SET_BANDWIDTH, _SET_COMPLEXITY, _GET_LOOKAHEAD = 4002, 4008, 4010, 4027
_WIDEBAND = 1103
_HIGHEST_COMPLEXITY = 10
_MAX_PACKET_BYTES = 1500
_PACKETS_MS = (10, 20, 40, 60)
_FLOATS = ctypes.POINTER(ctypes.c_float)


class Enhancement(IntEnum):
    """What improves the decoded speech; the value is the decoder's complexity that switches it on."""

    NONE = 0
    LACE = 6
    NOLACE = 7


class OpusLibrary:
    """A loaded libopus. Its methods raise AudioAvifError where libopus reports an error."""

    def __init__(self, name: str) -> None:
        """Load by path, or by a name that the system's loader knows. Raises OSError where that fails."""
        calls = ctypes.CDLL(name)
        calls.opus_get_version_string.restype = calls.opus_strerror.restype = ctypes.c_char_p
        calls.opus_encoder_create.restype = calls.opus_decoder_create.restype = ctypes.c_void_p
        calls.opus_encoder_destroy.argtypes = calls.opus_decoder_destroy.argtypes = [ctypes.c_void_p]
        # These have variable arguments, which some processors pass in another way than the ones declared here.
        calls.opus_encoder_ctl.argtypes = calls.opus_decoder_ctl.argtypes = [ctypes.c_void_p, ctypes.c_int]
        sound, packet = (_FLOATS, ctypes.c_int), (ctypes.c_char_p, ctypes.c_int32)
        calls.opus_encode_float.argtypes = (ctypes.c_void_p, *sound, *packet)
        calls.opus_decode_float.argtypes = (ctypes.c_void_p, *packet, *sound, ctypes.c_int)
        self._calls = calls

    @property
    def version(self) -> str:
        """The library's name and version, such as ``libopus 1.5.2``."""
        return str(self._calls.opus_get_version_string().decode("ascii", "replace"))

    @property
    def lookahead_samples(self) -> int:
        """The delay of the decoded sound behind the original."""
        lookahead = ctypes.c_int()
        with self._encoder() as encoder:
            self._check(self._calls.opus_encoder_ctl(encoder, _GET_LOOKAHEAD, ctypes.byref(lookahead)))
        return lookahead.value

    def can_enhance(self) -> bool:
        """Return whether the networks are built in; a decoder without them decodes as if none were asked for."""
        noise = 0.1 * np.random.default_rng(1).standard_normal(3200).astype(np.float32)
        packets = self.encode(noise, kbps=9, packet_ms=20)
        try:
            plain, lace, nolace = (self.decode(packets, 20, enhancement) for enhancement in Enhancement)
        except AudioAvifError:  # before 1.5 a decoder has no complexity
            return False
        return not np.array_equal(plain, lace) and not np.array_equal(lace, nolace)

    def encode(self, sound: FloatArray, kbps: int, packet_ms: int) -> list[bytes]:
        """Encode ``[samples]``, a multiple of the packet's, at a variable rate around ``kbps``, wideband forced."""
        packet_samples = _packet_samples(packet_ms)
        if sound.size % packet_samples:
            raise ValueError(f"{sound.size} samples are no whole number of packets of {packet_samples}")
        buffer = ctypes.create_string_buffer(_MAX_PACKET_BYTES)
        packets = []
        with self._encoder() as encoder:
            settings = {_SET_BITRATE: 1000 * kbps, _SET_BANDWIDTH: _WIDEBAND, _SET_COMPLEXITY: _HIGHEST_COMPLEXITY}
            for request, value in settings.items():
                self._check(self._calls.opus_encoder_ctl(encoder, request, ctypes.c_int(value)))
            for piece in np.ascontiguousarray(sound, np.float32).reshape(-1, packet_samples):
                size = self._calls.opus_encode_float(
                    encoder, piece.ctypes.data_as(_FLOATS), packet_samples, buffer, len(buffer)
                )
                packets.append(buffer.raw[: self._check(size)])
        return packets

    def decode(self, packets: Sequence[bytes], packet_ms: int, enhancement: Enhancement) -> FloatArray:
        """Decode packets to ``[samples]``, ``lookahead_samples`` behind the original."""
        heard = np.zeros((len(packets), _packet_samples(packet_ms)), np.float32)
        with self._decoder() as decoder:
            if enhancement:
                request = ctypes.c_int(enhancement)
                self._check(self._calls.opus_decoder_ctl(decoder, _SET_COMPLEXITY, request))
            for packet, piece in zip(packets, heard, strict=True):
                samples = self._check(
                    self._calls.opus_decode_float(
                        decoder, packet, len(packet), piece.ctypes.data_as(_FLOATS), piece.size, 0
                    )
                )
                if samples != piece.size:
                    raise AudioAvifError(f"{self.version} decoded a packet to {samples} samples, not {piece.size}")
        return heard.reshape(-1)

    @contextmanager
    def _encoder(self) -> Iterator[ctypes.c_void_p]:
        error = ctypes.c_int()
        created = self._calls.opus_encoder_create(RATE_HZ, 1, _APPLICATION_VOIP, ctypes.byref(error))
        self._check(error.value)
        encoder = ctypes.c_void_p(created)
        try:
            yield encoder
        finally:
            self._calls.opus_encoder_destroy(encoder)

    @contextmanager
    def _decoder(self) -> Iterator[ctypes.c_void_p]:
        error = ctypes.c_int()
        created = self._calls.opus_decoder_create(RATE_HZ, 1, ctypes.byref(error))
        self._check(error.value)
        decoder = ctypes.c_void_p(created)
        try:
            yield decoder
        finally:
            self._calls.opus_decoder_destroy(decoder)

    def _check(self, result: int) -> int:
        """Return what a call returned, unless it is an error code."""
        if result < 0:
            reason = self._calls.opus_strerror(result).decode("ascii", "replace")
            raise AudioAvifError(f"{self.version} failed: {reason}")
        return result


def _packet_samples(packet_ms: int) -> int:
    if packet_ms not in _PACKETS_MS:
        raise ValueError(f"a packet of speech has {', '.join(map(str, _PACKETS_MS))} ms, not {packet_ms}")
    return packet_ms * RATE_HZ // 1000


def fetched_library() -> Path:
    """Return where ``tools/install-system-packages.sh quality`` puts a newer libopus than the system's."""
    return platformdirs.user_data_path("audio-avif", appauthor=False) / "lib" / "libopus.so.0"


@lru_cache(maxsize=1)
def installed_libraries() -> tuple[OpusLibrary, ...]:
    """Return each libopus that can be loaded: the system's, then the fetched one."""
    names = [ctypes.util.find_library("opus"), str(fetched_library()) if fetched_library().is_file() else None]
    found = []
    for name in names:
        try:
            found += [] if name is None else [OpusLibrary(name)]
        except OSError:  # of another processor, or damaged
            continue
    return tuple(found)


@lru_cache(maxsize=1)
def enhancing_library() -> OpusLibrary | None:
    """Return the first installed libopus with enhancement networks, or None."""
    return next((library for library in installed_libraries() if library.can_enhance()), None)
