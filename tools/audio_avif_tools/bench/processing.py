"""Processor time of encoding, decoding and resampling, on this machine and beside other codecs."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audio_avif.codec.decoder import Decoder
from audio_avif.codec.encoder import Encoder
from audio_avif.config import RATE_HZ, MelConfig, TileConfig
from audio_avif.edge.sound_files import WavWriter
from audio_avif.link.hello import Hello
from audio_avif.link.packets import TilePacket
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
from audio_avif_tools.bench.rows import Row
from audio_avif_tools.shared.programs import run_quietly

_BLOCK_SAMPLES = 256
_ROUNDS = 3


@dataclass(frozen=True)
class Models:
    """Exports of one HiFi-GAN: with state, and without it, to be fed context."""

    streaming: Path
    refed: Path


def _quantiles(seconds: Sequence[float]) -> tuple[float, float]:
    median, high = np.percentile(np.asarray(seconds) * 1e3, (50, 95))
    return float(median), float(high)


def export_speecht5_size(folder: Path) -> Models:
    """Make SpeechT5-size HiFi-GANs with random weights, which take the same time as the trained one."""
    models = Models(folder / "streaming.onnx", folder / "refed.onnx")
    module = "audio_avif_onnx.export.hifigan.untrained"
    run_quietly([sys.executable, "-P", "-m", module, str(models.streaming), str(models.refed)])
    return models


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
    part = sound[: 10 * RATE_HZ]
    refed_shares = [_share(part, open_stream(refed), 8) for _ in range(_ROUNDS)]
    for name in ("embedded", "embedded-low"):
        vocoder = load_vocoder(device="cpu", name=name)
        ratio = float(np.median([_share(part, open_stream(vocoder), 8) / refed_share for refed_share in refed_shares]))
        what = f"AVIF decoding and `{name}` against the HiFi-GAN with context, 8-frame tiles, ratio of times"
        rows.append(Row(what, f"{ratio:.3f}", "<= 0.10", ratio <= 0.10))
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
    share = _share(sound, vocoder, tile_frames)
    target, is_met = ("", None) if limit is None else (f"< {limit:.2f}", share < limit)
    return Row(f"AVIF decoding and {what}", f"{share:.3f}", target, is_met)


def _share(sound: FloatArray, vocoder: VocoderStream, tile_frames: int) -> float:
    """How long decoding a stream takes, as a share of the sound's length."""
    encoder = Encoder(tile=TileConfig(tile_frames))
    packets = [*encoder.push(sound), *encoder.flush()]
    decoder = Decoder(Hello(encoder.mel, encoder.tile, encoder.template, "bench", live=False), vocoder)
    began_s = time.perf_counter()
    for packet in packets:
        decoder.push(packet)
        while (frames := decoder.next_frames(0.0)) is not None:
            decoder.speak(frames)
    return (time.perf_counter() - began_s) * RATE_HZ / sound.size


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
        run_quietly(["opusenc", "--bitrate", "6", "--comp", "10", str(folder / "in.wav"), str(folder / "a.opus")])
        opus_encode_s = time.perf_counter() - began_s
        began_s = time.perf_counter()
        run_quietly(["opusdec", "--rate", "16000", str(folder / "a.opus"), str(folder / "out.wav")])
        opus_decode_s = time.perf_counter() - began_s
    return [
        Row("encoding against opusenc --comp 10 at 6 kbps, ratio of times", f"{ours_encode_s / opus_encode_s:.2f}"),
        Row(f"decoding with `{DEFAULT}` against opusdec, ratio of times", f"{ours_decode_s / opus_decode_s:.1f}"),
    ]
