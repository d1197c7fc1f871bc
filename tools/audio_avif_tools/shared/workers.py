"""Threads that process several files, and the segments of each file, in parallel. Their number changes no result.

The slow steps, the image encoder and ONNX Runtime, release the interpreter lock.
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

_LOOK_S = 0.2  # between checks for Ctrl-C: on Windows a longer wait does not notice it


class Workers:
    """``count`` threads for the segments of ``files`` files; at most ``count`` files are open at a time.

    Its ``with`` block ends when all threads have finished writing.
    """

    def __init__(self, count: int, files: int = 1) -> None:
        if count < 1 or files < 1:
            raise ValueError("a pool needs at least one worker and one file")
        at_once = min(count, files)
        self._pieces = ThreadPoolExecutor(count)
        self._files = ThreadPoolExecutor(at_once)
        self._waiting_pieces = 1 + -(-count // at_once)  # per file: memory depends on the threads alone
        self._is_stopped = threading.Event()

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Yield ``function(item)`` for each item, in order; items are read only as they are needed."""
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
        """Raise CancelledError in the calling job where all jobs are to end."""
        if self._is_stopped.is_set():
            raise CancelledError

    def each(self, jobs: Sequence[Callable[[], _Result]]) -> list[_Result | AudioAvifError]:
        """Run the jobs, which may call ``map``; return their results, or the errors that ended them, in order."""
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
        """Wait for the threads; after an interruption each finishes its current segment first."""
        self._files.shutdown()
        self._pieces.shutdown()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
