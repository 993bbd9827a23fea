"""Named moments of the scoring job's work at which a fault strikes, seen from outside: by the store's marks and by files."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.stack import flink_rest

_SECONDS = 15.0  # without traffic that is answered, no such moment comes
_ARCHIVE_SECONDS = 45.0  # after a fault the archive lets the scoring job go first, the longer the more faults there were
_GLANCE = 0.001


def wait(settings: Settings, point: str, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Until the moment has come; False when it did not, within 15 seconds or the archive's 45, or there is nothing that could tell."""
    begin = _POINTS.get(point)
    if begin is None:
        return True
    try:
        come = begin(settings)
        deadline = time.monotonic() + (_SECONDS if point in SCORING else _ARCHIVE_SECONDS)
        while not come():
            if time.monotonic() > deadline:
                return False
            sleep(_GLANCE)
    except (redis.RedisError, OSError):
        return False  # another fault is not over yet
    return True


def folded(settings: Settings) -> int:
    """How many records the store has folded, by its own marks.

    Raises:
        redis.RedisError: Redis is away.

    """
    partitions = load_contracts().topics["user-actions"].partitions
    client: Any = redis.Redis(host=settings.redis.host, port=settings.redis.port, socket_timeout=2)
    try:
        marks = [client.hget(f"streamhouse:user_activity:partition:{p}", "progress") for p in range(partitions)]
    finally:
        client.close()
    return sum(int(mark) + 1 for mark in marks if mark is not None)


def _store_written(settings: Settings) -> Callable[[], bool]:
    """The store holds more actions than it did when the last checkpoint completed: answers that nobody can see yet."""
    _until(_completes(settings, "score_events"))
    before = folded(settings)
    return lambda: folded(settings) > before


def _barrier(settings: Settings) -> Callable[[], bool]:
    """A checkpoint is under way: its folder appeared, which happens when its barrier is sent, and nothing of it is committed."""
    return lambda: bool(_begun(settings, "score_events") - _completed(settings, "score_events"))


def _completes(settings: Settings, job: str) -> Callable[[], bool]:
    """A checkpoint has just completed; what it covers is being committed, to topics or to tables."""
    before = _completed(settings, job)
    return lambda: bool(_completed(settings, job) - before)


def _until(come: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not come() and time.monotonic() < deadline:
        time.sleep(_GLANCE)


def _begun(settings: Settings, job: str) -> set[str]:
    """Checkpoints by their folders; Flink's own pages are seconds old."""
    return {str(folder) for folder in flink_rest.checkpoint_folder(settings, job).glob("*/chk-*")}


def _completed(settings: Settings, job: str) -> set[str]:
    return {str(file.parent) for file in flink_rest.checkpoint_folder(settings, job).glob("*/chk-*/_metadata")}


_POINTS: dict[str, Callable[[Settings], Callable[[], bool]]] = {
    "after_the_store_was_written": _store_written,
    "after_the_barrier": _barrier,
    "after_the_checkpoint": lambda settings: _completes(settings, "score_events"),
    "after_the_archives_checkpoint": lambda settings: _completes(settings, "archive_topics"),
}
SCORING = ("after_the_store_was_written", "after_the_barrier", "after_the_checkpoint")
EVERY = (*SCORING, "after_the_archives_checkpoint")
