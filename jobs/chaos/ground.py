"""What a fault works on, and how it finds the processes that it may harm: those of this stack's supervisor, and their children."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import supervise
from jobs.chaos.proxy import Proxy
from jobs.chaos.traffic import Traffic

_FIND_SECONDS = 60.0


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
        deadline = time.monotonic() + _FIND_SECONDS
        while time.monotonic() < deadline:
            for state in supervise.states(self.settings):
                if state.name == service and state.pid:
                    with suppress(psutil.NoSuchProcess):
                        return psutil.Process(state.pid)
            time.sleep(0.05)
        message = f"service {service}: expected it to run within {_FIND_SECONDS:.0f} s, got none; see {self.settings.state / 'logs'}"
        raise StreamhouseError(message)

    def workers(self, *, scoring: bool) -> list[psutil.Process]:
        """The TaskManager's Python workers, of the scoring job or of the archive; waits until there are some.

        The scoring job's are those that hold a connection to Redis.

        Raises:
            StreamhouseError: none within a minute.

        """
        deadline = time.monotonic() + _FIND_SECONDS
        while time.monotonic() < deadline:
            found = [child for child in children(self.process("taskmanager")) if "python" in Path(first_word(child)).name]
            if fitting := [worker for worker in found if self._scores(worker) == scoring]:
                return fitting
            time.sleep(0.05)
        message = f"expected Python workers within {_FIND_SECONDS:.0f} s, got none; see {self.settings.state / 'logs' / 'taskmanager.log'}"
        raise StreamhouseError(message)

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


def first_word(process: psutil.Process) -> str:
    """The program of a process; empty when it is gone."""
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return (process.cmdline() or [""])[0]
    return ""
