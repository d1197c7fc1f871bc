"""``make bench``: measures speed, delay and memory on this machine and writes ``docs/measurements/bench.md``."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audio_avif import __version__
from audio_avif.codec.decoder import Decoder
from audio_avif.codec.encoder import Encoder
from audio_avif.config import RATE_HZ, MelConfig, TileConfig
from audio_avif.edge import console
from audio_avif.edge.sound_files import WavWriter, read_audio
from audio_avif.errors import AudioAvifError
from audio_avif.link.messages import Hello, TilePacket
from audio_avif.signal.features import LogMelStream
from audio_avif.signal.resampling import Resampler
from audio_avif.still.avif import decode_still, encode_still
from audio_avif.still.tiles import TileCutter, from_pixels
from audio_avif.types import FloatArray
from audio_avif.vocoders.griffin_lim import RtisiLa
from audio_avif.vocoders.onnx_model import OnnxVocoder
from audio_avif.vocoders.protocol import VocoderStream
from audio_avif.vocoders.registry import DEFAULT, load_vocoder
from audio_avif.vocoders.streaming import open_stream
from audio_avif_tools.bench.call import bench_call
from audio_avif_tools.bench.recordings import bench_files
from audio_avif_tools.bench.rows import Row
from audio_avif_tools.shared.clips import clean_clips
from audio_avif_tools.shared.loopback import run_stream
from audio_avif_tools.shared.machine import machine
from audio_avif_tools.shared.pages import paragraph, read_block, replace_block
from audio_avif_tools.shared.signals import demo_clip
from audio_avif_tools.shared.virtual_sound_card import VirtualSoundCard

PROGRAM = "audio-avif bench"
COMMAND = "make bench"
PAGE = Path("docs/measurements/bench.md")
_BLOCK_SAMPLES = 256


@dataclass(frozen=True)
class Models:
    """Exports of one HiFi-GAN: with state, and without it, to be fed context."""

    streaming: Path
    refed: Path


def _quantiles(seconds: Sequence[float]) -> tuple[float, float]:
    median, high = np.percentile(np.asarray(seconds) * 1e3, (50, 95))
    return float(median), float(high)


def bench_encode(sound: FloatArray) -> list[Row]:
    """Time features, tiling and AVIF for each 8-frame tile on one thread's wall clock."""
    encoder, frames = Encoder(), LogMelStream()
    cutter = TileCutter(encoder.mel.n_mels, encoder.tile)
    times: dict[str, list[float]] = {"features": [], "tile": [], "AVIF": [], "template": []}
    features_s = 0.0
    for start in range(0, sound.size, _BLOCK_SAMPLES):
        t0 = time.perf_counter()
        columns = frames.push(sound[start : start + _BLOCK_SAMPLES])
        t1 = time.perf_counter()
        features_s += t1 - t0
        for tile in cutter.push(columns):
            t2 = time.perf_counter()
            still = encode_still(tile.pixels, encoder.encoder)
            t3 = time.perf_counter()
            encoder.template.strip(still)
            t4 = time.perf_counter()
            for name, seconds in zip(times, (features_s, t2 - t1, t3 - t2, t4 - t3), strict=True):
                times[name].append(seconds)
            features_s = 0.0
    whole = np.sum(list(times.values()), axis=0)
    median, high = _quantiles(whole)
    parts = ", ".join(f"{name} {_quantiles(seconds)[0]:.2f}" for name, seconds in times.items())
    return [
        Row(f"encode path, ms per 8-frame tile, p50 / p95 ({parts})", f"{median:.2f} / {high:.2f}", "p95 < 3", high < 3)
    ]


def bench_receive(sound: FloatArray, models: Models) -> list[Row]:
    """Time AVIF decoding and the vocoder on one thread, as a share of the sound's length."""
    rows = [_receive_row("RTISI-LA, 8-frame tiles", sound, RtisiLa(MelConfig()), 8, 0.10)]
    for name in ("embedded", "embedded-low"):
        for tile_frames in (8, 4, 2):
            stream = open_stream(load_vocoder(device="cpu", name=name))
            rows.append(_receive_row(f"`{name}`, {tile_frames}-frame tiles", sound, stream, tile_frames, 0.05))
    streaming, refed = (OnnxVocoder(path, provider="cpu") for path in (models.streaming, models.refed))
    for tile_frames, limit in ((16, None), (8, 0.30), (4, None), (2, None)):
        what = f"SpeechT5-size HiFi-GAN, {tile_frames}-frame tiles"
        rows.append(_receive_row(what, sound[: 20 * RATE_HZ], open_stream(streaming), tile_frames, limit))
    for tile_frames, limit in ((8, 0.62), (4, 0.48)):
        ratio = time_ratio(open_stream(streaming), open_stream(refed), tile_frames)
        what = f"SpeechT5-size HiFi-GAN with state against {refed.info.context_frames} frames of context, "
        what += f"{tile_frames}-frame tiles, ratio of times"
        rows.append(Row(what, f"{ratio:.3f}", f"<= {limit:.2f}", ratio <= limit))
    return rows


