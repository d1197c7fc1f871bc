"""What is fuzzed: each target takes any bytes and raises, or takes too much, only where there is a bug."""

from __future__ import annotations

import io
import resource
import time
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice, pairwise
from tempfile import NamedTemporaryFile
from unittest import mock

import numpy as np
import numpy.typing as npt

from audio_avif.codec import decoder as codec
from audio_avif.codec.decoder import Decoder
from audio_avif.config import MelConfig
from audio_avif.errors import FileError, RemoteProtocolError, TileError
from audio_avif.link.hello import Hello
from audio_avif.link.messages import Bye, Message
from audio_avif.link.packets import MediaPacket
from audio_avif.link.protocol import ReceiverProtocol, SenderProtocol
from audio_avif.recording.grid import MAX_SIDE
from audio_avif.recording.grid_reader import GridReader
from audio_avif.recording.layout import CELL_FRAMES
from audio_avif.recording.picture_reader import PictureReader
from audio_avif.still.avif import decode_still
from audio_avif.still.boxes import inspect_still
from audio_avif.still.template import StillTemplate
from audio_avif_stream.receiving.stream_recording import read_recording
from fuzz import mutators, seeds

MAX_CPU_S = 1.0
MAX_GROWTH_KB = 64 * 1024
MAX_FRAMES = 512
_MOST_OVER_LOG10 = 2.0  # noise has peaks
_MAX_CALLS = 1000
_MAX_WAITED_S = 4.0
_MAX_CELLS = 16  # all are alike, and a grid may hold thousands


@dataclass(frozen=True)
class Target:
    """One entry for a peer's bytes: what reads them, where inputs start from and how they are changed."""

    name: str
    reads: str
    take: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    mutate: mutators.Mutator
    max_bytes: int


def run_within_bounds(target: Target, data: bytes) -> None:
    """Run one input. Raises AssertionError where it took over MAX_CPU_S or made the process's peak grow too much."""
    began_s = time.process_time()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    target.take(data)
    took_s = time.process_time() - began_s
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert took_s <= MAX_CPU_S, f"one input of {len(data)} bytes took {took_s:.1f} s"
    assert grown_kb <= MAX_GROWTH_KB, f"one input of {len(data)} bytes took {grown_kb // 1024} MB"


def _take_messages(protocols: list[ReceiverProtocol] | list[SenderProtocol], data: bytes) -> None:
    """Each protocol reads the messages up to the first it refuses; what it accepts means the same written anew."""
    for protocol in protocols:
        for message_bytes in seeds.split_messages(data):
            before = replace(protocol, counters=copy(protocol.counters))
            try:
                message = protocol.receive(message_bytes)
            except RemoteProtocolError as error:
                assert str(error).isprintable() and len(str(error)) < 500, "an error that does not fit a log line"
                break
            assert before.receive(message.to_bytes()) == message, "a message changes its meaning"


_HELLO, _WELCOME = seeds.sender_messages()["hello"], seeds.receiver_messages()["welcome"]


def _receiver_wire(data: bytes) -> None:
    begun = ReceiverProtocol()
    begun.receive(_HELLO)
    _take_messages([ReceiverProtocol(), begun], data)


def _sender_wire(data: bytes) -> None:
    begun = SenderProtocol()
    begun.receive(_WELCOME)
    _take_messages([SenderProtocol(), begun], data)


def _decode(still: bytes, width: int, height: int) -> None:
    """A picture of exactly this size, or TileError."""
    try:
        pixels = decode_still(still, width, height)
    except TileError:
        return
    assert pixels.shape == (height, width) and pixels.dtype == "uint8", "a picture of another size"


def _still(data: bytes) -> None:
    try:
        layout = inspect_still(data)
        template = StillTemplate.of(data)
        frame_body = template.strip(data)
    except TileError:
        _decode(data, 8, 80)
        return
    assert frame_body is None or template.rebuild(frame_body) == data, "a still that is not rebuilt"
    # What a hello may promise; whatever else the still holds is refused.
    is_possible = 2 <= layout.width <= 64 and 8 <= layout.height <= 256
    _decode(data, *((layout.width, layout.height) if is_possible else (8, 80)))


_TEMPLATES = [StillTemplate.of(seeds.blank_still(*size)) for size in seeds.SIZES]


