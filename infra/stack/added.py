"""Services that run beside the stack's own from when they are added until they are taken away, also after `down` and `up`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from filelock import FileLock

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import supervise
from infra.stack.services import added_file, added_names, services
from infra.stack.stack import UP_SECONDS, wait_for
from infra.whole_files import write_whole


def add(settings: Settings, names: Iterable[str], report: Callable[[str], None]) -> None:
    """Start services and wait until each answers; those that run stay as they are.

    Raises:
        StreamhouseError: the stack is down, or a service does not come up.

    """
    wanted = list(names)

    def with_these(before: Sequence[str]) -> list[str]:
        for name in set(wanted) - set(before):
            (settings.jobs_folder / f"{name}.beat").unlink(missing_ok=True)  # of an earlier life
        return [*before, *wanted]

    _change(settings, with_these)
    wait_for(settings, wanted, report)


def remove(settings: Settings, names: Iterable[str]) -> None:
    """End services.

    Raises:
        StreamhouseError: the stack is down.

    """
    gone = set(names)
    _change(settings, lambda before: [name for name in before if name not in gone])


def _change(settings: Settings, names: Callable[[Sequence[str]], list[str]]) -> None:
    if settings.stack.runs_elsewhere:
        message = "stack.start is nothing, so nothing is started here; run `python -m jobs.serve NAME` where the other services run"
        raise StreamhouseError(message)
    with FileLock(settings.state / "up.lock", timeout=UP_SECONDS):
        if not supervise.states(settings):
            message = "the stack is down; run `./streamhouse up` first"
            raise StreamhouseError(message)
        write_whole(added_file(settings), "\n".join(dict.fromkeys(names(added_names(settings)))) + "\n")
        supervise.change(settings, services(settings))
