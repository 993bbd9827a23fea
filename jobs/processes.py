"""Processes that share a long reading: how they begin, how they tell how far they are, how they end.

What is asked of them is any function of a module, which finds what they were begun with in that module.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing import forkserver
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from typing import Any

from infra.errors import StreamhouseError

Progress = Callable[[int, int], None]
"""Told how many steps are done, and of how many."""
_MOST = 4
_COPIES = multiprocessing.get_context("forkserver")


class StoppedError(Exception):
    """Another process failed, or a person wants the work to end."""


def hands(steps: int, little: int) -> int:
    """How many processes so many steps are worth: as many as there are cores, four at most; none but this one for a `little`."""
    return min(os.cpu_count() or 1, _MOST) if steps > little else 0


def prepare(*modules: str) -> None:
    """Import modules in a process that those of `begun` become copies of, while this one goes on; later calls change nothing.

    It ends with this process.
    """
    _COPIES.set_forkserver_preload(list(modules))
    with _deaf():
        forkserver.ensure_running()


@contextlib.contextmanager
def begun(processes: int, begin: Callable[..., None], *arguments: object) -> Iterator[tuple[Executor, Callable[[], int]]]:
    """So many processes, or none but this one, and how many steps they are done with; nothing of them is left behind the block.

    Each calls `begin(*arguments)` first; what that raises, all that is asked of it raises. When the block raises, what is not begun is
    never begun, and what is under way ends at its next step.

    Raises:
        StreamhouseError: a process was killed.

    """
    if processes:
        prepare(begin.__module__)
    passed: Synchronized[int] = _COPIES.Value("q", 0)
    stop = _COPIES.Event()
    if processes:
        pool: Executor = _Pool(processes, _COPIES, initializer=_begin_process, initargs=(passed, stop, begin, arguments))
    else:
        pool = _Here()
        _begin(passed, stop, begin, arguments)
    try:
        for _ in range(processes):
            pool.submit(int)  # begins one
        yield pool, lambda: passed.value
    except BaseException as error:
        stop.set()
        if isinstance(error, BrokenExecutor):
            if isinstance(pool, _Pool):
                pool.kill()
            message = "a process of this command was killed, as the system does where memory ends; close something, and run it again"
            raise StreamhouseError(message) from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def advance(steps: int) -> None:
    """Tell how far the work of this process has come.

    Raises:
        StoppedError: nobody wants to know.

    """
    passed, stop = _told
    if stop.is_set():
        raise StoppedError
    with passed.get_lock():
        passed.value += steps


_told: tuple[Synchronized[int], Event]
_fault: Exception | None = None


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """A terminal sends its Ctrl-C to every process; what is blocked while one begins stays so in it and in its copies."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Pool(ProcessPoolExecutor):
    """Answers by the fault of a process that could not begin; the pool's own word for that is that it broke."""

    def kill(self) -> None:
        """End them at once. One that was killed may have held the lock of their queue, for which the others would wait for ever."""
        for process in list((self._processes or {}).values()):
            process.kill()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as declared above it
        """As its own."""
        return super().submit(_do, fn, args, kwargs)


def _do(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever it answers
    if _fault is not None:
        raise _fault
    return fn(*args, **kwargs)


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


def _begin(passed: Synchronized[int], stop: Event, begin: Callable[..., None], arguments: tuple[object, ...]) -> None:
    global _told
    _told = passed, stop
    begin(*arguments)


def _begin_process(passed: Synchronized[int], stop: Event, begin: Callable[..., None], arguments: tuple[object, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # a step is hundreds of thousands of small objects without a cycle: looking for some among them took a third of the time
    gc.freeze()  # also keeps the pages shared that hold what was imported
    gc.set_threshold(1_000_000, 20, 100)
    global _fault
    try:
        _begin(passed, stop, begin, arguments)
    except Exception as error:
        _fault = error


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def all_done(futures: Sequence[Future[Any]], tick: Callable[[], None], sleep: Callable[[float], None]) -> list[Any]:
    """What the futures give, in their order, with a `tick` now and then; the first that fails ends the waiting."""
    while not all(future.done() for future in futures):
        if any(future.done() and future.exception() for future in futures):
            break
        tick()
        sleep(0.05)
    tick()
    failed = next((future for future in futures if future.done() and future.exception()), None)
    if failed is not None:
        failed.result()
    return [future.result() for future in futures]