def _tile(data: bytes) -> None:
    if data:
        index = data[0] % len(seeds.SIZES)
        _decode(_TEMPLATES[index].rebuild(data[1:]), *seeds.SIZES[index])


class _SilentVocoder:
    """Costs next to nothing, and checks what a real one relies on."""

    def __init__(self, hello: Hello) -> None:
        self._hello = hello
        self._held_samples = 0
        self.latency_samples = 2 * hello.mel.hop_samples

    def push(self, log_mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        assert log_mel.shape[0] == self._hello.mel.n_mels and log_mel.dtype == np.float32, "no frames of this stream"
        assert 1 <= log_mel.shape[1] <= MAX_FRAMES, f"{log_mel.shape[1]} frames at once"
        assert np.isfinite(log_mel).all(), "frames that are no numbers"
        assert log_mel.max() <= self._hello.tile.log10_max + _MOST_OVER_LOG10, "frames louder than a picture can say"
        samples = self._held_samples + log_mel.shape[1] * self._hello.mel.hop_samples
        self._held_samples = min(samples, self.latency_samples)
        return np.zeros(samples - self._held_samples, np.float32)

    def flush(self) -> npt.NDArray[np.float32]:
        return np.zeros(self._held_samples, np.float32)

    def reset(self) -> None:
        self._held_samples = 0


class _Listener:
    """Drives a Decoder as the receiver does, with a clock and an output of its own."""

    def __init__(self, hello: Hello) -> None:
        self._decoder = Decoder(hello, _SilentVocoder(hello))
        self._rate_hz = hello.mel.rate_hz
        self._is_live = hello.live
        self._now_s = 100.0
        self._buffered_s = 0.0
        self._most_s = 2 * self._decoder.pacer.config.max_s + 4 * max(1.0, self._decoder.tile_s)

    def hear(self, packet: MediaPacket) -> None:
        self._decoder.push(packet, self._now_s)
        self._advance()

    def wait(self, seconds: float) -> None:
        """Come back whenever the decoder has asked for it."""
        until_s = self._now_s + seconds
        while self._now_s < until_s:
            step_s = until_s - self._now_s
            if not self._decoder.is_waiting:
                step_s = min(step_s, max(0.0, self._buffered_s - self._decoder.urgent_s) + 0.001)
            self._now_s += step_s
            self._buffered_s = max(0.0, self._buffered_s - step_s)
            self._advance()

    def end(self, bye: Bye | None) -> None:
        """All that is here is spoken, however much: there is no delay to keep any more."""
        self._is_live = False
        self._decoder.end(bye)
        self._advance()
        self._decoder.flush()

    def _advance(self) -> None:
        calls = 0
        while (frames := self._decoder.next_frames(self._buffered_s, self._now_s)) is not None:
            calls += 1
            assert calls <= _MAX_CALLS, "speech without end"
            assert 0 <= frames.silence_s <= self._most_s, f"{frames.silence_s:.0f} s of silence"
            self._buffered_s += frames.silence_s + self._decoder.speak(frames).samples.size / self._rate_hz
            if self._is_live:
                assert self._buffered_s <= self._most_s, f"{self._buffered_s:.1f} s of sound wait to be played"
        assert len(self._decoder._tiles) <= 128 and len(self._decoder._voice.position._jumps) <= 128, (
            "a queue without end"
        )


_MELS = {MelConfig(n_mels=rows) for _, rows in seeds.SIZES}
_decode_once = lru_cache(maxsize=256)(decode_still)  # what it makes of odd bytes is the business of the target `tile`


def _hello_of(messages: list[bytes]) -> Hello:
    """The one an input begins with, or the golden one; no receiver takes a stream of another mel than its vocoder's."""
    try:
        hello = ReceiverProtocol().receive(messages[0])
    except (IndexError, RemoteProtocolError):
        return Hello.parse(_HELLO)
    return hello if isinstance(hello, Hello) and hello.mel in _MELS else Hello.parse(_HELLO)


def _decoder(data: bytes) -> None:
    """A stream to its end; what the protocol refuses is left out, as if each time the peer came back."""
    messages = seeds.split_messages(data)
    hello = _hello_of(messages)
    protocol, listener = ReceiverProtocol(hello), _Listener(hello)
    heard: Message | None = None
    waited_s = 0.0
    with mock.patch.object(codec, "decode_still", _decode_once):
        for message in messages:
            if len(message) == 2 and message[0] == seeds.WAIT:
                waited_s += message[1] / 100
                if waited_s <= _MAX_WAITED_S:
                    listener.wait(message[1] / 100)
                continue
            try:
                heard = protocol.receive(message)
            except RemoteProtocolError:
                continue
            if isinstance(heard, MediaPacket):
                listener.hear(heard)
        listener.end(heard if isinstance(heard, Bye) else None)


def _recording(data: bytes) -> None:
    """What is not refused runs on in time and is no longer than its file."""
    with NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            events = list(read_recording(file.name))
        except FileError:
            return
    assert all(a.at_s <= b.at_s for a, b in pairwise(events)), "time that runs backwards"
    assert sum(len(event.data) for event in events) < len(data), "more than is in the file"


def _grid(data: bytes) -> None:
    """The cells of a grid, and the sound that a picture holds; what is refused is refused in a sentence."""
    try:
        grid = GridReader(io.BytesIO(data))
        assert grid.cells == grid.rows * grid.columns and max(grid.width, grid.height) <= MAX_SIDE, "a grid too large"
        for index in range(min(grid.cells, _MAX_CELLS)):
            layout = inspect_still(grid.cell(index))
            assert (layout.width, layout.height) == (grid.cell_width, grid.cell_height), "a cell of another size"
    except (FileError, TileError) as error:
        _check_sentence(error)
    try:
        picture = PictureReader(io.BytesIO(data))
        info, left = picture.info, picture.frames
        for log_mel in islice(picture.log_mels(), _MAX_CELLS):
            assert log_mel.shape[:2] == (info.channels, info.mel.n_mels), "other channels than promised"
            assert 1 <= log_mel.shape[2] <= min(left, CELL_FRAMES), "more frames than promised"
            assert log_mel.dtype == np.float32 and np.isfinite(log_mel).all(), "frames that are no numbers"
            assert log_mel.max() <= info.log10_max + 1e-3, "frames louder than a picture can say"
            left -= log_mel.shape[2]
    except FileError as error:
        _check_sentence(error)


def _check_sentence(error: Exception) -> None:
    assert str(error).isprintable() and len(str(error)) < 500, "an error that does not fit a log line"


_FROM_SENDER = [*seeds.sender_messages().values(), *seeds.malformed_messages()]
_FROM_RECEIVER = [*seeds.receiver_messages().values(), *seeds.malformed_messages()]

TARGETS = {
    target.name: target
    for target in (
        Target(
            "receiver-wire",
            "a sender's messages: `ReceiverProtocol.receive`, before and after a hello",
            _receiver_wire,
            seeds.receiver_wire,
            mutators.sequence(_FROM_SENDER),
            8192,
        ),
        Target(
            "sender-wire",
            "a receiver's messages: `SenderProtocol.receive`, before and after a welcome",
            _sender_wire,
            seeds.sender_wire,
            mutators.sequence(_FROM_RECEIVER),
            4096,
        ),
        Target(
            "still",
            "whole AVIF stills: `inspect_still`, `StillTemplate`, `decode_still`",
            _still,
            seeds.still,
            mutators.avif,
            16_384,
        ),
        Target(
            "tile",
            "frame bodies in a valid template: `decode_still`, and so libavif and dav1d",
            _tile,
            seeds.tile,
            mutators.frame_body,
            16_384,
        ),
        Target(
            "decoder",
            "packets of a whole stream, and their times: `Decoder`",
            _decoder,
            seeds.decoder,
            mutators.sequence([*_FROM_SENDER, *(bytes([seeds.WAIT, hundredths]) for hundredths in (1, 13, 50, 255))]),
            4096,
        ),
        Target(
            "recording",
            "the file of `audio-avif-recv --replay`: `read_recording`",
            _recording,
            seeds.recording,
            mutators.sequence(seeds.split_records(next(seeds.recording())), seeds.split_records, seeds.join_records),
            16_384,
        ),
        Target(
            "grid",
            "the pictures of `audio-avif`: `GridReader`, `PictureReader`, and so libavif and dav1d",
            _grid,
            seeds.grid,
            mutators.grid,
            16_384,
        ),
    )
}
