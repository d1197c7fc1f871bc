"""The thread between network and output: decodes tiles, runs the vocoder and keeps the output supplied."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from audio_avif.codec import Decoder, Frames, PlayoutConfig
from audio_avif.container import inspect_still
from audio_avif.errors import AudioAvifError, TileError
from audio_avif.stream.outputs import Output
from audio_avif.vocoders.protocol import VocoderStream
from audio_avif.wire import MAX_DURATION_US, Bye, Hello, Report, TilePacket

log = logging.getLogger(__name__)

_INBOX_TILES = 256
_PROCESSING_MEMORY_S = 5.0


@dataclass(frozen=True)
class _End:
    bye: Bye | None


class Player:
    """Plays one stream in a thread of its own; ``push`` and ``end`` never wait for it to catch up."""

    def __init__(
        self,
        hello: Hello,
        vocoder: VocoderStream,
        output: Output,
        playout: PlayoutConfig,
        processing_s: float,
        *,
        on_report: Callable[[Report], None],
        on_done: Callable[[], None],
        save_tiles: Path | None,
        stream_number: int,
    ) -> None:
        self.decoder = Decoder(hello, vocoder, playout)
        self.decoder.processing_s = processing_s
        self._processing_s = deque([processing_s], maxlen=max(2, round(_PROCESSING_MEMORY_S / self.decoder.tile_s)))
        self.output = output
        self.error: AudioAvifError | None = None
        self.played_samples = 0
        self._on_report = on_report
        self._on_done = on_done
        self._save_tiles = save_tiles
        self._stream_number = stream_number
        self._is_stopped = False
        self._inbox: queue.Queue[tuple[TilePacket, float] | _End] = queue.Queue()
        self._received_s: dict[int, float] = {}
        self._thread = threading.Thread(target=self._run, name="playout", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """Packets that wait for the thread."""
        return self._inbox.qsize()

    def push(self, tile: TilePacket, received_s: float) -> None:
        """Take a tile as it arrives. A live stream that outruns this machine loses it here and conceals it."""
        if self.backlog < _INBOX_TILES:
            self._inbox.put((tile, received_s))

    def end(self, bye: Bye | None) -> None:
        """No more tiles will come; what is here is still played."""
        self._inbox.put(_End(bye))

    def stop(self) -> None:
        """Play no more than what the output has already."""
        self._is_stopped = True

    def _run(self) -> None:
        try:
            self.output.begin(self.decoder.hello.live)
            self._play()
            chunk = self.decoder.flush()
            self.output.write(chunk.samples)
            self.played_samples += chunk.samples.size
            self.output.end()
        except AudioAvifError as error:
            self.error = error
        except Exception as error:  # the thread's last words must reach the user
            log.debug("playout failed", exc_info=True)
            self.error = AudioAvifError(f"playing the stream failed: {error}")
        finally:
            self._on_done()

    def _play(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._take_arrivals()
            started_s = time.monotonic()
            while not self._is_stopped and (frames := self.decoder.next_frames(self.output.buffered_s)) is not None:
                self._speak(frames, started_s)
                started_s = time.monotonic()

    def _take_arrivals(self) -> bool:
        """Wait for a packet, or until the output needs more; take all that came, and say whether the end did."""
        spare_s = self.output.buffered_s - self.decoder.urgent_s
        try:
            item = self._inbox.get(timeout=spare_s + 0.001 if spare_s > 0 else None)
            while True:
                if isinstance(item, _End):
                    self.decoder.end(item.bye)
                    return True
                tile, received_s = item
                self._save(tile)
                self._received_s[tile.sequence] = received_s
                if len(self._received_s) > _INBOX_TILES:
                    del self._received_s[next(iter(self._received_s))]
                self.decoder.push(tile)
                item = self._inbox.get_nowait()
        except queue.Empty:
            return False

    def _speak(self, frames: Frames, started_s: float) -> None:
        decoded_s = time.monotonic()
        chunk = self.decoder.speak(frames)
        spoken_s = time.monotonic()
        received_s = started_s if frames.tile is None else self._received_s.pop(frames.tile.sequence, started_s)
        if frames.silence_s:
            self.output.silence(max(0.0, frames.silence_s - (spoken_s - received_s)))
        buffered_s, device_s = self.output.buffered_s, self.output.device_latency_s
        self.output.write(chunk.samples)
        self.played_samples += chunk.samples.size
        if frames.tile is None:
            return
        self._processing_s.append(spoken_s - started_s)
        self.decoder.processing_s = median(self._processing_s)
        for passed in [sequence for sequence in self._received_s if sequence < frames.tile.sequence]:
            del self._received_s[passed]
        if chunk.samples.size:
            durations_s = (
                started_s - received_s,
                decoded_s - started_s,
                spoken_s - decoded_s,
                buffered_s,
                device_s,
            )
            durations_us = [min(max(0, round(duration * 1e6)), MAX_DURATION_US) for duration in durations_s]
            report = Report(frames.tile.sequence, chunk.first_sample, round(received_s * 1e6), *durations_us)
            self._on_report(report)

    def _save(self, tile: TilePacket) -> None:
        """Keep a tile as a picture; what is none is not written, since a viewer may be opened on it."""
        if self._save_tiles is None:
            return
        still = tile.still(self.decoder.hello.template)
        path = self._save_tiles / f"{self._stream_number:03d}-{tile.sequence:06d}.avif"
        try:
            inspect_still(still)
            path.write_bytes(still)
        except TileError:
            return
        except OSError as error:
            log.warning("%s cannot be written (%s); the tiles that follow are not saved", path, error.strerror)
            self._save_tiles = None
