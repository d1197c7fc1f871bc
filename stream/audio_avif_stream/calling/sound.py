"""What the user's keys do to the sound of a call, and how loud it is."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import numpy as np

from audio_avif.types import FloatArray
from audio_avif_stream.receiving.outputs import Output, TeeOutput
from audio_avif_stream.runtime.device_keeper import DeviceFigures
from audio_avif_stream.sending.capture import Block, Source, nothing_missing

SILENT_DB = -99.0
TALK_S = 0.8
"""How long space opens the microphone: keyboards repeat a key that is held after at most 0.7 s."""

_STEP_DB = 3.0
_MIN_DB, _MAX_DB = -30.0, 12.0
_METER_BLOCKS = 64


class Controls:
    """Muting, push to talk and volume, as the keys set them; times are of any clock."""

    def __init__(self, is_push_to_talk: bool = False) -> None:
        self.is_muted = False
        self.volume_db = 0.0
        self._is_push_to_talk = is_push_to_talk
        self._talks_until_s = float("-inf")

    def press(self, key: str, now_s: float) -> None:
        """Take a key: ``m``, space, ``+`` or ``-``; others do nothing."""
        if key == "m":
            self.is_muted = not self.is_muted
        elif key == " ":
            self._talks_until_s = now_s + TALK_S
        elif key in "+-":
            step_db = _STEP_DB if key == "+" else -_STEP_DB
            self.volume_db = min(max(self.volume_db + step_db, _MIN_DB), _MAX_DB)

    def is_open(self, now_s: float) -> bool:
        """Whether the microphone is sent now."""
        return not self.is_muted and (not self._is_push_to_talk or now_s < self._talks_until_s)


class LevelMeter:
    """The level of the newest sound; one thread pushes, another reads."""

    def __init__(self) -> None:
        self._blocks: deque[tuple[float, int]] = deque(maxlen=_METER_BLOCKS)

    def push(self, samples: FloatArray) -> None:
        """Take ``[samples] float32``."""
        if samples.size:
            self._blocks.append((float(np.square(samples, dtype=np.float64).sum()), samples.size))

    def take_db(self) -> float:
        """The RMS in dB of full scale of what has come since the last call, SILENT_DB at least."""
        blocks = [self._blocks.popleft() for _ in range(len(self._blocks))]
        energy, count = (sum(part) for part in zip(*blocks, strict=True)) if blocks else (0.0, 0)
        return max(SILENT_DB, round(10 * float(np.log10(energy / count)), 1)) if energy else SILENT_DB


class ControlledSource:
    """A source that is silent while the controls say so; ``meter`` shows what is sent of it."""

    def __init__(self, source: Source, controls: Controls) -> None:
        self.meter = LevelMeter()
        self._source = source
        self._controls = controls

    async def blocks(self, missing: Callable[[], int] = nothing_missing) -> AsyncIterator[Block]:
        """Yield the source's blocks, or as much silence."""
        loop = asyncio.get_running_loop()
        async for block in self._source.blocks(missing):
            is_open = self._controls.is_open(loop.time())
            given = block if is_open else replace(block, samples=np.zeros_like(block.samples))
            self.meter.push(given.samples)
            yield given

    @property
    def device(self) -> DeviceFigures:
        """The figures of the source's device."""
        return self._source.device

    def close(self) -> None:
        """Close the source."""
        self._source.close()


class ControlledOutput(TeeOutput):
    """An output at the volume of the controls; ``meter`` shows what it plays."""

    def __init__(self, output: Output, controls: Controls) -> None:
        super().__init__([output])
        self.meter = LevelMeter()
        self._controls = controls

    def write(self, samples: FloatArray) -> None:
        """Queue samples at that volume; what exceeds full scale is clipped."""
        gain = np.float32(10 ** (self._controls.volume_db / 20))
        louder = samples if gain == 1 else np.clip(samples * gain, -1, 1)
        self.meter.push(louder)
        super().write(louder)
