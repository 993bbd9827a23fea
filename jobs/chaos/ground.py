"""What a fault works on, and how it finds the processes that it may harm: those of this stack's supervisor, and their children."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import psutil

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import supervise
from infra.stack.fork_client import JOB_PROGRAM
from infra.stack.services import TASKMANAGERS
from jobs.chaos.proxy import Proxy
from jobs.chaos.traffic import Traffic
from jobs.flink import frames

_FIND_SECONDS = 60.0
_T = TypeVar("_T")
_WORKERS, _CLIENT = ("beam_boot", frames.WORKER), "fork_client"


@dataclass(frozen=True)
class Ground:
    """`struck` is called at the moment from which the recovery is measured; `caught_up` waits until the job has answered almost all."""

    settings: Settings
    proxy: Proxy
    traffic: Traffic
    struck: Callable[[], None]
    caught_up: Callable[[], None]

    def kill(self, service: str) -> int:
        """SIGKILL the process that the supervisor runs as this service; answers its pid."""
        process = self.process(service)
        process.send_signal(signal.SIGKILL)
        self.struck()
        return process.pid

    def process(self, service: str) -> psutil.Process:
        """The process of a service; waits for one that is being started.

        Raises:
            StreamhouseError: none within a minute.

        """

        def running() -> psutil.Process | None:
            for state in supervise.states(self.settings):
                if state.name == service and state.pid:
                    with suppress(psutil.NoSuchProcess):
                        return psutil.Process(state.pid)
            return None

        return self._found(running, f"service {service} to run")

    def workers(self, *, scoring: bool) -> list[psutil.Process]:
        """Python workers, of the scoring job or of the archive; waits until there are some.

        The scoring job's are those that hold a connection to Redis.

        Raises:
            StreamhouseError: none within a minute.

        """
        return self._found(lambda: [worker for worker in self._workers() if self._scores(worker) == scoring], "Python workers")

    def taskmanager(self) -> str:
        """The service that runs the scoring job, or a part of it: a worker of that is its child, or what stands in for one is.

        Raises:
            StreamhouseError: none within a minute.

        """

        def asks(name: str) -> bool:
            return any(frames.WORKER in words(child) for child in children(self.process(name)))

        def asking() -> str | None:
            return next(filter(asks, TASKMANAGERS), None)

        return self._found(asking, "a TaskManager with a Python worker of the scoring job")

    def _found(self, look: Callable[[], _T | None], what: str) -> _T:
        """Look until there is something."""
        deadline = time.monotonic() + _FIND_SECONDS
        while time.monotonic() < deadline:
            if there := look():
                return there
            time.sleep(0.05)
        message = f"expected {what} within {_FIND_SECONDS:.0f} s, got none; see {self.settings.state / 'logs'}"
        raise StreamhouseError(message)

    def _workers(self) -> list[psutil.Process]:
        """The forkserver's children but for jobs' programs, and those that Flink started itself because no forkserver answered."""
        below = [child for name in TASKMANAGERS for child in children(self.process(name))]
        forked = [child for child in children(self.process("forkserver")) if _name(child) != JOB_PROGRAM]
        return forked + [child for child in below if any(word in words(child) for word in _WORKERS) and _CLIENT not in words(child)]

    def _scores(self, worker: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            return any(there.raddr and there.raddr.port == self.settings.redis.port for there in worker.net_connections("tcp"))
        return False

    @contextmanager
    def frozen(self, service: str) -> Iterator[psutil.Process]:
        """A service's process stands still as long as the block runs; its children go on."""
        process = self.process(service)
        process.suspend()
        try:
            yield process
        finally:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def children(process: psutil.Process) -> list[psutil.Process]:
    """All that it started, however deep; empty when it is gone."""
    with suppress(psutil.NoSuchProcess):
        return list(process.children(recursive=True))
    return []


def words(process: psutil.Process) -> str:
    """The command line of a process; empty when it is gone."""
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return " ".join(process.cmdline())
    return ""


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return str(process.name())
    return ""
