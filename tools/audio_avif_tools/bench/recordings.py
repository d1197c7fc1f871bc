"""Time and memory of the file codec on one long recording, compared with opusenc and PNG with Griffin-Lim."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.edge.sound_files import WavWriter, read_audio
from audio_avif.errors import AudioAvifError
from audio_avif.metrics import SCORES
from audio_avif.types import FloatArray
from audio_avif_tools.bench.rows import Row

_PEER_S = 300  # Griffin-Lim is slow and takes much memory: it gets the first minutes, and its time is scaled
_SCORED_S = 10
_AUDIO_AVIF = [sys.executable, "-P", "-m", "audio_avif_tools.files.command"]


@dataclass(frozen=True)
class Codec:
    """The cost of one codec on a recording: seconds per hour of sound, peak resident MB, kbps, and scores."""

    name: str
    encode_s: float
    decode_s: float
    encode_mb: float
    decode_mb: float
    kbps: float
    scores: dict[str, float]


def bench_hour(sound: FloatArray, minutes: float) -> list[Row]:
    """Measure the file codec on a long recording, and other codecs on the same one."""
    rows = []
    for index, codec in enumerate(_codecs(sound, minutes)):
        limits = (40.0, 120.0, 500.0, 500.0) if index == 0 else (None,) * 4
        figures = (codec.encode_s, codec.decode_s, codec.encode_mb, codec.decode_mb)
        names = ("encoding, s per hour", "decoding, s per hour", "encoding, maximum MB", "decoding, maximum MB")
        for name, figure, limit in zip(names, figures, limits, strict=True):
            target, is_met = ("", None) if limit is None else (f"< {limit:.0f}", figure < limit)
            rows.append(Row(f"{codec.name}: {name}", f"{figure:.0f}", target, is_met))
        scores = f"{codec.kbps:.1f}; {codec.scores['pesq_wb']:.2f}; {codec.scores['stoi']:.3f}"
        rows.append(Row(f"{codec.name}: kbps of the whole file; PESQ-WB; STOI", scores))
    return rows


def _codecs(sound: FloatArray, minutes: float) -> list[Codec]:
    """Run each codec on ``minutes`` of repeated ``sound``, as whole programs that may use all cores."""
    seconds = 60 * minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long, part = folder / "long.wav", folder / "part.wav"
        for path, length_s in ((long, seconds), (part, min(seconds, _PEER_S))):
            with WavWriter(path) as wav:
                for start_s in range(0, round(length_s), 60):
                    minute = np.resize(np.roll(sound, -start_s * RATE_HZ), 60 * RATE_HZ)
                    wav.write(minute[: round((length_s - start_s) * RATE_HZ)])
        ours = [*_AUDIO_AVIF, str(long), "--output", str(folder / "long.avif"), "--quality", "70"]
        codecs = [
            _codec(
                "`audio-avif`, quality 70, `embedded-high`",
                long,
                folder / "long.avif",
                ours,
                [*_AUDIO_AVIF, str(folder / "long.avif"), "--output", str(folder / "ours.wav")],
                folder / "ours.wav",
            )
        ]
        if shutil.which("opusenc") and shutil.which("opusdec"):
            codecs.append(
                _codec(
                    "opusenc --comp 10 at 8 kbps",
                    long,
                    folder / "long.opus",
                    ["opusenc", "--quiet", "--bitrate", "8", "--comp", "10", str(long), str(folder / "long.opus")],
                    ["opusdec", "--quiet", "--rate", str(RATE_HZ), str(folder / "long.opus"), str(folder / "opus.wav")],
                    folder / "opus.wav",
                )
            )
        png = folder / "part.png"
        codecs.append(
            _codec(
                "mel in an 8-bit PNG, Griffin-Lim",
                part,
                png,
                [*_AUDIO_AVIF, "spectrogram", str(part), str(png), "--kind", "mel"],
                [*_AUDIO_AVIF, "invert", str(png), "--output", str(folder / "png.wav")],
                folder / "png.wav",
            )
        )
    return codecs


def _codec(name: str, source: Path, kept: Path, encode: list[str], decode: list[str], heard: Path) -> Codec:
    encode_s, encode_mb = measured(encode)
    decode_s, decode_mb = measured(decode)
    original = read_audio(source)
    seconds = original.size / RATE_HZ
    return Codec(
        name,
        encode_s * 3600 / seconds,
        decode_s * 3600 / seconds,
        encode_mb,
        decode_mb,
        8e-3 * kept.stat().st_size / seconds,
        _scores(original, read_audio(heard)),
    )


def _scores(original: FloatArray, heard: FloatArray) -> dict[str, float]:
    """Means over six windows of ten seconds, spread over the recording's first minutes."""
    length = min(original.size, heard.size, _PEER_S * RATE_HZ)
    starts = np.linspace(0, max(0, length - _SCORED_S * RATE_HZ), 6).astype(int)
    means = {}
    for key in ("pesq_wb", "stoi"):
        windows = [slice(start, min(length, start + _SCORED_S * RATE_HZ)) for start in starts]
        means[key] = float(np.nanmean([SCORES[key](original[window], heard[window]) for window in windows]))
    return means


def measured(command: list[str]) -> tuple[float, float]:
    """Run a program; return its seconds and its peak resident MB. Raises AudioAvifError where it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    peak_kb = 0
    with tempfile.TemporaryFile() as said:
        began_s = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
        while process.poll() is None:
            peak_kb = max(peak_kb, _peak_kb(process.pid))
            time.sleep(0.02)
        seconds = time.perf_counter() - began_s
        if process.returncode:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines()[-1:]
            raise AudioAvifError(f"{command[0]} failed: {''.join(last) or 'without a word'}")
    return seconds, peak_kb / 1e3


def _peak_kb(pid: int) -> int:
    """Read the kernel's high-water mark: a child's resource usage would start from that of this process."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0
