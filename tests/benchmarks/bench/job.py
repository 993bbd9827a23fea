"""The job that a part of the bench measures: started anew with other settings, or ended, so that nobody starts it again."""

from __future__ import annotations

from infra.config import Settings, load_settings
from infra.stack import flink_rest
from jobs.scoring_parts import GROUP
from jobs.submit import submit


def restart(settings: Settings, changed: dict[str, str]) -> None:
    """See that score_events runs with these variables."""
    stop(settings)
    submit(load_settings({**settings.environment, **changed}), GROUP)


def stop(settings: Settings, name: str = GROUP) -> None:
    """See that the job does not run."""
    if running := flink_rest.alive(settings, name):
        flink_rest.stop_with_savepoint(settings, running)
        flink_rest.forget(settings, name)
