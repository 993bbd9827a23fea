"""With which settings a job was started, so that whoever starts it again, as the keeper at night, starts the same: above all its model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from infra.config import Settings, load_settings
from infra.whole_files import write_whole

_BESIDE = {"score_events": ("STREAMHOUSE_REGISTRY_FRAMED",)}  # what changes a job's output and stands in another section than its own


def note(settings: Settings, name: str) -> None:
    """Remember the settings of the job's own that were not the defaults."""
    own = {variable: value for variable, value in settings.overrides.items() if _is_own(name, variable)}
    write_whole(_file(settings, name), json.dumps(own))


def was_started(settings: Settings, name: str) -> bool:
    """Whether a job of this name was ever started for this state folder."""
    return _file(settings, name).exists()


def as_started(settings: Settings, names: Iterable[str]) -> Settings:
    """These settings, but for the jobs' own where those were started before: these as they were then.

    Raises:
        StreamhouseError: what was remembered names a setting that there is no more.

    """
    environment = dict(settings.environment)
    for name in names:
        file = _file(settings, name)
        if file.exists():
            environment = {variable: value for variable, value in environment.items() if not _is_own(name, variable)}
            environment |= json.loads(file.read_text("utf-8"))
    return load_settings(environment, settings.root)


def _is_own(name: str, variable: str) -> bool:
    return variable.startswith(f"STREAMHOUSE_{name.upper()}_") or variable in _BESIDE.get(name, ())


def _file(settings: Settings, name: str) -> Path:
    return settings.jobs_folder / f"started-{name}.json"
