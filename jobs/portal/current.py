"""The catalogue as the contract files say it now: read anew when one of them changed, so that a portal that runs goes with them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from infra.clock import Clock, system_clock
from infra.config import Settings
from infra.contracts.codec import rfc3339
from infra.contracts.contract import Contracts
from infra.contracts.load import FOLDER, load_anew
from infra.errors import StreamhouseError
from infra.portal.catalogue import Catalogue
from infra.portal.findings import Finding
from jobs.portal.declared import declared

_PARTS = ("topics", "schemas", "examples")
_FAULTS = (StreamhouseError, OSError, LookupError, ValueError, TypeError)
"""Files are looked at while a person, or git, writes them: whatever is half done there is a fault of theirs, and passes."""
Files = frozenset[tuple[str, int, int]]


class Current:
    """Answers the catalogue of the files as they are, or as they last could be read. `make`: from contracts, the catalogue of them."""

    def __init__(
        self,
        settings: Settings,
        folder: Path = FOLDER,
        make: Callable[[Settings, Contracts], Catalogue] = declared,
        clock: Clock = system_clock,
    ) -> None:
        """Read them for the first time.

        Raises:
            StreamhouseError: they cannot be read, or break a rule.
            OSError: they were taken away meanwhile.

        """
        self._settings, self._folder, self._make, self._clock = settings, folder, make, clock
        self._lock = threading.Lock()
        self._looked_at: Files | None = self._files()
        self._catalogue = make(settings, load_anew(folder))
        self._read_ms = clock()
        self._trouble: str | None = None

    def __call__(self) -> Catalogue:
        """The catalogue; the same object while the files stay as they are."""
        with self._lock:
            try:
                files = self._files()
            except OSError as error:  # as when a folder goes while it is listed
                self._looked_at, self._trouble = None, _named(error)  # the next look reads them, whatever there is
                return self._catalogue
            # what is written while they are read is another state, which the next look sees
            if files != self._looked_at:
                self._looked_at = files
                try:
                    self._catalogue = self._make(self._settings, load_anew(self._folder))
                except _FAULTS as error:
                    self._trouble = _named(error)
                else:
                    self._read_ms, self._trouble = self._clock(), None
            return self._catalogue

    def findings(self) -> list[Finding]:
        """What keeps the catalogue from being that of the files as they are."""
        with self._lock:
            if self._trouble is None:
                return []
            text = f"They cannot be read, so what is declared is shown as they said it at {rfc3339(self._read_ms)}. {self._trouble}"
            return [Finding("unreadable_contracts", "fault", "files:infra/contracts", text)]

    def _files(self) -> Files:
        found = set()
        for part in _PARTS:
            for file in (self._folder / part).rglob("*"):
                try:
                    stat = file.stat()
                except FileNotFoundError:  # gone since it was listed
                    continue
                found.add((str(file), stat.st_mtime_ns, stat.st_size))
        return frozenset(found)


def _named(error: Exception) -> str:
    """Our own errors are sentences; of others the text alone, as `'data'` of a KeyError, says little."""
    return str(error) if isinstance(error, StreamhouseError) else f"{type(error).__name__}: {error}"
