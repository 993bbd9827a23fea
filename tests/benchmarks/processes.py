"""CPU seconds and memory of groups of processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from infra.config import Settings
from infra.stack import supervise
from infra.stack.services import TASKMANAGERS

LOOK_SECONDS = 1.0
"""How often memory is looked at."""
Groups = Mapping[str, list[psutil.Process]]
TASKMANAGER, WORKERS = "taskmanager", "python workers"


def stack_groups(settings: Settings) -> dict[str, list[psutil.Process]]:
    """The stack's services by name; both TaskManagers together, their Python workers apart."""
    groups: dict[str, list[psutil.Process]] = {WORKERS: [], TASKMANAGER: []}
    for state in supervise.states(settings):
        with contextlib.suppress(psutil.NoSuchProcess):  # killed a moment ago, and the supervisor has not seen it yet
            if not state.pid:
                continue
            process = psutil.Process(state.pid)
            below = process.children(recursive=True)
            if state.name in TASKMANAGERS:
                groups[TASKMANAGER] += [process]
                groups[WORKERS] += below
            elif state.name == "forkserver":
                groups[WORKERS] += [process, *below]
            else:
                groups[state.name] = [process, *below]
    return groups


def own_processes(settings: Settings) -> list[psutil.Process]:
    """This process and those below it, the stack, and whatever bears its mark, as loops and rivals do."""
    me = psutil.Process()
    return [me, *me.children(recursive=True), *supervise.own_processes(settings)]


@dataclass
class Meter:
    """What groups of processes use from its making on. `look` again and again for the peak of memory.

    Memory is the proportional share: of pages that several processes hold, as forked ones do, each counts its part.
    """

    find: Callable[[], Groups]
    peak: dict[str, int] = field(default_factory=dict)
    _begun: dict[int, float] = field(default_factory=dict)
    _next: float = 0.0

    def __post_init__(self) -> None:
        for processes in self.find().values():
            self._begun |= {process.pid: _cpu_seconds(process) for process in processes}
        self.look()

    def look(self) -> None:
        """Remember each group's bytes where they are its most so far; once a second at most, as the kernel walks all pages for it."""
        if (now := time.monotonic()) < self._next:
            return
        self._next = now + LOOK_SECONDS
        for name, processes in self.find().items():
            self.peak[name] = max(self.peak.get(name, 0), sum(_memory(process) for process in processes))

    def cpu_seconds(self) -> dict[str, float]:
        """User and system seconds by group, of processes that still run; those that came later count in full."""
        return {
            name: sum(_cpu_seconds(process) - self._begun.get(process.pid, 0.0) for process in processes)
            for name, processes in self.find().items()
        }


def _cpu_seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _memory(process: psutil.Process) -> int:
    """Bytes, by its proportional share; where the kernel does not tell it, of another user's process, all that is resident."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    with contextlib.suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0
