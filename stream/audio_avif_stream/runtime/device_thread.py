"""The thread that looks after a sound device: a sound system that hangs holds up nobody else."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic

from audio_avif.edge.portaudio import PORTAUDIO
from audio_avif.errors import DeviceError
from audio_avif_stream.runtime.awake import AwakeClock
from audio_avif_stream.runtime.device_keeper import DeviceKeeper, Kept

log = logging.getLogger(__name__)

_ANSWER_S = 15.0  # a sound system that takes longer to open a device does not work
_CLOSE_S = 2.0


class DeviceThread(Generic[Kept]):
    """Runs a keeper."""

    def __init__(self, keeper: DeviceKeeper[Kept]) -> None:
        """Open the device. Raises DeviceError, also where the sound system does not answer."""
        self.keeper = keeper
        self._clock = AwakeClock()
        self._orders: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]] = queue.SimpleQueue()
        self._is_started = False
        self._is_over = False
        threading.Thread(target=self._run, name=f"{keeper.kind} device", daemon=True).start()
        self._order(lambda: keeper.open(self._clock.now_s()), _ANSWER_S)

    def start(self) -> None:
        """Start the device, and look after it from now on. Raises DeviceError."""
        self._order(self._start, _ANSWER_S)

    def close(self) -> None:
        """Close the device, unless the sound system does not answer."""
        try:
            self._order(self._end, _CLOSE_S)
        except DeviceError as error:
            log.debug("%s", error)

    def _start(self) -> None:
        self.keeper.start(self._clock.now_s())
        self._is_started = True

    def _end(self) -> None:
        self._is_over = True
        self.keeper.close()

    def _order(self, order: Callable[[], None], patience_s: float) -> None:
        done: Future[None] = Future()
        self._orders.put((order, done))
        try:
            done.result(patience_s)
        except TimeoutError:
            PORTAUDIO.abandon()
            raise DeviceError(
                f"the sound system does not answer; restart it, or use a file: --{self.keeper.kind} FILE"
            ) from None

    def _run(self) -> None:
        while not self._is_over:
            try:
                order, done = self._orders.get(timeout=self.keeper.tick_s if self._is_started else None)
            except queue.Empty:
                self._tick()
                continue
            try:
                order()
            except Exception as error:  # it belongs to who gave the order
                done.set_exception(error)
            else:
                done.set_result(None)

    def _tick(self) -> None:
        try:
            self.keeper.tick(self._clock.now_s())
        except Exception as error:  # the user must learn of it
            log.debug("looking after a device failed", exc_info=True)
            self.keeper.fail(DeviceError(f"the {self.keeper.kind} device failed: {error}"))
