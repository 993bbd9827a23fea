"""The latest look at what runs, and what was found by it; looked at again when somebody asks and it is old."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from infra.clock import system_clock
from infra.config import Settings
from infra.portal.catalogue import Catalogue
from infra.portal.findings import Finding, findings
from infra.portal.live import Seen
from infra.portal.render import live_document
from jobs.portal.seen import Look


class Live:
    """Answers many at a time with one look.

    `catalogue`: what is declared now; `beside`: what is found without a look; `look`: what looks; by default at all of these settings.
    """

    def __init__(
        self,
        settings: Settings,
        catalogue: Callable[[], Catalogue],
        look: Callable[[], Seen] | None = None,
        beside: Callable[[], list[Finding]] = list,
    ) -> None:
        self._settings, self._declared, self._given, self._beside = settings, catalogue, look, beside
        self._catalogue: Catalogue | None = None
        self._look: Callable[[], Seen] | None = None
        self._lock = threading.Lock()
        self._latest: tuple[int, Seen, list[Finding]] | None = None

    def document(self) -> dict[str, Any]:
        """What was seen and found, as JSON holds it."""
        with self._lock:
            catalogue = self._declared()
            if self._look is None or catalogue is not self._catalogue:
                # what was seen is of what was declared: which schemas are ours, which topics hold letters
                self._look, self._latest = self._given or Look(self._settings, catalogue, system_clock), None
                self._catalogue = catalogue
            if self._latest is None or system_clock() - self._latest[0] >= 1000 * self._settings.portal.look_seconds:
                seen = self._look()
                found = findings(catalogue, seen, timedelta(days=self._settings.portal.dead_days))
                self._latest = (system_clock(), seen, found)
            return live_document(self._latest[1], [*self._beside(), *self._latest[2]])
