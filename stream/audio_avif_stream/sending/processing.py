"""A source whose sound is processed before it is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from audio_avif.config import RATE_HZ, ProcessingConfig
from audio_avif.edge.processing import EchoReference, MicrophoneProcessor
from audio_avif.types import FloatArray
from audio_avif_stream.runtime.device_keeper import DeviceFigures
from audio_avif_stream.sending.capture import Block, Source, nothing_missing


class ProcessedSource:
    """A source through a processor; ``reference`` knows what this machine plays, which ``echo`` needs."""

    def __init__(
        self,
        source: Source,
        config: ProcessingConfig,
        reference: EchoReference | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Load the processor. Raises MissingPackage, ValueError for echo without a reference."""
        if config.echo and reference is None:
            raise ValueError("echo needs a reference")
        self._source = source
        self._reference = reference
        self._clock = clock  # of the reference too
        self._processor = MicrophoneProcessor(config)

    async def blocks(self, missing: Callable[[], int] = nothing_missing) -> AsyncIterator[Block]:
        """Yield the source's blocks, processed, with what they are later by in their age; at the end what is left."""
        processor, age_s = self._processor, 0.0
        async for block in self._source.blocks(lambda: processor.missing_samples(missing())):
            played, age_s = self._played_during(block), block.age_s
            samples = await asyncio.to_thread(processor.push, block.samples, played)
            if samples.size:
                yield Block(samples, age_s + processor.waiting_samples / RATE_HZ)
        if (rest := await asyncio.to_thread(processor.flush)).size:
            yield Block(rest, age_s)

    def _played_during(self, block: Block) -> FloatArray | None:
        if self._reference is None:
            return None
        captured_s = self._clock() - block.age_s - block.samples.size / RATE_HZ
        return self._reference.read(block.samples.size, captured_s)

    @property
    def device(self) -> DeviceFigures:
        """The figures of the source's device."""
        return self._source.device

    def close(self) -> None:
        """Close the source."""
        self._source.close()
