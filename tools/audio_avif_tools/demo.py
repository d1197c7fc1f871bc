"""``make demo``: a stream on one machine, with a table of its delays and a picture of the sent and received sound."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audio_avif import __version__
from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.edge import console
from audio_avif.edge.device_choice import list_devices
from audio_avif.edge.sound_files import read_audio
from audio_avif.errors import AudioAvifError, DeviceError, FileError
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import decode_still
from audio_avif.still.tiles import from_pixels
from audio_avif_tools.shared.delays import print_table, require_matplotlib, summarize
from audio_avif_tools.shared.loopback import Program, StreamRecord, run_stream
from audio_avif_tools.shared.signals import demo_clip, demo_clip_path

PROGRAM = "audio-avif demo"


def has_speaker() -> bool:
    """Return whether there is a default output device; print why not."""
    try:
        if any(device.is_default_output for device in list_devices()):
            return True
        print("no sound output device found; the sound goes to the WAV file only", file=sys.stderr)
    except DeviceError as error:
        print(f"no speaker: {error}", file=sys.stderr)
    return False


def stream(folder: Path, is_microphone: bool, seconds: float, quality: int) -> StreamRecord:
    """Run receiver and sender as two processes; write ``received.wav`` and ``tiles/`` into the folder."""
    from rich.console import Console
    from rich.progress import Progress

    receive = ["--output", str(folder / "received.wav"), "--save-tiles", str(folder / "tiles")]
    if has_speaker():
        receive = ["--output", "speaker", *receive]
    send = ["--input", "mic" if is_microphone else str(demo_clip_path()), "--quality", str(quality)]
    if not is_microphone:
        seconds = demo_clip().size / MelConfig().rate_hz
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("speak now" if is_microphone else "streaming", total=seconds)
        return run_stream(
            send,
            receive,
            lambda tile: progress.advance(task, TileConfig().frames * MelConfig().frame_s),
            on_sending=(lambda sender: _stop_after(sender, seconds)) if is_microphone else None,
        )


def _stop_after(sender: Program, seconds: float) -> None:
    def wait_and_stop() -> None:
        time.sleep(seconds)
        sender.stop()

    threading.Thread(target=wait_and_stop, daemon=True).start()


def draw(folder: Path, is_microphone: bool) -> Path:
    """Draw the sent sound, the received tiles and the decoded sound; return the picture's path."""
    from matplotlib.figure import Figure

    mel, tile = MelConfig(), TileConfig()
    stills = {int(path.stem[-6:]): path.read_bytes() for path in sorted((folder / "tiles").glob("*.avif"))}
    heard = log_mel(read_audio(folder / "received.wav"))
    frames = max(heard.shape[1], (max(stills) + 1) * tile.frames)
    tiles = np.full((mel.n_mels, frames), tile.log10_min, np.float32)
    for place, still in stills.items():
        at = place * tile.frames
        tiles[:, at : at + tile.frames] = from_pixels(decode_still(still, tile.frames, mel.n_mels), tile)
    panels = [] if is_microphone else [("sent: the sound before it is cut into tiles", log_mel(demo_clip()))]
    panels += [
        ("received: the tiles; black where a pause was sent as a few bytes", tiles),
        ("decoded: the sound that the vocoder made of the tiles", heard),
    ]
    figure = Figure(figsize=(11, 2.4 * len(panels)), layout="constrained")
    for axes, (title, picture) in zip(np.atleast_1d(figure.subplots(len(panels), 1, sharex=True)), panels, strict=True):
        extent = (0, picture.shape[1] * mel.frame_s, 0, mel.n_mels)
        axes.imshow(picture, origin="lower", aspect="auto", extent=extent, vmin=-4.5, vmax=0.5, cmap="magma")
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_ylabel("mel band")
    axes.set_xlabel("s")
    path = folder / "spectrograms.png"
    figure.savefig(path, dpi=110)
    return path


def report(record: StreamRecord) -> None:
    """Print rates, losses and the delay by stage."""
    result: dict[str, Any] = summarize(record.tiles, [tile["mouth_to_ear_ms"] for tile in record.tiles])
    print_table(result, f"mouth to ear, {record.summary['tile_frames']}-frame tiles, {record.summary['vocoder']}")
    print(
        f"codec {record.summary['codec_kbps']:.2f} kbps   wire {record.summary['wire_kbps']:.2f} kbps   "
        f"tiles lost {record.lost_tiles} of {record.summary['sent_tiles']}   underruns {record.receiver['underruns']}"
    )


def _run(options: argparse.Namespace) -> None:
    require_matplotlib()
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"the folder {options.folder} cannot be created: {error.strerror}") from error
    for old in (options.folder / "tiles").glob("*.avif"):
        old.unlink()
    if options.mic:
        print("wear headphones: with loudspeakers the microphone picks up the receiver and feeds back", file=sys.stderr)
    record = stream(options.folder, options.mic, options.seconds, options.quality)
    if not record.tiles:
        raise AudioAvifError("nothing was received; see the lines above")
    report(record)
    picture = draw(options.folder, options.mic)
    tiles = options.folder / "tiles"
    pictures = len(list(tiles.glob("*.avif")))
    print(f"sound    {options.folder / 'received.wav'}\npicture  {picture}")
    print(f"tiles    {tiles}/  ({pictures} pictures; pauses are sent as a few bytes)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m audio_avif_tools.demo``."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Stream a clip from a sender to a receiver on this machine."
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("demo"), help="folder for sound, picture and tiles (default: demo)"
    )
    parser.add_argument("--mic", action="store_true", help="stream from the microphone instead of the clip")
    parser.add_argument(
        "--seconds",
        type=console.integer_in(2, 600),
        default=10,
        metavar="N",
        help="with --mic: length in seconds (default: 10)",
    )
    parser.add_argument(
        "--quality",
        type=console.integer_in(0, 100),
        default=EncoderConfig.quality,
        metavar="Q",
        help="AVIF quality (default: %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    options = parser.parse_args(arguments)
    with console.sigterm_interrupts():
        return console.run(PROGRAM, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
