"""Jobs run side by side, in processes of their own."""

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
    """Something that can be sent to another process and run there."""

    def run(self) -> _Result_co:
        """What is asked for."""
        ...


def run_jobs(jobs: Sequence[Job[_Result_co]], workers: int) -> Iterator[_Result_co]:
    """Results as they become ready, from that many processes; with one worker from this one, in order.

    Raises what a job raises, AudioAvifError where a process dies; results already given stand.
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
        raise AudioAvifError("a process died, perhaps for want of memory; try fewer --workers") from error
    finally:
        # Whoever leaves early does not wait for jobs under way, nor for those that the pool has taken in advance.
        for worker in multiprocessing.active_children():
            if worker not in others:
                worker.terminate()
        pool.shutdown(cancel_futures=True)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """What is started in this block does not hear Ctrl-C, not even while it imports; this process hears it after."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Of a parent that was killed a worker hears nothing: it would wait for the next job for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
