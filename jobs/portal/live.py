"""The latest look at what runs, and what was found by it; looked at again when somebody asks and it is old."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from infra.clock import system_clock
from infra.config import Settings
from infra.portal.catalogue import Catalogue
from infra.portal.findings import findings
from infra.portal.live import Seen
from infra.portal.render import live_document
from jobs.portal.seen import Look


class Live:
    """Answers many at a time with one look. `look`: what looks; by default at everything of these settings."""

    def __init__(self, settings: Settings, catalogue: Catalogue, look: Callable[[], Seen] | None = None) -> None:
        self._catalogue, self._settings = catalogue, settings
        self._look = look or Look(settings, catalogue, system_clock)
        self._lock = threading.Lock()
        self._latest: tuple[int, dict[str, Any]] | None = None

    def document(self) -> dict[str, Any]:
        """What was seen and found, as JSON holds it."""
        with self._lock:
            if self._latest is None or system_clock() - self._latest[0] >= 1000 * self._settings.portal.look_seconds:
                seen = self._look()
                found = findings(self._catalogue, seen, timedelta(days=self._settings.portal.dead_days))
                self._latest = (system_clock(), live_document(seen, found))
            return self._latest[1]
