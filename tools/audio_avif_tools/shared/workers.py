"""Files worked on side by side, and the pieces of each of them too, by threads whose number changes no result.

What takes long, image encoder and ONNX Runtime, leaves the interpreter to the other threads meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from audio_avif.errors import AudioAvifError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_LOOK_S = 0.2  # how often Ctrl-C is looked for: on Windows nothing that waits for longer hears it


class Workers:
    """``count`` threads for the pieces of ``files`` files, of which as many are open at a time.

    A ``with`` block around it ends when all threads have put away what they were writing.
    """

    def __init__(self, count: int, files: int = 1) -> None:
        if count < 1 or files < 1:
            raise ValueError("there must be a worker and a file")
        at_once = min(count, files)
        self._pieces = ThreadPoolExecutor(count)
        self._files = ThreadPoolExecutor(at_once)
        self._waiting_pieces = 1 + -(-count // at_once)  # of each file, so that memory depends on the count alone
        self._is_stopped = threading.Event()

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Yield ``function(item)`` of each item, in order; items are taken only as they are needed."""
        waiting: deque[Future[_Result]] = deque()
        try:
            for item in items:
                if len(waiting) == self._waiting_pieces:
                    yield self._first(waiting)
                waiting.append(self._pieces.submit(function, item))
            while waiting:
                yield self._first(waiting)
        finally:
            for future in waiting:
                future.cancel()

    def _first(self, waiting: deque[Future[_Result]]) -> _Result:
        result = waiting.popleft().result()
        self.check()
        return result

    def check(self) -> None:
        """End the job that calls this where all shall end. Raises CancelledError."""
        if self._is_stopped.is_set():
            raise CancelledError

    def each(self, jobs: Sequence[Callable[[], _Result]]) -> list[_Result | AudioAvifError]:
        """Do the jobs, each of which may ``map``; return in order what they return, or the error that ended them."""
        futures = [self._files.submit(job) for job in jobs]
        left: set[Future[_Result]] = set(futures)
        try:
            while left:
                done, left = wait(left, timeout=_LOOK_S)
                for future in done:
                    if not isinstance(future.exception(), AudioAvifError | None):
                        future.result()
        except BaseException:
            self._is_stopped.set()
            self._files.shutdown(wait=False, cancel_futures=True)
            raise
        errors = [future.exception() for future in futures]
        return [
            error if isinstance(error, AudioAvifError) else future.result()
            for future, error in zip(futures, errors, strict=True)
        ]

    def close(self) -> None:
        """Wait for the threads; after an interruption each ends with the piece it is at."""
        self._files.shutdown()
        self._pieces.shutdown()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
