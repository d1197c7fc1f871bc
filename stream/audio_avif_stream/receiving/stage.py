"""What all streams of one receiver share: where they are played, what is kept of them, and what peers may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from audio_avif.codec.decoder import Frames
from audio_avif.codec.playout import PlayoutConfig
from audio_avif.link.hello import Hello
from audio_avif.link.packets import MediaPacket
from audio_avif.vocoders.protocol import Vocoder
from audio_avif_stream.receiving.outputs import Output
from audio_avif_stream.receiving.saving import Saver
from audio_avif_stream.receiving.stream_recording import Recorder
from audio_avif_stream.receiving.tile_folder import TileFolder
from audio_avif_stream.serving.admission import Complaints
from audio_avif_stream.serving.security import Limits
from audio_avif_stream.telemetry.live_line import JsonLines, TextLine

if TYPE_CHECKING:
    from audio_avif_stream.receiving.web_view import WebView
    from audio_avif_stream.telemetry.watch import Watch


@dataclass(frozen=True)
class StreamRecords:
    """The tiles of one stream in a folder, its picture, and the display of its frames.

    ``on_frames`` is called with all frames that are spoken, in the thread that speaks them.
    """

    tiles: TileFolder
    saver: Saver
    on_frames: Callable[[Frames], None] = lambda frames: None

    def begin(self, hello: Hello) -> None:
        """Begin the stream."""
        self.saver.begin(hello)

    def arrive(self, packet: MediaPacket) -> None:
        """Take a packet as it came."""
        self.tiles.push(packet)

    def speak(self, frames: Frames) -> None:
        """Take frames as they are spoken."""
        self.saver.push(frames.log_mel)
        self.on_frames(frames)

    def end(self, samples: int) -> None:
        """End the stream, of which so many samples were played; the second call does nothing."""
        self.saver.end(samples)


@dataclass(frozen=True)
class Stage:
    """Where the streams of one receiver are played, what is kept and shown of them, and what limits their peers.

    ``resume_s`` is how long a stream whose connection is lost waits for its sender.
    """

    vocoder: Vocoder
    output: Output
    playout: PlayoutConfig
    live_line: TextLine
    stats_json: JsonLines
    save_tiles: Path | None = None
    recorder: Recorder | WebView = field(default_factory=lambda: Recorder(None))
    complaints: Complaints = field(default_factory=Complaints)
    limits: Limits = field(default_factory=Limits)
    resume_s: float = 60.0
    saver: Saver = field(default_factory=lambda: Saver(None))
    watch: Watch | None = None

    def records_of(self, hello: Hello, number: int) -> StreamRecords:
        """What is kept and shown of the stream with this number."""
        records = StreamRecords(TileFolder(self.save_tiles, number, hello), self.saver)
        return records if self.watch is None else replace(records, on_frames=self.watch.begin(hello))
