"""Services that run beside the stack's own from when they are added until they are taken away, also after `down` and `up`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from filelock import FileLock

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import health, supervise
from infra.stack.services import added_file, added_names, beat_file, services
from infra.stack.stack import UP_SECONDS, wait_for
from infra.whole_files import write_whole

_DOCKER = "docker compose --profile shop"


def add(settings: Settings, names: Iterable[str], report: Callable[[str], None]) -> None:
    """Start services and wait until each answers; those that run stay as they are.

    Raises:
        StreamhouseError: the stack is down, or a service does not come up; others start them, and none answers.

    """
    wanted = list(names)
    if settings.stack.runs_elsewhere:
        if not any(health.answers(settings, name) for name in wanted):
            message = f"stack.start is nothing, so nothing is started here: expected {', '.join(wanted)} to run, none answers;"
            message += f" start them where the others run, as with `{_DOCKER} up --detach --wait`"
            raise StreamhouseError(message)
        wait_for(settings, wanted, report)
        return

    def with_these(before: Sequence[str]) -> list[str]:
        for name in set(wanted) - set(before):
            beat_file(settings, name).unlink(missing_ok=True)  # of an earlier life
        return [*before, *wanted]

    _change(settings, with_these)
    wait_for(settings, wanted, report)


def remove(settings: Settings, names: Iterable[str]) -> None:
    """End services. Those that others start are forgotten once they are ended.

    Raises:
        StreamhouseError: the stack is down; others start them, and one still runs.

    """
    gone = set(names)
    if settings.stack.runs_elsewhere:
        if running := sorted(name for name in gone if health.answers(settings, name)):
            message = f"stack.start is nothing, so nothing is ended here: expected no answer, got one of {', '.join(running)};"
            message += f" end them where they run, as with `{_DOCKER} stop {' '.join(running)}`, and call again"
            raise StreamhouseError(message)
        for name in gone:
            beat_file(settings, name).unlink(missing_ok=True)
        return
    _change(settings, lambda before: [name for name in before if name not in gone])


def _change(settings: Settings, names: Callable[[Sequence[str]], list[str]]) -> None:
    with FileLock(settings.state / "up.lock", timeout=UP_SECONDS):
        if not supervise.states(settings):
            message = "the stack is down; run `./streamhouse up` first"
            raise StreamhouseError(message)
        write_whole(added_file(settings), "\n".join(dict.fromkeys(names(added_names(settings)))) + "\n")
        supervise.change(settings, services(settings))
