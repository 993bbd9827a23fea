"""Which jobs the brake holds: a file of the state folder, so that no restart, failover or second start goes past it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.whole_files import write_whole


def pull(settings: Settings, name: str, sentence: str, counted_from_ms: int) -> bool:
    """From now on the job is not started; it lasts like the files of the state folder.

    False: it is pulled already, or was released after `counted_from_ms`, so that what the sentence counts does not count any more.
    """
    with _alone(settings):
        held = _read(settings)
        if "pulled" in held.get(name, {}) or held.get(name, {}).get("released_ms", 0) > counted_from_ms:
            return False
        _write(settings, held | {name: {"pulled": sentence}})
        return True


def release(settings: Settings, name: str, now_ms: int) -> None:
    """Let the job be started again; rejections from before now count no more."""
    with _alone(settings):
        _write(settings, _read(settings) | {name: {"released_ms": now_ms}})


def pulled(settings: Settings) -> dict[str, str]:
    """The jobs that the brake holds, with why."""
    return {name: str(held["pulled"]) for name, held in _read(settings).items() if "pulled" in held}


def released_ms(settings: Settings, name: str) -> int:
    """Since when rejections count; 0: it was never released."""
    return int(_read(settings).get(name, {}).get("released_ms", 0))


def refuse_while_pulled(settings: Settings, name: str) -> None:
    """Pass, unless the brake holds this job.

    Raises:
        StreamhouseError: it does.

    """
    if why := pulled(settings).get(name):
        message = f"the brake holds {name}: {why}"
        raise StreamhouseError(message)


def _alone(settings: Settings) -> BaseFileLock:
    settings.jobs_folder.mkdir(parents=True, exist_ok=True)
    return FileLock(settings.jobs_folder / "brakes.lock")


def _file(settings: Settings) -> Path:
    return settings.jobs_folder / "brakes.json"


def _read(settings: Settings) -> dict[str, dict[str, Any]]:
    file = _file(settings)
    return dict(json.loads(file.read_text("utf-8"))) if file.exists() else {}


def _write(settings: Settings, held: dict[str, dict[str, Any]]) -> None:
    write_whole(_file(settings), json.dumps(held))
