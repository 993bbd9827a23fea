"""The processes that do an audit's work: how they begin, what they are asked to do, how they end."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.audit.answers import out_of_order
from jobs.audit.files import Measured, measure
from jobs.audit.findings import Findings
from jobs.audit.join import Expect, Joined, join
from jobs.audit.pins import ANSWERS, PinnedTopic
from jobs.audit.spill import Spill
from jobs.audit.strand import Strand, Work, follow

_SPAWN = multiprocessing.get_context("spawn")


@contextlib.contextmanager
def begun(settings: Settings, processes: int) -> Iterator[tuple[Executor, Callable[[], int]]]:
    """So many processes, or none but this one, and how many offsets they are done with; nothing of them is left behind the block.

    When the block raises, what is not begun is never begun, and what is under way ends at its next step.
    """
    passed: Synchronized[int] = _SPAWN.Value("q", 0)
    stop = _SPAWN.Event()
    with tempfile.TemporaryDirectory(prefix="streamhouse-audit-") as folder:
        begin_with = settings, folder, passed, stop
        if processes:
            pool: Executor = ProcessPoolExecutor(processes, _SPAWN, initializer=_begin_process, initargs=begin_with)
        else:
            pool = _Here()
            _begin(*begin_with)
        try:
            _deaf(pool, processes)
            yield pool, lambda: passed.value
        except BaseException:
            stop.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _deaf(pool: Executor, processes: int) -> None:
    """Begin all processes now. A terminal sends its Ctrl-C to each; what is blocked while one begins stays so in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        for _ in range(processes):
            pool.submit(int)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Here(Executor):
    """Does everything at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as declared above it
        """Done when it returns."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except StreamhouseError as error:
            future.set_exception(error)
        return future


class _Stopped(Exception):
    """Another worker failed, or a person wants the audit to end."""


@dataclass(frozen=True)
class _Worker:
    """What a worker process was begun with."""

    settings: Settings
    spill: Spill
    passed: Synchronized[int]
    stop: Event

    def advance(self, offsets: int) -> None:
        """Tell how far the work has come.

        Raises:
            _Stopped: nobody wants to know.

        """
        if self.stop.is_set():
            raise _Stopped
        with self.passed.get_lock():
            self.passed.value += offsets


_worker: _Worker


def _begin(settings: Settings, folder: str, passed: Synchronized[int], stop: Event) -> None:
    global _worker
    _worker = _Worker(settings, Spill(Path(folder)), passed, stop)


def _begin_process(settings: Settings, folder: str, passed: Synchronized[int], stop: Event) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # a step is hundreds of thousands of small objects without a cycle: looking for some among them took a third of the time
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 100)
    _begin(settings, folder, passed, stop)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def follow_strand(work: Work) -> Strand:
    """As `jobs.audit.strand.follow`."""
    return follow(_worker.settings, work, _worker.spill, _worker.advance)


def measure_table(topic: PinnedTopic) -> Measured:
    """As `jobs.audit.files.measure`."""
    return measure(_worker.settings, topic)


def find_disorder(topic: str, partition: int) -> Findings:
    """As `jobs.audit.answers.out_of_order`, of the answers that were spilt."""
    return out_of_order(topic, lambda: _worker.spill.answers_in(topic, partition))


def count_repeated(part: int) -> int:
    """How many event ids of a part were spilt before."""
    return _worker.spill.repeated_events(part)


def join_bucket(expect: Expect, bucket: int, wanted: frozenset[int]) -> Joined:
    """As `jobs.audit.join.join`, of the actions and answers that were spilt."""
    answers = {topic: _worker.spill.answers(topic, expect.partition, bucket) for topic in ANSWERS}
    return join(expect, _worker.spill.actions(expect.partition, bucket), answers, wanted)
