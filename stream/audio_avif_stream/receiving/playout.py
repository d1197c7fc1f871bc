"""Between network and output: decodes tiles, runs the vocoder and keeps the output supplied.

``Playout`` does it by a clock that is passed in; ``Player`` is the thread that does it live.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from audio_avif.codec.decoder import WARM_UP_TILES, Decoder, Frames, warm_up
from audio_avif.codec.machine_watch import MachineWatch, OutputState
from audio_avif.codec.playout import PlayoutConfig
from audio_avif.errors import AudioAvifError
from audio_avif.link.hello import Hello
from audio_avif.link.messages import MAX_DURATION_US, Bye, Report
from audio_avif.link.packets import MediaPacket
from audio_avif.types import FloatArray
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.replaceable import ReplaceableStream
from audio_avif.vocoders.streaming import open_stream
from audio_avif_stream.receiving.outputs import Output
from audio_avif_stream.receiving.stage import StreamRecords
from audio_avif_stream.runtime.realtime import normal_priority
from audio_avif_stream.runtime.relief import Relief

log = logging.getLogger(__name__)

_INBOX_PACKETS = 256
_SHORTEST_WAIT_S = 0.001


def open_decoder(
    hello: Hello, vocoder: Vocoder, config: PlayoutConfig, clock: Callable[[], float] | None = time.monotonic
) -> tuple[Decoder, Relief]:
    """Return a decoder that is warmed up and knows how long this machine takes for a tile, and the vocoder's relief.

    Without a clock the machine is taken for infinitely fast.
    """
    speaking = ReplaceableStream(open_stream(vocoder), hello.mel)
    decoder = Decoder(hello, speaking, config)
    if clock is not None:
        warm_up(hello, speaking)
        began_s = clock()
        warm_up(hello, speaking)
        decoder.pacer.processing_s = (clock() - began_s) / WARM_UP_TILES
    return decoder, Relief(speaking, vocoder)


class Playout:
    """Plays one stream: ``begin``, ``arrive`` and ``advance`` as time goes on, ``finish``.

    Only the output waits in here; ``wait_s`` says when to come back though nothing arrives.
    """

    def __init__(
        self,
        decoder: Decoder,
        relief: Relief,
        output: Output,
        records: StreamRecords,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_report: Callable[[Report], None],
    ) -> None:
        self.decoder = decoder
        self.output = output
        self.records = records
        self.played_samples = 0
        self._machine = MachineWatch(decoder.pacer, decoder.tile_s)
        self._spoken_s = 0.0  # when the last sound was made
        self._relief = relief
        self._clock = clock
        self._on_report = on_report
        self._received_s: dict[int, float] = {}

    @property
    def vocoder_name(self) -> str:
        """The name of the vocoder in use."""
        return self._relief.vocoder.name

    def begin(self) -> None:
        """Begin the stream."""
        self.output.begin(self.decoder.hello.live)
        self.records.begin(self.decoder.hello)

    def arrive(self, packet: MediaPacket, received_s: float) -> None:
        """Take a packet that was received at that time of the clock."""
        self.records.arrive(packet)
        self._received_s[packet.sequence] = received_s
        if len(self._received_s) > _INBOX_PACKETS:
            del self._received_s[next(iter(self._received_s))]
        self.decoder.push(packet, received_s)

    def advance(self) -> bool:
        """Play what is due first, if anything is; return whether anything was."""
        started_s = self._clock()
        frames = self.decoder.next_frames(self.output.buffered_s, started_s)
        if frames is not None:
            self._speak(frames, started_s)
        elif self.decoder.hello.live and self.decoder.is_waiting:
            self.output.rest()
        return frames is not None

    def wait_s(self) -> float | None:
        """How long to wait for packets before concealment is due; None where there is no limit."""
        if self.decoder.is_waiting:
            return None
        return max(_SHORTEST_WAIT_S, self.output.buffered_s - self.decoder.urgent_s)

    def finish(self) -> None:
        """Play the last samples of a stream whose end the decoder has been told, and all that is still buffered."""
        self._write(self.decoder.flush().samples)
        self.records.end(self.played_samples)
        self.output.end()

    def _speak(self, frames: Frames, started_s: float) -> None:
        decoded_s = self._clock()
        chunk = self.decoder.speak(frames)
        spoken_s = self._clock()
        if frames.silence_s:
            self.output.silence(max(0.0, frames.silence_s - (spoken_s - started_s)))
            self._machine.forget_depths()
        before = self._output_state()
        self._write(chunk.samples)
        self.records.speak(frames)
        free_s, self._spoken_s = self._spoken_s, spoken_s
        sound_s = frames.log_mel.shape[1] * self.decoder.hello.mel.frame_s
        if self.decoder.hello.live and self._relief.push(spoken_s - started_s, sound_s):
            self._machine.forget_vocoder()
        if frames.tile is None:
            return
        received_s = self._take_received_s(frames.tile.sequence, started_s)
        late_s = self.decoder.pacer.lateness_s(frames.tile.first_frame, received_s)
        self._machine.push(spoken_s, before, spoken_s - started_s, spoken_s - max(received_s, free_s), late_s)
        if chunk.samples.size:
            waited_s = started_s - received_s
            durations_s = (waited_s, decoded_s - started_s, spoken_s - decoded_s, before.buffered_s, before.device_s)
            durations_us = [min(max(0, round(duration * 1e6)), MAX_DURATION_US) for duration in durations_s]
            self._on_report(Report(frames.tile.sequence, chunk.first_sample, round(received_s * 1e6), *durations_us))

    def _output_state(self) -> OutputState:
        written_s = self.played_samples / self.decoder.hello.mel.rate_hz
        output = self.output
        return OutputState(written_s, output.buffered_s, output.reserve_s, output.device_latency_s, output.underruns)

    def _take_received_s(self, sequence: int, default_s: float) -> float:
        """When this tile was received; it and those before it are forgotten."""
        received_s = self._received_s.pop(sequence, default_s)
        for passed in [each for each in self._received_s if each < sequence]:
            del self._received_s[passed]
        return received_s

    def _write(self, samples: FloatArray) -> None:
        self.output.write(samples)
        self.played_samples += samples.size


@dataclass(frozen=True)
class _End:
    bye: Bye | None


class Player:
    """Plays one stream in a thread of its own; ``push`` and ``end`` never wait for it to catch up."""

    def __init__(self, playout: Playout, on_done: Callable[[], None]) -> None:
        self.playout = playout
        self.error: AudioAvifError | None = None
        self._on_done = on_done
        self._is_stopped = False
        self._inbox: queue.Queue[tuple[MediaPacket, float] | _End] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="playout", daemon=True)
        self._thread.start()

    @property
    def decoder(self) -> Decoder:
        """The decoder; its figures may be read at any time."""
        return self.playout.decoder

    @property
    def output(self) -> Output:
        """The output."""
        return self.playout.output

    @property
    def vocoder_name(self) -> str:
        """The name of the vocoder in use."""
        return self.playout.vocoder_name

    @property
    def played_samples(self) -> int:
        """Samples given to the output."""
        return self.playout.played_samples

    @property
    def backlog(self) -> int:
        """Packets that wait for the thread."""
        return self._inbox.qsize()

    def push(self, packet: MediaPacket, received_s: float) -> None:
        """Take a packet as it arrives. A live stream that outruns this machine loses it here and conceals it."""
        if self.backlog < _INBOX_PACKETS:
            self._inbox.put((packet, received_s))

    def end(self, bye: Bye | None) -> None:
        """No more packets will come; what is here is still played."""
        self._inbox.put(_End(bye))

    def stop(self) -> None:
        """Play no more than the output already has."""
        self._is_stopped = True

    def _run(self) -> None:
        if not self.decoder.hello.live:
            normal_priority()
        try:
            self.playout.begin()
            is_over = False
            while not is_over:
                is_over = self._take_arrivals()
                while not self._is_stopped and self.playout.advance():
                    pass
            self.playout.finish()
        except AudioAvifError as error:
            self.error = error
        except Exception as error:  # the user must learn of it
            log.debug("playout failed", exc_info=True)
            self.error = AudioAvifError(f"playing the stream failed: {error}")
        finally:
            self.playout.records.end(self.played_samples)
            self._on_done()

    def _take_arrivals(self) -> bool:
        """Wait for a packet, or until the output needs more; take all that came; return whether the end did."""
        try:
            item = self._inbox.get(timeout=self.playout.wait_s())
            while True:
                if isinstance(item, _End):
                    self.decoder.end(item.bye)
                    return True
                self.playout.arrive(*item)
                item = self._inbox.get_nowait()
        except queue.Empty:
            return False
