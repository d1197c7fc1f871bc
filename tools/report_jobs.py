"""Jobs run in processes of their own, their results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

from audio_avif.errors import AudioAvifError


class Job(Protocol):
    """Something that can be sent to another process and run there."""

    def run(self) -> Any:
        """What is asked for."""


def run_jobs(jobs: Sequence[Job], workers: int, progress: Callable[[int], None]) -> Iterator[Any]:
    """Results in the order of the jobs, from that many processes; with one worker from this one.

    ``progress`` is told how many are done. Raises what a job raises, AudioAvifError where a process dies.
    """
    if workers == 1 or len(jobs) < 2:
        for done, job in enumerate(jobs):
            result = job.run()
            progress(done + 1)
            yield result
        return
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(min(workers, len(jobs)), multiprocessing.get_context("spawn"), initializer=_begin_worker)
    try:
        futures = [pool.submit(job.run) for job in jobs]
        for done, future in enumerate(as_completed(futures)):
            future.result()
            progress(done + 1)
        yield from (future.result() for future in futures)
    except BrokenProcessPool as error:
        raise AudioAvifError("a process that measured died, perhaps for want of memory; try fewer --workers") from error
    finally:
        # Whoever leaves early does not wait for jobs under way, nor for those that the pool has taken in advance.
        for worker in multiprocessing.active_children():
            if worker not in others:
                worker.terminate()
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Of a parent that was killed a worker hears nothing: it would wait for the next job for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
