"""``audio-avif-latency``: the delay from mouth to ear, stage by stage."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_avif import __version__
from audio_avif.config import MAX_TILE_FRAMES, MIN_TILE_FRAMES, EncoderConfig
from audio_avif.edge import console
from audio_avif.errors import FileError

if TYPE_CHECKING:
    from audio_avif_tools.latency.acoustic import Loop
    from audio_avif_tools.shared.loopback import StreamRecord

PROGRAM = "audio-avif-latency"
# The first tiles measure the start-up, not a running stream.
_SETTLING_TILES = 8
_SETTLING_S = 10.0
_DEVICE_KEYS = ("device_latency_ms", "device_asked_ms", "device_xruns")
_BUFFER_KEYS = ("buffer_ms", "target_ms", "target_raised_by")


def measure_stream(options: argparse.Namespace, on_tile: Callable[[dict[str, Any]], None]) -> StreamRecord:
    """Stream clicks and speech to a local receiver, or to the one at ``host``."""
    from audio_avif.edge.sound_files import WavWriter
    from audio_avif_tools.shared.loopback import run_stream
    from audio_avif_tools.shared.signals import clicks_and_speech

    with tempfile.TemporaryDirectory() as folder:
        sent = Path(folder) / "sent.wav"
        with WavWriter(sent) as wav:
            wav.write(clicks_and_speech(options.seconds))
        send = ["--input", str(sent), *_send_options(options)]
        if options.host is not None:
            return run_stream([*send, "--host", options.host, "--port", str(options.port)], None, on_tile)
        return run_stream(send, ["--output", str(Path(folder) / "heard.wav"), *_receive_options(options)], on_tile)


def _send_options(options: argparse.Namespace) -> list[str]:
    return ["--tile-frames", str(options.tile_frames), "--quality", str(options.quality)]


def _receive_options(options: argparse.Namespace) -> list[str]:
    given = {"--latency": options.latency, "--vocoder": options.vocoder, "--buffer-ms": options.buffer_ms}
    return [text for option, value in given.items() if value is not None for text in (option, str(value))]


def _loop(options: argparse.Namespace) -> Loop:
    from audio_avif_tools.latency.acoustic import Loop

    devices = (options.play_device, options.send_device, options.receive_device, options.record_device)
    return Loop(options.seconds, *devices, options.host, options.port)


def measure(options: argparse.Namespace) -> tuple[dict[str, Any], list[float]]:
    """Run the requested measurement with a progress bar; return the result and each delay in ms."""
    from rich.console import Console
    from rich.progress import Progress

    from audio_avif_tools.shared.delays import drift_ms, summarize

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("streaming", total=options.seconds * 62.5 / options.tile_frames)
        on_tile = lambda tile: progress.advance(task)  # noqa: E731
        if options.acoustic:
            from audio_avif_tools.latency.acoustic import measure_acoustic

            loop = _loop(options)
            record, delays_ms = measure_acoustic(loop, _send_options(options), _receive_options(options), on_tile)
        else:
            record, delays_ms = measure_stream(options, on_tile), []
    tiles = record.tiles[_SETTLING_TILES:] or record.tiles
    delays_ms = delays_ms or [tile["mouth_to_ear_ms"] for tile in tiles]
    result = summarize(tiles, delays_ms) | {
        "codec_kbps": record.summary["codec_kbps"],
        "wire_kbps": record.summary["wire_kbps"],
        "tile_frames": record.summary["tile_frames"],
        "lost_tiles": record.lost_tiles,
        "vocoder": record.summary["vocoder"],
    }
    result["drift_ms"] = drift_ms(delays_ms)
    result["stages_sum_ms"] = round(statistics.median(tile["mouth_to_ear_ms"] for tile in tiles), 2)
    result["input"] = {key: record.summary[key] for key in _DEVICE_KEYS}
    if record.receiver:
        result |= {key: record.receiver[key] for key in ("concealed_ms", "underruns")}
        playing = record.course[-2:][0]  # the last figures are those of the end, where the last tile comes late
        result |= {key: playing[key] for key in _BUFFER_KEYS}
        result["settled_underruns"] = record.settled_underruns(_SETTLING_S)
        result["output"] = {key: record.receiver[key] for key in _DEVICE_KEYS}
    return result, delays_ms


def describe_devices(result: dict[str, Any]) -> list[str]:
    """Lines on the devices' latencies and the jitter buffer, as they were at the end, for the user."""
    lines = []
    for way in ("input", "output"):
        device = result.get(way, {})
        if device.get("device_latency_ms") is not None:
            lines.append(
                "{} device {device_latency_ms:.0f} ms, asked for {device_asked_ms:.0f}, {device_xruns} xruns".format(
                    way, **device
                )
            )
    if "buffer_ms" in result:
        raised_by = f" (raised last by {result['target_raised_by']})" if result["target_raised_by"] else ""
        lines.append("buffer {buffer_ms:.0f} ms, target {target_ms:.0f}{}".format(raised_by, **result))
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Measure the delay from mouth to ear, stage by stage. By default a sender and a receiver are "
        "started here, and clicks and speech are streamed between them over loopback, paced in real time.",
        epilog="--acoustic needs a loudspeaker near the sender's microphone and a microphone near the receiver's "
        "loudspeaker; in one room a single microphone may hear both.",
    )
    _add_stream(parser)
    _add_receiver(parser)
    _add_acoustic(parser)
    parser.add_argument("--json", metavar="FILE|-", help="JSON file for the result (- for standard output)")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="PNG, SVG or PDF file for a plot of the stages and the delays"
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _add_stream(parser: argparse.ArgumentParser) -> None:
    """Add the options of the stream, and of a receiver elsewhere."""
    parser.add_argument("--host", help="host of a running audio-avif-recv to measure against")
    parser.add_argument("--port", type=console.port, default=8765, help="port of that receiver (default: 8765)")
    parser.add_argument(
        "--seconds",
        type=console.integer_in(2, 3600),
        default=20,
        metavar="N",
        help="length of the stream in seconds (default: 20)",
    )
    parser.add_argument(
        "--tile-frames",
        type=console.integer_in(MIN_TILE_FRAMES, MAX_TILE_FRAMES),
        default=8,
        metavar="N",
        help="frames of 16 ms per tile (default: 8)",
    )
    parser.add_argument(
        "--quality",
        type=console.integer_in(0, 100),
        default=EncoderConfig.quality,
        metavar="Q",
        help="AVIF quality (default: %(default)s)",
    )


