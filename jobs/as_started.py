"""With which settings a job was started, so that whoever starts it again, as the keeper at night, starts the same: above all its model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from infra.config import Settings, load_settings
from infra.whole_files import write_whole


def note(settings: Settings, name: str) -> None:
    """Remember the settings of the job's own section that were not the defaults."""
    own = {variable: value for variable, value in settings.overrides.items() if variable.startswith(_prefix(name))}
    write_whole(_file(settings, name), json.dumps(own))


def was_started(settings: Settings, name: str) -> bool:
    """Whether a job of this name was ever started for this state folder."""
    return _file(settings, name).exists()


def as_started(settings: Settings, names: Iterable[str]) -> Settings:
    """These settings, but for the sections of the jobs that were started before: those as they were then.

    Raises:
        StreamhouseError: what was remembered names a setting that there is no more.

    """
    environment = dict(settings.environment)
    for name in names:
        file = _file(settings, name)
        if file.exists():
            environment = {variable: value for variable, value in environment.items() if not variable.startswith(_prefix(name))}
            environment |= json.loads(file.read_text("utf-8"))
    return load_settings(environment, settings.root)


def _prefix(name: str) -> str:
    return f"STREAMHOUSE_{name.upper()}_"


def _file(settings: Settings, name: str) -> Path:
    return settings.jobs_folder / f"started-{name}.json"
