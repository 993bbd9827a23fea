"""Is the machine calm? A fixed piece of work on every core, before and after each measurement, tells.

A number that was taken while somebody else used the machine says nothing. So a measurement counts where the piece of work took at most
a tenth longer, before it and after it, than it takes on this machine undisturbed, beside a stack that has nothing to do; what does not
count is measured again.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np

MOST = 1.10
"""How many times the undisturbed seconds the piece of work may take."""
_ROUNDS = 16  # half a second: long enough that what the stack does once a second counts in each
_LOOKS = 6
_SETTLES = 0.3  # seconds after a measurement in which its last commits and files are none of the machine's
_SIZE = 250_000


@dataclass(frozen=True)
class Calibration:
    """Seconds of the piece of work around one measurement, and what they are undisturbed as far as was known then."""

    before: float
    after: float
    undisturbed: float

    @property
    def is_calm(self) -> bool:
        """Whether what was measured between counts."""
        return max(self.before, self.after) <= MOST * self.undisturbed


@dataclass
class Calm(AbstractContextManager["Calm"]):
    """Takes the piece of work's time. `seconds`: all that it took so far; what a quarter of them undercut counts as undisturbed."""

    work: Callable[[], float] | None = None
    seconds: list[float] = field(default_factory=list)
    _pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Calm:
        if self.work is None:
            self._pool = ProcessPoolExecutor(os.cpu_count() or 1, multiprocessing.get_context("spawn"))
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

    def look(self) -> float:
        """Do the piece of work on every core at once, and answer the seconds of the slowest."""
        if self._pool is None:
            assert self.work is not None
            took = self.work()
        else:
            time.sleep(_SETTLES)
            took = max(self._pool.map(piece_of_work, range(os.cpu_count() or 1)))
        self.seconds.append(took)
        return took


def piece_of_work(_: int = 0) -> float:
    """Seconds for the fixed work: some of it in Python's loop, some in numpy's."""
    began = time.perf_counter()
    for number in range(_ROUNDS):
        values = np.arange(number, number + _SIZE, dtype=np.float64)
        np.sort(np.sin(values))
        sum(i & 7 for i in range(_SIZE // 2))
    return time.perf_counter() - began
