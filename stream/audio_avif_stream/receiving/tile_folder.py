"""Received tiles as pictures in a folder, for ``audio-avif-recv --save-tiles``."""

from __future__ import annotations

import logging
from pathlib import Path

from audio_avif.errors import TileError
from audio_avif.link.hello import Hello
from audio_avif.link.packets import Bundle, MediaPacket, PausePacket
from audio_avif.still.boxes import inspect_still

log = logging.getLogger(__name__)


class TileFolder:
    """Writes each tile of one stream as ``NNN-TTTTTT.avif``: stream number, and place in the stream.

    Without a path it does nothing. A pause has no picture, and bytes that are no AVIF still are not written, since a
    viewer may be opened on them.
    """

    def __init__(self, path: Path | None, stream_number: int, hello: Hello) -> None:
        self._path = path
        self._stream_number = stream_number
        self._hello = hello

    def push(self, packet: MediaPacket) -> None:
        """Write the tile of a packet; after a failure no more are written, and a warning says so."""
        tile = packet.tile if isinstance(packet, Bundle) else packet
        if self._path is None or isinstance(tile, PausePacket):
            return
        still = tile.still(self._hello.template)
        place = tile.first_frame // self._hello.tile.frames
        path = self._path / f"{self._stream_number:03d}-{place:06d}.avif"
        try:
            inspect_still(still)
            path.write_bytes(still)
        except TileError:
            return
        except OSError as error:
            log.warning("%s cannot be written (%s); later tiles are not saved", path, error.strerror)
            self._path = None
