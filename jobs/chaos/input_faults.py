"""Faults of what is sent: poison, megabytes, drift, repetitions, late and early actions. Nothing may restart for any of it."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import flink_rest
from jobs.chaos.actions import BROKEN, DRIFTED
from jobs.chaos.ground import Ground

_SECONDS = 120.0


def poison(ground: Ground, rng: random.Random) -> str:
    """Each kind of bad input in a row, and every example that the contract refuses."""
    return _send(ground, rng, [*BROKEN, *DRIFTED] * 3 + ["example"] * 40)


def huge_values(ground: Ground, rng: random.Random) -> str:
    """Megabytes in a row, and one value that is twenty once it is opened."""
    return _send(ground, rng, ["garbage_megabyte"] * 5 + ["json_megabyte"] * 2 + ["bomb"])


def repetitions(ground: Ground, rng: random.Random) -> str:
    """The same events again, each at an offset of its own."""
    return _send(ground, rng, ["again"] * 200)


def late_and_early(ground: Ground, rng: random.Random) -> str:
    """Actions up to two days late, out of order, and ten years ahead."""
    return _send(ground, rng, ["late"] * 100 + ["out_of_order"] * 100 + ["ten_years_ahead"] * 10)


def drift(ground: Ground, rng: random.Random) -> str:
    """New fields and words, left-out fields, and changes that break the contract."""
    return _send(ground, rng, ["new_field", "new_word", "without_optional", "without_key", *DRIFTED] * 15)


def _send(ground: Ground, rng: random.Random, kinds: Sequence[str]) -> str:
    """Send them in any order and wait until they are answered.

    Raises:
        StreamhouseError: the scoring job was restarted meanwhile.

    """
    ground.caught_up()
    before = _run(ground.settings)
    ground.traffic.insert(rng.sample(kinds, len(kinds)))
    deadline = time.monotonic() + _SECONDS
    while ground.traffic.waiting and time.monotonic() < deadline:
        time.sleep(0.1)
    ground.caught_up()
    after = _run(ground.settings)
    if before is not None and after != before:
        message = f"job and restarts of score_events: expected {before} after {len(kinds)} records of {set(kinds)}, got {after}"
        raise StreamhouseError(message)
    return f"sent {len(kinds)} records of {len(set(kinds))} kinds among the others"


def _run(settings: Settings) -> tuple[str, int] | None:
    """The scoring job and how often it was restarted; None: it is not running."""
    return next(
        ((job.id, job.restarts) for job in flink_rest.jobs(settings, details=True) if job.name == "score_events" and job.is_alive), None
    )
