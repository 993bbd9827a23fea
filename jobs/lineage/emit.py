"""Out with it: into a file of the state folder, or to an address. What goes wrong is a line in the log, and no job waits for it long."""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from infra.config import Settings
from jobs.lineage.told import Told

log = logging.getLogger("lineage")

_END = None
_OWN_SECONDS = 30.0  # for the client to be imported, and for a file


class Emitter:
    """Sends what it is given, in order, on a thread of its own, so that an address that is slow slows nobody but that thread.

    `close` waits for what is under way, no longer than the settings give an address; what was not sent by then is lost, and said.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._waiting = settings, queue.SimpleQueue[Told | None]()
        self._ready, self._sent = threading.Event(), threading.Event()
        self._is_on = bool(settings.lineage.address or settings.lineage.file)
        if self._is_on:
            # a daemon: the interpreter waits at its end for any other, however long an address takes
            threading.Thread(target=self._send_all, name="lineage", daemon=True).start()

    def emit(self, told: Told) -> None:
        """Never raises, and does not wait."""
        if self._is_on:
            self._waiting.put(told)

    def close(self) -> None:
        """Send the rest."""
        if not self._is_on:
            return
        self._waiting.put(_END)
        self._ready.wait(_OWN_SECONDS)  # what this machine takes, however busy, is not the address's
        seconds = self._settings.lineage.seconds if self._settings.lineage.address else _OWN_SECONDS
        if not self._sent.wait(seconds):
            log.warning("lineage: %s took longer than %d s; what was not told by then is lost", self._where, seconds)

    def _send_all(self) -> None:
        transport: Any = None
        try:
            from jobs.lineage.event import run_event  # OpenLineage's client, which takes half a second to import

            transport = _transport(self._settings)
            self._ready.set()
            while (told := self._waiting.get()) is not _END:
                try:
                    transport.emit(run_event(told))
                except Exception as error:  # the client's, its HTTP library's, the file system's: none may reach a job
                    log.warning("lineage: %s of job %s was not told to %s: %s", told.state, told.job, self._where, _brief(error))
        except Exception as error:
            log.warning("lineage: nothing can be told to %s: %s", self._where, _brief(error))
        finally:
            self._ready.set()
            self._sent.set()
            if transport is not None:
                transport.close()

    @property
    def _where(self) -> str:
        return self._settings.lineage.address or str(lineage_file(self._settings))


def lineage_file(settings: Settings) -> Path:
    """Where events are written unless an address is set."""
    return settings.state / settings.lineage.file


def _transport(settings: Settings) -> Any:  # noqa: ANN401 - one of the client's, or ours around it
    told = settings.lineage
    if not told.address:
        return _BoundedFile(lineage_file(settings), told.file_megabytes << 20, told.seconds)
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    retry = {"total": 0, "read": 0, "connect": 0}  # one that is away is away for this event
    return HttpTransport(HttpConfig.from_dict({"url": told.address, "timeout": float(told.seconds), "retry": retry}))


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


class _BoundedFile:
    """The client's own file, a line per event, from any number of processes; when it is full it makes room for a new one."""

    def __init__(self, file: Path, most_bytes: int, seconds: float) -> None:
        from openlineage.client.transport.file import FileConfig, FileTransport

        self._file, self._most = file, most_bytes
        self._lock = FileLock(file.with_name(f".{file.name}.lock"), timeout=seconds)
        self._transport = FileTransport(FileConfig(str(file), append=True))

    def emit(self, event: Any) -> None:  # noqa: ANN401 - the client's
        self._file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._lock:  # an event is more than a system writes at once
                if self._file.exists() and self._file.stat().st_size >= self._most:
                    self._file.replace(self._file.with_name(f"{self._file.name}.1"))
                self._transport.emit(event)
        except Timeout as error:
            message = f"{error.lock_file} is held by another"
            raise TimeoutError(message) from error

    def close(self) -> None:
        """Nothing is left open between two events."""