def time_ratio(one: VocoderStream, other: VocoderStream, tile_frames: int, tiles: int = 60) -> float:
    """The median of one vocoder's processor time for a tile over the other's, both fed the same noise in turn."""
    random = np.random.default_rng(0)
    ratios = []
    for _ in range(tiles):
        log_mel = random.uniform(-6.0, 1.0, (MelConfig().n_mels, tile_frames)).astype(np.float32)
        times = []
        for stream in (one, other):
            began_s = time.thread_time()
            stream.push(log_mel)
            times.append(time.thread_time() - began_s)
        ratios.append(times[0] / times[1])
    return float(np.median(ratios[tiles // 4 :]))  # the first calls fill the context and warm up


def _receive_row(what: str, sound: FloatArray, vocoder: VocoderStream, tile_frames: int, limit: float | None) -> Row:
    encoder = Encoder(tile=TileConfig(tile_frames))
    packets = [*encoder.push(sound), *encoder.flush()]
    decoder = Decoder(Hello(encoder.mel, encoder.tile, encoder.template, "bench", live=False), vocoder)
    began_s = time.perf_counter()
    for packet in packets:
        decoder.push(packet)
        while (frames := decoder.next_frames(0.0)) is not None:
            decoder.speak(frames)
    share = (time.perf_counter() - began_s) * RATE_HZ / sound.size
    target, is_met = ("", None) if limit is None else (f"< {limit:.2f}", share < limit)
    return Row(f"AVIF decoding and {what}", f"{share:.3f}", target, is_met)


def bench_resampling() -> list[Row]:
    """Measure the largest delay of each resampler from 48 kHz to 16 kHz, in blocks of 8 ms."""
    import soxr

    block = np.zeros(384, np.float32)

    def worst_ms(push: Callable[[FloatArray], FloatArray]) -> float:
        pushed, made, worst = 0, 0, 0.0
        for _ in range(1000):
            pushed += block.size
            made += push(block).size
            worst = max(worst, pushed / 48.0 - made / 16.0)
        return worst

    ours = worst_ms(Resampler(48_000, RATE_HZ).push)
    streams = {name: soxr.ResampleStream(48_000, RATE_HZ, 1, dtype="float32", quality=name) for name in ("HQ", "MQ")}
    theirs = {name: worst_ms(stream.resample_chunk) for name, stream in streams.items()}
    figures = " / ".join(f"{ms:.0f}" for ms in (ours, *theirs.values()))
    return [Row("worst delay of live resampling from 48 kHz, ms: ours / libsoxr HQ / libsoxr MQ", figures)]


def bench_peers(sound: FloatArray) -> list[Row]:
    """Time opusenc and opusdec on the same sound, as whole processes including their start-up."""
    if not (shutil.which("opusenc") and shutil.which("opusdec")):
        return [Row("opusenc and opusdec (Debian opus-tools) are not installed", "")]
    encoder = Encoder()
    began_s = time.perf_counter()
    packets = [each for each in (*encoder.push(sound), *encoder.flush()) if isinstance(each, TilePacket)]
    ours_encode_s = time.perf_counter() - began_s
    stills = [packet.still(encoder.template) for packet in packets]
    vocoder = open_stream(load_vocoder(device="cpu", name=DEFAULT))
    began_s = time.perf_counter()
    for still in stills:
        vocoder.push(from_pixels(decode_still(still, encoder.tile.frames, encoder.mel.n_mels), encoder.tile))
    ours_decode_s = time.perf_counter() - began_s
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with WavWriter(folder / "in.wav") as wav:
            wav.write(sound)
        began_s = time.perf_counter()
        _quiet(["opusenc", "--bitrate", "6", "--comp", "10", str(folder / "in.wav"), str(folder / "a.opus")])
        opus_encode_s = time.perf_counter() - began_s
        began_s = time.perf_counter()
        _quiet(["opusdec", "--rate", "16000", str(folder / "a.opus"), str(folder / "out.wav")])
        opus_decode_s = time.perf_counter() - began_s
    return [
        Row("encoding against opusenc --comp 10 at 6 kbps, ratio of times", f"{ours_encode_s / opus_encode_s:.2f}"),
        Row(f"decoding with `{DEFAULT}` against opusdec, ratio of times", f"{ours_decode_s / opus_decode_s:.1f}"),
    ]


def _quiet(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise AudioAvifError(f"{command[0]} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")


def export_speecht5_size(folder: Path) -> Models:
    """Make SpeechT5-size HiFi-GANs with random weights, which take the same time as the trained one."""
    models = Models(folder / "streaming.onnx", folder / "refed.onnx")
    module = "audio_avif_onnx.export.hifigan.untrained"
    _quiet([sys.executable, "-P", "-m", module, str(models.streaming), str(models.refed)])
    return models


def bench_acoustic(seconds: int) -> list[Row]:
    """Measure the delay from a virtual microphone to a virtual loudspeaker."""
    if (reason := VirtualSoundCard.missing()) is not None:
        return [Row(reason, "")]
    rows = []
    for latency, tile_frames, limit_ms in (("balanced", 8, 300), ("balanced", 4, 220), ("low", 4, None)):
        with VirtualSoundCard() as card, tempfile.TemporaryDirectory() as name:
            json_file = Path(name) / "latency.json"
            command = [
                sys.executable,
                "-P",
                "-m",
                "audio_avif_tools.latency.command",
                "--acoustic",
                "--seconds",
                str(seconds),
            ]
            devices = ["--play-device", "mouth", "--send-device", "mouth_mic"]
            devices += ["--receive-device", "ear", "--record-device", "ear_mic"]
            command += [*devices, "--tile-frames", str(tile_frames), "--latency", latency, "--json", str(json_file)]
            _quiet(command, card.env)
            result = json.loads(json_file.read_text())
        delay, underruns = result["mouth_to_ear"], result["underruns"]
        rows += [
            Row(
                f"acoustic loop, --latency {latency}, {tile_frames}-frame tiles, ms, p50 / p95 / p99",
                " / ".join(f"{delay[f'p{p}_ms']:.0f}" for p in (50, 95, 99)),
                "" if limit_ms is None else f"p95 <= {limit_ms}",
                None if limit_ms is None else delay["p95_ms"] <= limit_ms,
            ),
            Row(
                f"underruns in those {seconds} s; tiles lost",
                f"{underruns}; {result['lost_tiles']}",
                "0",
                underruns == 0,
            ),
        ]
    return rows


@contextmanager
def _watch_memory(seen: dict[str, list[tuple[float, float]]]) -> Iterator[None]:
    """Record the resident memory in MB of each stream program once a second."""
    import psutil

    stop = threading.Event()

    def watch() -> None:
        began_s = time.monotonic()
        while not stop.wait(1.0):
            for process in psutil.Process().children():
                try:
                    program = next(
                        (p for p in ("send", "recv") if f"audio_avif_stream.commands.{p}" in process.cmdline()), None
                    )
                    if program is not None:
                        megabytes = process.memory_info().rss / 1e6
                        seen.setdefault(program, []).append((time.monotonic() - began_s, megabytes))
                except psutil.Error:
                    continue

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def bench_memory(model: Path, minutes: float, sound: FloatArray) -> list[Row]:
    """Measure the resident memory of both programs over a long stream with a SpeechT5-size model."""
    seen: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        long = Path(name) / "long.wav"
        with WavWriter(long) as wav:
            for _ in range(max(1, round(minutes * 60 * RATE_HZ / sound.size))):
                wav.write(sound)
        with _watch_memory(seen):
            receive = ["--output", str(Path(name) / "heard.wav"), "--vocoder", str(model)]
            record = run_stream(["--input", str(long)], receive, lambda tile: None)
    rows = []
    for program, limit in (("send", 150), ("recv", 300)):
        settled = [megabytes for at_s, megabytes in seen[program] if at_s > 30] or [m for _, m in seen[program]]
        growth = float(np.mean(settled[-10:]) - np.mean(settled[:10]))
        rows.append(
            Row(f"audio-avif-{program}, maximum MB resident", f"{max(settled):.0f}", f"< {limit}", max(settled) < limit)
        )
        rows.append(
            Row(
                f"audio-avif-{program}, MB grown from 30 s to {minutes:g} min",
                f"{growth:+.1f}",
                "flat (< 5)",
                growth < 5,
            )
        )
    receiver = record.receiver
    rows.append(
        Row(
            "that stream's tiles lost; underruns; ms concealed",
            f"{receiver['lost_tiles']}; {receiver['underruns']}; {receiver['concealed_ms']}",
        )
    )
    return rows


def bench_hour(sound: FloatArray, minutes: float) -> list[Row]:
    """Measure the file codec on a long recording, and other codecs on the same one."""
    rows = []
    for index, codec in enumerate(bench_files(sound, minutes)):
        limits = (40.0, 120.0, 500.0, 500.0) if index == 0 else (None,) * 4
        figures = (codec.encode_s, codec.decode_s, codec.encode_mb, codec.decode_mb)
        names = ("encoding, s per hour", "decoding, s per hour", "encoding, maximum MB", "decoding, maximum MB")
        for name, figure, limit in zip(names, figures, limits, strict=True):
            target, is_met = ("", None) if limit is None else (f"< {limit:.0f}", figure < limit)
            rows.append(Row(f"{codec.name}: {name}", f"{figure:.0f}", target, is_met))
        scores = f"{codec.kbps:.1f}; {codec.scores['pesq_wb']:.2f}; {codec.scores['stoi']:.3f}"
        rows.append(Row(f"{codec.name}: kbps of the whole file; PESQ-WB; STOI", scores))
    return rows


def write_page(sections: dict[str, list[Row]], source: str, path: Path) -> None:
    """Write the tables; sections of an earlier page that were not measured again stay."""
    earlier = read_block(path, COMMAND).split("\n## ")[1:]
    texts = {title: text.rstrip() for title, _, text in (section.partition("\n") for section in earlier)}
    for title, rows in sections.items():
        table = ["| what | measured | target | met |", "|---|---|---|---|", *(row.cells() for row in rows)]
        texts[title] = "\n".join(["", *table])
    date = time.strftime("%Y-%m-%d", time.gmtime())
    head = paragraph(f"Measured by `{COMMAND}` on {date}: {machine()}. Sound: {source}.")
    lines = [head, *(f"\n## {title}\n{text}" for title, text in texts.items())]
    replace_block(path, COMMAND, "\n".join(lines), "Speed, delay and memory")


def _run(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import Progress

    clips = clean_clips(options.corpus)[:8]
    sound = np.concatenate([read_audio(clip) for clip in clips]) if clips else np.resize(demo_clip(), 60 * RATE_HZ)
    source = f"{len(clips)} clips of real speech" if clips else "the bundled synthetic clip"
    sections: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as name, Progress(console=Console(stderr=True)) as progress:
        models = export_speecht5_size(Path(name))
        steps: list[tuple[str, str, Callable[[], list[Row]]]] = [
            ("Sending", "sending", lambda: [*bench_encode(sound), *bench_resampling()]),
            (
                "Receiving, one thread, share of real time",
                "receiving",
                lambda: bench_receive(sound, models),
            ),
            ("Beside Opus, in the same run", "peers", lambda: bench_peers(sound)),
            ("Mouth to ear", "delay", lambda: bench_acoustic(options.acoustic_seconds)),
            ("A call", "call", lambda: bench_call(options.acoustic_seconds)),
            ("Memory", "memory", lambda: bench_memory(models.streaming, options.minutes, sound)),
            ("Files, all cores", "files", lambda: bench_hour(sound, options.file_minutes)),
        ]
        steps = [step for step in steps if options.only in (None, step[1])]
        task = progress.add_task("bench", total=len(steps))
        for title, step, measure in steps:
            progress.update(task, description=step)
            sections[title] = measure()
            progress.advance(task)
            for row in sections[title]:
                progress.console.print(row.cells(), markup=False)
    write_page(sections, source, options.output)
    print(f"written to {options.output}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m audio_avif_tools.bench.command``."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=f"Measure speed, delay and memory, and write {PAGE}.")
    parser.add_argument("--output", type=Path, default=PAGE, help="the page to write (default: %(default)s)")
    parser.add_argument("--corpus", type=Path, help="folder of speech clips to use in place of the bundled one")
    parser.add_argument(
        "--only",
        choices=("sending", "receiving", "peers", "delay", "call", "memory", "files"),
        help="measure only this section and keep the others of the page",
    )
    parser.add_argument("--minutes", type=float, default=10, help="length of the memory run in minutes (default: 10)")
    parser.add_argument(
        "--file-minutes", type=float, default=60, help="length of the file codec's recording in minutes (default: 60)"
    )
    parser.add_argument(
        "--acoustic-seconds",
        type=console.integer_in(5, 600),
        default=60,
        metavar="N",
        help="length of each acoustic run in seconds (default: 60)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    options = parser.parse_args(arguments)
    if options.corpus is not None and not options.corpus.is_dir():
        parser.error(f"there is no folder {options.corpus}")
    with console.sigterm_interrupts():
        return console.run(PROGRAM, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