def _add_receiver(parser: argparse.ArgumentParser) -> None:
    """Add the options of the receiver that is started here."""
    parser.add_argument(
        "--latency", choices=("low", "balanced", "safe"), help="the receiver's vocoder and buffer (default: balanced)"
    )
    parser.add_argument("--vocoder", metavar="NAME|PATH", help="the receiver's vocoder (default: by --latency)")
    parser.add_argument(
        "--buffer-ms",
        type=console.milliseconds,
        metavar="MS",
        help="the receiver's jitter buffer (default: by --latency)",
    )


def _add_acoustic(parser: argparse.ArgumentParser) -> None:
    """Add the options of a measurement with sound."""
    parser.add_argument(
        "--acoustic",
        action="store_true",
        help="measure with sound: play chirps and record them at the sender and at the receiver",
    )
    parser.add_argument(
        "--play-device", metavar="NAME", help="with --acoustic: device that plays the chirps to the sender's microphone"
    )
    parser.add_argument(
        "--send-device", metavar="NAME", help="with --acoustic: the sender's microphone, recorded as the reference"
    )
    parser.add_argument("--receive-device", metavar="NAME", help="with --acoustic: the receiver's loudspeaker")
    parser.add_argument(
        "--record-device", metavar="NAME", help="with --acoustic: microphone near the receiver's loudspeaker"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``audio-avif-latency``."""
    parser = _parser()
    options = parser.parse_args(arguments)
    for option, is_ignored in _ignored(options).items():
        if is_ignored:
            parser.error(option)
    with console.sigterm_interrupts():
        return console.run(PROGRAM, lambda: _run(options))


def _ignored(options: argparse.Namespace) -> dict[str, bool]:
    """Pairs of a message and whether the options have that conflict."""
    devices = (options.play_device, options.send_device, options.receive_device, options.record_device)
    is_elsewhere = options.host is not None
    return {
        "--latency, --vocoder and --buffer-ms do not reach a receiver at --host; set them there": is_elsewhere
        and any(option is not None for option in (options.latency, options.vocoder, options.buffer_ms)),
        "--receive-device does not reach a receiver at --host; set it there": is_elsewhere
        and options.receive_device is not None,
        "--plot needs a name that ends in .png, .svg or .pdf": options.plot is not None
        and options.plot.suffix.lower() not in (".png", ".svg", ".pdf"),
        "devices need --acoustic": not options.acoustic and any(device is not None for device in devices),
    }


def _run(options: argparse.Namespace) -> None:
    from audio_avif.edge.sound_files import require_writable
    from audio_avif_tools.shared.delays import plot, print_table, require_matplotlib

    console.log_to_stderr(PROGRAM)
    if options.plot is not None:
        require_matplotlib()
    for target in (options.json, options.plot):
        if target is not None and str(target) != "-":
            require_writable(target)
    result, delays_ms = measure(options)
    where = options.host or ("acoustic" if options.acoustic else "loopback")
    print_table(result, f"{where}, {result['tile_frames']}-frame tiles, {result['vocoder']}")
    print(
        "codec {codec_kbps:.2f} kbps, wire {wire_kbps:.2f} kbps, {lost_tiles} tiles lost or skipped".format(**result),
        file=sys.stderr,
    )
    if "underruns" in result:
        print("{concealed_ms} ms concealed, {underruns} underruns".format(**result), file=sys.stderr)
    for line in describe_devices(result):
        print(line, file=sys.stderr)
    if options.acoustic:
        heard_ms, sum_ms = result["mouth_to_ear"]["p50_ms"], result["stages_sum_ms"]
        print(f"heard after {heard_ms:.1f} ms; the stages add up to {sum_ms:.1f} ms", file=sys.stderr)
    if options.json is not None:
        _write_json(result, options.json)
    if options.plot is not None:
        plot(result, delays_ms, options.plot)


def _write_json(result: dict[str, Any], target: str) -> None:
    text = json.dumps(result, indent=2)
    if target == "-":
        print(text)
        return
    try:
        Path(target).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise FileError(f"{target} cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
