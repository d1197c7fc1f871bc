"""Run jobs in parallel processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Protocol, TypeVar

from audio_avif.errors import AudioAvifError

_Result_co = TypeVar("_Result_co", covariant=True)


class Job(Protocol[_Result_co]):
    """A job that can be pickled and run in another process."""

    def run(self) -> _Result_co:
        """Do the job and return its result."""
        ...


def run_jobs(jobs: Sequence[Job[_Result_co]], workers: int) -> Iterator[_Result_co]:
    """Yield results of ``workers`` processes as they become ready; one worker runs the jobs in order in this process.

    Raises what a job raises, and AudioAvifError where a process dies.
    """
    if workers == 1 or len(jobs) < 2:
        yield from (job.run() for job in jobs)
        return
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(min(workers, len(jobs)), multiprocessing.get_context("spawn"), initializer=_begin_worker)
    try:
        with _deaf_to_interrupts():
            futures = [pool.submit(job.run) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise AudioAvifError("a worker process died, possibly out of memory; try fewer --workers") from error
    finally:
        # A caller that stops early does not wait for running jobs, nor for those that the pool has taken in advance.
        for worker in multiprocessing.active_children():
            if worker not in others:
                worker.terminate()
        pool.shutdown(cancel_futures=True)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let processes started in this block ignore Ctrl-C, even while they import; this process gets it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent handles it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End the worker when its parent is killed: otherwise it would wait for the next job for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
