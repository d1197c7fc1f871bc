"""What all streams of one receiver share: where they are played, what is kept of them, and what peers may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from audio_avif.codec.playout import PlayoutConfig
from audio_avif.vocoders.protocol import Vocoder
from audio_avif_stream.receiving.outputs import Output
from audio_avif_stream.receiving.saving import Saver
from audio_avif_stream.receiving.stream_recording import Recorder
from audio_avif_stream.serving.admission import Complaints
from audio_avif_stream.serving.security import Limits
from audio_avif_stream.telemetry.live_line import JsonLines, TextLine

if TYPE_CHECKING:
    from audio_avif_stream.receiving.web_view import WebView
    from audio_avif_stream.telemetry.watch import Watch


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
