"""CPU seconds and memory of groups of processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psutil

from infra.config import Settings
from infra.stack import supervise
from infra.stack.services import TASKMANAGERS

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
    """What groups of processes use from its making on. `look` again and again for the peak of memory."""

    find: Callable[[], Groups]
    peak: dict[str, int] = field(default_factory=dict)
    _begun: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for processes in self.find().values():
            self._begun |= {process.pid: _cpu_seconds(process) for process in processes}
        self.look()

    def look(self) -> None:
        """Remember each group's resident bytes where they are its most so far."""
        for name, processes in self.find().items():
            self.peak[name] = max(self.peak.get(name, 0), sum(_resident(process) for process in processes))

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


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0
