"""The model that a start of the scorer names, tried before anything of the job has begun."""

from __future__ import annotations

from infra.config import Settings
from models.manifest import published
from models.trial import try_once


def check(settings: Settings) -> None:
    """Try the model in a process of its own; one that stood it on this machine needs no second trial, which takes a second of a core.

    Raises:
        ModelRefused: it must not be used.

    """
    try_once(published(settings.root / "models" / "published", settings.score_events.model), settings.jobs_folder / "tried_models")
