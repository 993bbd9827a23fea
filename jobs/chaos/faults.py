"""Every fault by its name. The numbers are those of the list that the suite answers: tests/faults/README.md."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from infra.config import Settings
from infra.stack.services import services
from jobs.chaos import input_faults, points, process_faults, service_faults
from jobs.chaos.ground import Ground

Harm = Callable[[Ground, random.Random], str]
"""Does the harm, and mends what would not mend by itself; answers a sentence about what was done.

Raises:
    StreamhouseError: what it saw was wrong; a finding.
"""


@dataclass(frozen=True)
class Fault:
    """`weight`: how often it is drawn beside the others; `points`: named moments that suit it; `kill`: its recovery is a kill's."""

    harm: Harm
    weight: int = 2
    points: tuple[str, ...] = ()
    kill: bool = False


def _kill(harm: Harm, weight: int, suits: tuple[str, ...] = ()) -> Fault:
    return Fault(harm, weight, suits, kill=True)


FAULTS: dict[str, Fault] = {
    "kill_taskmanager": _kill(process_faults.kill_taskmanager, 12, points.EVERY),
    "kill_taskmanager_twice": _kill(process_faults.kill_taskmanager_twice, 2, points.SCORING),
    "kill_worker": _kill(process_faults.kill_worker, 10, points.EVERY),
    "kill_archive_worker": _kill(process_faults.kill_archive_worker, 3, ("after_the_archives_checkpoint",)),
    "kill_jobmanager": _kill(process_faults.kill_jobmanager, 4, points.EVERY),
    "kill_broker": _kill(process_faults.kill_broker, 5, points.SCORING),
    "kill_redis": _kill(process_faults.kill_redis, 5, points.SCORING),
    "kill_registry": _kill(process_faults.kill_registry, 1),
    "kill_keeper": _kill(process_faults.kill_keeper, 1),
    "kill_forkserver": _kill(process_faults.kill_forkserver, 1),
    "power_cut": _kill(process_faults.power_cut, 2, points.EVERY),
    "restart_broker": Fault(process_faults.restart_broker, points=points.SCORING),
    "freeze_broker": Fault(process_faults.freeze_broker, points=points.SCORING),
    "freeze_taskmanager": Fault(process_faults.freeze_taskmanager, points=points.SCORING),
    "zombie": Fault(process_faults.zombie, 1, points.SCORING),
    "stopped_for_long": Fault(process_faults.stopped_for_long, 1, points.SCORING),
    "all_stopped_for_long": Fault(process_faults.all_stopped_for_long, 1, points.SCORING),
    "second_copy": Fault(process_faults.second_copy, 1),
    "freeze_redis": Fault(service_faults.freeze_redis),
    "empty_redis": Fault(service_faults.empty_redis, points=points.SCORING),
    "fill_redis": Fault(service_faults.fill_redis),
    "wrong_type_in_redis": Fault(service_faults.wrong_type_in_redis, 1),
    "lock_catalog": Fault(service_faults.lock_catalog, points=("after_the_archives_checkpoint",)),
    "no_room_for_checkpoints": Fault(service_faults.no_room_for_checkpoints, 1),
    "no_room_for_tables": Fault(service_faults.no_room_for_tables, 1),
    "corrupt_checkpoint": Fault(service_faults.corrupt_checkpoint, 1),
    "slow_transactions": Fault(service_faults.slow_transactions),
    "lost_commit_answers": Fault(service_faults.lost_commit_answers),
    "slow_wire": Fault(service_faults.slow_wire),
    "silent_wire": Fault(service_faults.silent_wire, points=points.SCORING),
    "cut_wire": Fault(service_faults.cut_wire, points=points.SCORING),
    "poison": Fault(input_faults.poison),
    "huge_values": Fault(input_faults.huge_values, 1),
    "repetitions": Fault(input_faults.repetitions, 1),
    "late_and_early": Fault(input_faults.late_and_early, 1),
    "drift": Fault(input_faults.drift, 1),
}


def possible(settings: Settings) -> dict[str, Fault]:
    """Those whose process is a service of these settings."""
    there = {service.name for service in services(settings)}
    needed = {"kill_keeper": "keeper", "kill_forkserver": "forkserver"}
    return {name: fault for name, fault in FAULTS.items() if needed.get(name) in (None, *there)}
