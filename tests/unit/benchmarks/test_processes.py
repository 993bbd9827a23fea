"""Memory of several processes counts a shared page once."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.benchmarks.processes import Meter

MIB = 2**20


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the kernel does not tell shares of pages")
def test_what_forked_processes_share_is_counted_once() -> None:
    forks, over = multiprocessing.get_context("fork"), multiprocessing.get_context("fork").Event()
    shared = np.ones(64 * MIB, np.uint8)
    children = [forks.Process(target=waited, args=(over,)) for _ in range(3)]
    try:
        for child in children:
            child.start()
        found = [psutil.Process(), *(psutil.Process(child.pid) for child in children)]
        peak = Meter(lambda: {"all": found}).peak["all"]
        resident = sum(process.memory_info().rss for process in found)
    finally:
        over.set()
        for child in children:
            child.join(30)
    assert shared.nbytes <= peak <= resident - 2 * 64 * MIB


def waited(over: Event) -> None:
    over.wait(60)
