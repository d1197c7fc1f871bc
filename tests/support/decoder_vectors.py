"""The vectors under ``data/decoder``: what the decoder decides for packets that arrive in many ways.

The Python decoder and the web page's decoder are both held to them. A vector lists calls in order: ``push`` gives a
packet with its arrival time, ``ask`` tells the decoder how much sound is waiting, with the answer that it must give,
``end`` ends the stream, ``flush`` takes the last samples. ``totals`` are the counts after them. Tiles have the same
pixel value in all bands of a frame, and the noise does not fluctuate, so an answer needs one level per frame: the mean
over the bands.

``python -m support.decoder_vectors``, run in ``tests``, writes them anew. Do that only for an intended change of the
decoder's decisions, and look at what has changed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pytest

from audio_avif.codec import background, decoder
from audio_avif.codec.decoder import Decoder
from audio_avif.codec.playout import PlayoutConfig, Unsteadiness
from audio_avif.config import MelConfig
from audio_avif.errors import TileError
from audio_avif.link.messages import Bye
from audio_avif.link.packets import Bundle, MediaPacket, PausePacket, TilePacket
from audio_avif.types import FloatArray, Pixels
from support.paths import DATA
from support.stage import FRAME_S, HOP, MEL, FrameTeller, hello_of

FOLDER = DATA / "decoder"

Json = dict[str, Any]

_DAMAGED = 0xFF
_STEP_S = 0.005  # the driver looks at the sound that is left so often
_LATENCY_FRAMES = 3
_BROWSER = PlayoutConfig(min_s=0.06, conceal_at_s=0.035)
_IMPATIENT = PlayoutConfig(max_conceal_s=0.3, fade_s=0.2)


# Packets as JSON, and the decoder that takes them


class SteadyNoise:
    """Noise that does not fluctuate, which any language makes alike."""

    def __init__(self, mel: MelConfig) -> None:
        """Take what the real source takes."""

    def frames(self, envelope: FloatArray, count: int) -> FloatArray:
        """The envelope, ``count`` times."""
        return np.repeat(envelope[:, None], count, axis=1)


def _decode_still(still: bytes, width: int, height: int) -> Pixels:
    if still[-1] == _DAMAGED:
        raise TileError("damaged on purpose")
    return np.tile(np.frombuffer(still[-width:], np.uint8), (height, 1))


@contextmanager
def comparable() -> Iterator[None]:
    """Within it, tiles hold the pixels of their frames instead of pictures, and noise does not fluctuate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "decode_still", _decode_still)
        patch.setattr(background, "NoiseSource", SteadyNoise)
        yield


