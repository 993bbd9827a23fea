"""Is the machine calm? A fixed piece of work on every core, before and after each measurement, tells, and what others used during it.

A number that was taken while somebody else used the machine says nothing. So a measurement counts where the piece of work took at most
a tenth longer, before it and after it, than it takes on this machine undisturbed, beside a stack that has nothing to do, and where
neither processes that are not ours nor the machine's host took more than a few hundredths of its cores meanwhile; what does not count is
measured again. One look may stand between two measurements in a row. The rule is `Calibration.disturbances`, and nowhere else.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

import numpy as np
import psutil

MOST = 1.10
"""How many times the undisturbed seconds the piece of work may take."""
MOST_FOREIGN, MOST_STOLEN = 0.05, 0.03
"""Shares of all cores' time that others may use during a measurement, and that the machine's host may keep for itself. The kernel counts
both by ticks of 10 ms, so that of a measurement of two seconds on two cores a hundredth or two is its own error.
"""
_ROUNDS = 16  # half a second: long enough that what the stack does once a second counts in each
_LOOKS = 6
_RECENT = 2.0
"""Seconds for which a calm machine is not looked at again: one look may stand after a measurement and before the next."""
_SETTLES = 0.3  # seconds after a measurement in which its last commits and files are none of the machine's
_SIZE = 250_000
_KERNEL = 2  # the parent of all of the kernel's threads

Found = TypeVar("Found")


@dataclass(frozen=True)
class Calibration:
    """Seconds of the piece of work around one measurement, and what they are undisturbed as far as was known then; and shares of all
    cores' time during it: `foreign` that processes used which are not the bench's and not the stack's, `stolen` that the host kept.
    """

    before: float
    after: float
    undisturbed: float
    foreign: float = 0.0
    stolen: float = 0.0

    @property
    def is_calm(self) -> bool:
        """Whether what was measured between counts, by what was known then."""
        return not self.disturbances(self.undisturbed)

    def disturbances(self, undisturbed: float) -> list[str]:
        """Why what was measured between does not count, by the seconds that the piece of work takes undisturbed; nothing: it counts."""
        found = []
        if (slower := max(self.before, self.after) / undisturbed) > MOST:
            found.append(f"a fixed piece of work took {slower:.2f} times its usual time")
        if self.foreign > MOST_FOREIGN:
            found.append(f"other processes used {self.foreign:.0%} of the cores")
        if self.stolen > MOST_STOLEN:
            found.append(f"the machine's host kept {self.stolen:.0%} of the cores")
        return found


Processes = Callable[[], Iterable[psutil.Process]]


class Watch:
    """What others use of the machine between `begin` and `end`, as shares of all cores' time. `own`: all processes that are not others."""

    def __init__(self, own: Processes | None) -> None:
        self.foreign = self.stolen = 0.0
        self._own, self._begun = own, _Used()
        self.begin()

    def begin(self) -> None:
        """From now on; what was before is forgotten."""
        self._is_over = self._own is None
        if self._own is not None:
            self._begun = _used(self._own())

    def end(self) -> None:
        """Until now; a second call changes nothing."""
        if self._is_over or self._own is None:
            return
        self._is_over, then, now = True, self._begun, _used(self._own())
        if (time_of_cores := now.in_all - then.in_all) > 0:
            self.foreign = max(0.0, (now.busy - then.busy) - (now.own - then.own)) / time_of_cores
            self.stolen = (now.stolen - then.stolen) / time_of_cores


@dataclass(frozen=True)
class _Used:
    """Seconds since the machine started, of all cores; `busy` without interrupts, which are no process's; `own` of those that are ours."""

    in_all: float = 0.0
    busy: float = 0.0
    stolen: float = 0.0
    own: float = 0.0


def _used(own: Iterable[psutil.Process]) -> _Used:
    cores = psutil.cpu_times()
    # guests are counted within user and nice
    in_all = sum(getattr(cores, name, 0.0) for name in ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"))
    processes = {process.pid: process for process in (*own, *_kernel())}
    return _Used(in_all, cores.user + cores.nice + cores.system, getattr(cores, "steal", 0.0), sum(map(_seconds, processes.values())))


def _kernel() -> list[psutil.Process]:
    """The kernel's threads: they write what ours wrote, and do what is asked by nobody else on a calm machine. A container sees none."""
    with contextlib.suppress(psutil.Error):
        if (first := psutil.Process(_KERNEL)).name() == "kthreadd":
            return first.children()
    return []


def _seconds(process: psutil.Process) -> float:
    """With those of its children that ended: so what ends within a measurement is still counted, by its parent."""
    with contextlib.suppress(psutil.Error):
        return float(sum(process.cpu_times()[:4]))
    return 0.0


@dataclass
class Calm(AbstractContextManager["Calm"]):
    """Takes the piece of work's time. `seconds`: all that it took so far; what a quarter of them undercut counts as undisturbed.

    `own`: processes whose use of the machine disturbs nothing; None: nobody's is looked at.
    """

    work: Callable[[], float] | None = None
    seconds: list[float] = field(default_factory=list)
    own: Processes | None = None
    clock: Callable[[], float] = time.monotonic
    _looked: float = -math.inf
    _pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Calm:
        if self.work is None:
            # a terminal's Ctrl-C reaches them, too; they end with the pool
            ignored = (signal.SIGINT, signal.SIG_IGN)
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(os.cpu_count() or 1, spawn, signal.signal, ignored)
            list(self._pool.map(piece_of_work, range(2 * (os.cpu_count() or 1))))  # its processes are there and warm
        for _ in range(_LOOKS):
            self.look()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    @property
    def undisturbed(self) -> float:
        """Seconds of the piece of work on this machine when nobody else uses it, as far as is known."""
        return sorted(self.seconds)[len(self.seconds) // 4]

    def around(self, measure: Callable[[Watch], Found]) -> tuple[Found, Calibration]:
        """Do this and tell how calm the machine was. It may begin and end the watch itself, where only a part of it is measured."""
        if self.clock() - self._looked < _RECENT and (before := self.seconds[-1]) <= MOST * self.undisturbed:
            self.seconds.append(before)  # or those that disturbed ones are compared with would weigh less than they
        else:
            before = self.look()
        watch = Watch(self.own)
        found = measure(watch)
        watch.end()
        return found, Calibration(before, self.look(), self.undisturbed, watch.foreign, watch.stolen)

    def look(self) -> float:
        """Do the piece of work on every core at once, and answer the seconds of the slowest."""
        if self._pool is None:
            assert self.work is not None
            took = self.work()
        else:
            time.sleep(_SETTLES)
            took = max(self._pool.map(piece_of_work, range(os.cpu_count() or 1)))
        self.seconds.append(took)
        self._looked = self.clock()
        return took


def piece_of_work(_: int = 0) -> float:
    """Seconds for the fixed work: some of it in Python's loop, some in numpy's."""
    began = time.perf_counter()
    for number in range(_ROUNDS):
        values = np.arange(number, number + _SIZE, dtype=np.float64)
        np.sort(np.sin(values))
        sum(i & 7 for i in range(_SIZE // 2))
    return time.perf_counter() - began
