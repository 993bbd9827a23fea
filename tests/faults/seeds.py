"""Which faults the short round has, and those that once found a bug, each with a sentence: they are tried for ever."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.chaos.faults import FAULTS
from jobs.chaos.schedule import Draw


@dataclass(frozen=True)
class Kept:
    """A fault that found a bug. `found` says what went wrong."""

    draw: Draw
    found: str


KEPT = (
    Kept(
        Draw("zombie", "after_the_checkpoint", pause=2.656, hurried=False, seed=1582466276),
        "the TaskManager that woke up sent the commit of its group's offsets that it was about to send when it was stopped: they fell by"
        " twenty seconds until the next checkpoint of its successor (chaos --seed 21); no start reads on from them",
    ),
    Kept(
        Draw("wrong_type_in_redis", "at_random", pause=0.2, hurried=False, seed=13),
        "workers died of the text that another program wrote over a user's row, for ever; and when the worker that met it deleted it, Feast"
        " stumbled over those of other partitions when it brought the profiles back; later, a partition that a small batch did not touch"
        " was brought back only as far as it had come when the next text was met, and its users went on without what lay between",
    ),
)

# where a fault strikes in the short round; at random where nothing stands here
_POINTS: dict[str, tuple[str, ...]] = {
    "kill_taskmanager": ("after_the_store_was_written", "after_the_barrier", "after_the_checkpoint"),
    "kill_worker": ("after_the_barrier",),
    "kill_archive_worker": ("after_the_archives_checkpoint",),
    "kill_broker": ("after_the_barrier",),
    "power_cut": ("after_the_store_was_written",),
    "stopped_for_long": ("after_the_checkpoint",),
}
# `chaos` alone has these: another test tries the same, or another fault of the short round does the same and more
LEFT_OUT = {
    "zombie": "it is kept above",
    "wrong_type_in_redis": "it is kept above",
    "kill_taskmanager_twice": "kill_taskmanager, three times",
    "kill_jobmanager": "corrupt_checkpoint kills it too",
    "all_stopped_for_long": "stopped_for_long; power_cut and corrupt_checkpoint kill the JobManager too",
    "kill_redis": "tests/end_to_end/test_redis.py",
    "freeze_redis": "tests/end_to_end/test_redis.py",
    "empty_redis": "tests/end_to_end/test_redis.py",
    "freeze_broker": "silent_wire",
    "freeze_taskmanager": "zombie",
    "slow_wire": "slow_transactions",
    "huge_values": "tests/end_to_end/test_large_values.py",
}


def short_round() -> list[Draw]:
    """The faults of the table in its order, without those that are left out."""
    pairs = [(fault, point) for fault in FAULTS if fault not in LEFT_OUT for point in _POINTS.get(fault, ("at_random",))]
    return [Draw(fault, point, pause=0.2, hurried=False, seed=number) for number, (fault, point) in enumerate(pairs)]