def open_decoder(vector: Json) -> Decoder:
    """The decoder that a vector is for."""
    teller = FrameTeller(vector["latency_samples"] // HOP)
    opened = Decoder(hello_of(vector["tile_frames"]), teller, PlayoutConfig(**vector["playout"]))
    opened.pacer.processing_s = vector["processing_s"]
    opened.pacer.unsteady = Unsteadiness(vector["unsteady_s"], vector["unsteady_s"])
    return opened


def _tile_of(values: Json, tile_frames: int) -> TilePacket:
    pixels = values["pixels"]
    payload = bytes([_DAMAGED] if pixels is None else pixels + pixels[-1:] * (tile_frames - len(pixels)))
    return TilePacket(values["sequence"], values["first_frame"], values["frames"], payload)


def _packet_of(values: Json, tile_frames: int) -> MediaPacket:
    if "levels" in values:
        packet: TilePacket | PausePacket = PausePacket(
            values["sequence"], values["first_frame"], values["frames"], bytes(values["levels"])
        )
    else:
        packet = _tile_of(values, tile_frames)
    copies = tuple(_tile_of(copy, tile_frames) for copy in values.get("copies", []))
    return Bundle(packet, copies) if copies else packet


def push(opened: Decoder, vector: Json, call: Json) -> None:
    """Carry out a ``push`` call."""
    opened.push(_packet_of(call["push"], vector["tile_frames"]), call["now_s"])


def ask(opened: Decoder, buffered_s: float, now_s: float) -> Json:
    """Ask for the next frames and speak them; return the answer as vectors hold it."""
    frames = opened.next_frames(buffered_s, now_s)
    answer: Json = {"urgent_s": round(opened.urgent_s, 6), "is_waiting": opened.is_waiting}
    if frames is None:
        return {**answer, "levels": None}
    chunk = opened.speak(frames)
    return {
        **answer,
        "tile": None if frames.tile is None else frames.tile.sequence,
        "silence_s": round(frames.silence_s, 6),
        "first_sample": chunk.first_sample,
        "samples": chunk.samples.size,
        "levels": [round(float(level), 3) for level in frames.log_mel.mean(axis=0)],
    }


def end(opened: Decoder, call: Json) -> None:
    """Carry out an ``end`` call."""
    opened.end(Bye(**call["end"]) if call["end"] else None)


def flush(opened: Decoder) -> Json:
    """Take the last samples; return their place and number."""
    chunk = opened.flush()
    return {"first_sample": chunk.first_sample, "samples": chunk.samples.size}


def totals(opened: Decoder) -> Json:
    """All counts of the decoder."""
    return {
        **asdict(opened.counts),
        "concealed_frames": opened.background.concealed_frames,
        "noise_frames": opened.background.noise_frames,
        "shortened_samples": round(opened.pacer.shortened_s * MEL.rate_hz),
        "lengthened_samples": round(opened.pacer.lengthened_s * MEL.rate_hz),
    }


# Scenarios


@dataclass
class Scenario:
    """A stream: its packets with their arrival times, in order, and the machine that plays it."""

    about: str
    arrivals: list[tuple[float, Json]]
    bye: Json | None = None
    ends: bool = True
    tile_frames: int = 8
    processing_s: float = 0.0
    unsteady_s: float = 0.025
    playout: PlayoutConfig = field(default_factory=PlayoutConfig)


_WORD = [42, 40, 41, 43, 150, 170, 180, 185]  # pixels of a tile that begins quietly


def tile(sequence: int, frames: int = 8, first_frame: int | None = None, is_damaged: bool = False) -> Json:
    """A tile of speech; every fourth one is as quiet as a gap between words."""
    first = sequence * frames if first_frame is None else first_frame
    numbers = range(first, first + frames)
    pixels = [40 + 13 * k % 10 if sequence % 4 == 3 else 150 + 37 * k % 40 for k in numbers]
    return {"sequence": sequence, "first_frame": first, "frames": frames, "pixels": None if is_damaged else pixels}


def pause(sequence: int, first_frame: int, frames: int = 8) -> Json:
    """A pause whose noise is louder in the low bands."""
    levels = [70, 64, 58, 52, 46, 40, 34, 28]
    return {"sequence": sequence, "first_frame": first_frame, "frames": frames, "levels": levels}


def on_time(packet: Json, late_s: float = 0.0, speed: float = 1.0) -> tuple[float, Json]:
    """The packet, as it leaves a sender once its last frame is captured, ``late_s`` later."""
    return round(20.0003 + (packet["first_frame"] + packet["frames"]) * FRAME_S / speed + late_s, 6), packet


def tiles(numbers: range, frames: int = 8) -> list[Json]:
    """Tiles of these sequence numbers."""
    return [tile(number, frames) for number in numbers]


def _with_copies(packets: list[Json]) -> list[Json]:
    """Each tile with copies of the two before it."""
    copies = [packets[max(0, i - 2) : i][::-1] for i in range(len(packets))]
    return [{**packet, "copies": older} for packet, older in zip(packets, copies, strict=True)]


def _pauses() -> list[Json]:
    spoken, first = tiles(range(8)), 8 * 8
    quiet = [pause(8 + i, first + 24 * i) for i in range(4)]
    later = [tile(12 + i, first_frame=first + 96 + 8 * i) for i in range(10)]
    return spoken + quiet[:2] + quiet[3:] + later


def scenarios() -> dict[str, Scenario]:
    """All of them by name."""
    rng = random.Random(7)
    plain = tiles(range(28))
    lossy = [packet for packet in plain if packet["sequence"] % 10 != 4]
    bursts = [packet for packet in plain if packet["sequence"] not in (5, 6, *range(11, 17), 22)]
    mixed = [on_time(packet, {10: 0.14, 15: 0.3}.get(packet["sequence"], 0.0)) for packet in plain[:24]]
    mixed += [on_time(packet, 0.01) for packet in plain[18:20]]
    stalled = [(max(at_s, 22.7) if packet["sequence"] >= 12 else at_s, packet) for at_s, packet in map(on_time, plain)]
    dropped = [on_time(packet, 0.0 if packet["sequence"] < 10 else 5.0) for packet in plain[:20]]
    wide, narrow = tiles(range(60), 32), tiles(range(60), 5)
    pause_alone = [*tiles(range(6)), pause(6, 48)]
    words = [*tiles(range(40)), pause(40, 320), pause(41, 344)]
    words += [tile(42 + i, first_frame=368 + 8 * i) | {"pixels": _WORD} for i in range(3)]
    short_last = {**tile(14), "frames": 3, "pixels": [150, 160, 170]}
    return {
        "quiet_path": Scenario("every packet on time", [on_time(packet) for packet in plain], ends=False),
        "punctual": Scenario(
            "a machine and a path on which all is punctual, but for one packet",
            [on_time(packet, 0.02 * (packet["sequence"] == 70)) for packet in tiles(range(90), 2)],
            tile_frames=2,
            unsteady_s=0.004,
        ),
        "jitter": Scenario("up to 90 ms late", [on_time(packet, rng.uniform(0, 0.09)) for packet in plain]),
        "loss": Scenario("one tile in ten lost", [on_time(packet) for packet in lossy]),
        "bursts": Scenario("two and six tiles lost in a row", [on_time(packet) for packet in bursts]),
        "damaged": Scenario(
            "tiles that do not decode", [on_time(tile(i, is_damaged=i in (6, 13, 14))) for i in range(20)]
        ),
        "order": Scenario("tiles swapped, repeated and late", sorted(mixed, key=lambda arrival: arrival[0])),
        "pauses": Scenario("pauses, one of them lost", [on_time(packet) for packet in _pauses()]),
        "word": Scenario(
            "noise was spoken for the first, quiet frame of a tile that comes late after a pause",
            [on_time(packet, 0.012 * (packet["sequence"] % 3 == 0)) for packet in words],
            unsteady_s=0.004,
        ),
        "pause_to_the_end": Scenario(
            "a pause after which nothing comes for long",
            [*map(on_time, pause_alone), (27.0, tile(7, first_frame=400))],
            playout=_IMPATIENT,
        ),
        "copies": Scenario(
            "one tile in five lost, and two copies beside each tile",
            [on_time(packet) for packet in _with_copies(plain) if packet["sequence"] % 5 != 2],
            playout=_BROWSER,
        ),
        "sender_fast": Scenario(
            "a clock that is 0.3 % fast", [on_time(packet, speed=1.003) for packet in wide], tile_frames=32
        ),
        "sender_slow": Scenario(
            "a clock that is 0.3 % slow", [on_time(packet, speed=0.997) for packet in wide], tile_frames=32
        ),
        "short_tiles": Scenario(
            "tiles of 5 frames, of which 12.5 last a second; the first comes late",
            [on_time(packet, 0.12 if packet["sequence"] == 0 else rng.uniform(0, 0.03)) for packet in narrow],
            tile_frames=5,
        ),
        "stall": Scenario("nothing for a second, then all at once", stalled, playout=_IMPATIENT),
        "silence": Scenario("nothing for five seconds", dropped, playout=_IMPATIENT),
        "slow_vocoder": Scenario(
            "50 ms of processing for each tile, tiles lost", [on_time(packet) for packet in bursts], processing_s=0.05
        ),
        "browser": Scenario(
            "a browser's buffer, with jitter and loss",
            [on_time(packet, 0.01 * (packet["sequence"] * 7 % 5)) for packet in lossy],
            processing_s=0.012,
            unsteady_s=0.02,
            playout=_BROWSER,
        ),
        "bye": Scenario(
            "an end within a frame, after a lost tile and a short one",
            [on_time(packet) for packet in [*plain[:12], tile(13), short_last]],
            bye={"tiles": 16, "samples": 14 * 8 * HOP + 700},
        ),
        "broken_off": Scenario(
            "an end without a bye, after a missing tile and a pause",
            [on_time(packet) for packet in [*plain[:8], pause(8, 64), pause(10, 88)]],
        ),
    }


# Recording


class _Driver:
    """Plays a scenario on a decoder and writes down every call."""

    def __init__(self, vector: Json) -> None:
        self._vector = vector
        self._decoder = open_decoder(vector)
        self._now_s = 20.0
        self._until_s = 0.0
        self.calls: list[Json] = []

    @property
    def _buffered_s(self) -> float:
        return round(max(0.0, self._until_s - self._now_s), 6)

    def arrive(self, at_s: float, packet: Json) -> None:
        self.run_until(at_s)
        call = {"push": packet, "now_s": self._now_s}
        push(self._decoder, self._vector, call)
        self.calls.append(call)
        self._speak()

    def run_until(self, at_s: float) -> None:
        while self._now_s < at_s:
            self._now_s = round(min(self._now_s + _STEP_S, at_s), 6)
            if not self._decoder.is_waiting and self._buffered_s <= self._decoder.urgent_s:
                self._speak()

    def _speak(self) -> None:
        levels: list[float] | None = []
        while levels is not None:
            call = {"ask": {"buffered_s": self._buffered_s, "now_s": self._now_s}}
            answer = ask(self._decoder, **call["ask"])
            self.calls.append({**call, "answer": answer})
            levels = answer["levels"]
            if levels is not None:
                silent_until_s = max(self._until_s, self._now_s) + answer["silence_s"]
                self._until_s = silent_until_s + answer["samples"] / MEL.rate_hz

    def finish(self, bye: Json | None) -> None:
        call = {"end": bye}
        end(self._decoder, call)
        self.calls.append(call)
        self._speak()
        self.calls.append({"flush": flush(self._decoder)})

    def totals(self) -> Json:
        return totals(self._decoder)


def record(scenario: Scenario) -> Json:
    """Play a scenario on the Python decoder; return the vector."""
    vector: Json = {
        "about": scenario.about,
        "tile_frames": scenario.tile_frames,
        "latency_samples": _LATENCY_FRAMES * HOP,
        "processing_s": scenario.processing_s,
        "unsteady_s": scenario.unsteady_s,
        "playout": asdict(scenario.playout),
    }
    with comparable():
        driver = _Driver(vector)
        for at_s, packet in scenario.arrivals:
            driver.arrive(at_s, packet)
        driver.run_until(round(scenario.arrivals[-1][0] + 0.2, 6))
        if scenario.ends:
            driver.finish(scenario.bye)
        return {**vector, "calls": driver.calls, "totals": driver.totals()}


def load(name: str) -> Json:
    """The vector of this name."""
    vector: Json = json.loads((FOLDER / f"{name}.json").read_text())
    return vector


def to_text(vector: Json) -> str:
    """A vector as a file holds it: a line for each call."""
    head = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in vector.items() if key != "calls")
    calls = ",\n".join(f"  {json.dumps(call, separators=(',', ':'))}" for call in vector["calls"])
    return f'{{\n{head},\n "calls": [\n{calls}\n ]\n}}\n'


def write() -> None:
    """Write all vectors."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, scenario in scenarios().items():
        (FOLDER / f"{name}.json").write_text(to_text(record(scenario)))


if __name__ == "__main__":
    write()
