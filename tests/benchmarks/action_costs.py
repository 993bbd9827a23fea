"""What one action costs, as a bench measured it: CPU by group of processes, bytes by where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from infra.errors import StreamhouseError
from jobs.answered import PREDICTIONS
from jobs.scoring_parts import SOURCE_TOPIC

DRAIN, DISK, LOADED = "drain", "costs: disk", "costs: memory under load"
_ENOUGH = 50_000  # actions archived after the job's start that tell what one takes


@dataclass(frozen=True)
class Measured:
    """What one action costs: CPU microseconds by group of processes, scored and archived; bytes on disk by topic and table.

    `rate`: actions that `lanes` workers answered a second. `user_bytes` in Redis' memory, `user_file_bytes` in its file; `commit_bytes` of
    metadata in a commit to one table; `worker_bytes` of one Python worker.
    """

    rate: float
    lanes: int
    scored_us: Mapping[str, float]
    archived_us: Mapping[str, float]
    topic_bytes: Mapping[str, float]
    table_bytes: Mapping[str, float]
    user_bytes: float
    user_file_bytes: float
    commit_bytes: float
    worker_bytes: float
    looks_us: Mapping[str, float]
    """Of the services that read what comes and goes, each of them one process."""
    said: str
    """What these were taken from."""

    @property
    def in_all_us(self) -> float:
        """Of everything that scores, without the archive."""
        return sum(self.scored_us.values())

    @property
    def archive_us(self) -> float:
        """Of the slower half of a slot of the archive, for an action and its prediction."""
        return max(self.archived_us.get("python workers", 0.0), self.archived_us.get("taskmanager", 0.0))

    @property
    def lane_us(self) -> float:
        """Of the slower half of a lane: a Python worker, or the task before and behind it in Java; they work at the same time."""
        return max(self.scored_us["python workers"], self.scored_us["taskmanager"])


def measured(legs: Sequence[Mapping[str, Any]], said: str) -> Measured:
    """From the legs of a bench, medians of those that count; of all, where none does.

    Raises:
        StreamhouseError: a part of it was not measured.

    """

    def figures(part: str) -> list[Mapping[str, Any]]:
        found = [leg for leg in legs if leg["part"] == part and leg["side"] == "ours"]
        if not found:
            message = f"{said}: expected a leg of {part}, got none; run `./streamhouse bench --only drain,costs` first"
            raise StreamhouseError(message)
        return [leg["figures"] for leg in found if leg["counts"]] or [leg["figures"] for leg in found]

    drains, disk, load = figures(DRAIN), figures(DISK)[-1], figures(LOADED)[-1]
    actions, steady, tables = disk["actions"], disk["archive_steady"], disk["tables"]
    if steady["actions"] < _ENOUGH:  # it was through by its first commit: with its start, then
        steady = {"actions": actions, "cpu_seconds": disk["archive_cpu_seconds"]}
    commits = sum(table["commits"] for table in tables.values())
    return Measured(
        rate=median(drain["per_second"] for drain in drains),
        lanes=2,  # tests.benchmarks.bench.command.DRAINED_WITH
        scored_us={group: median(drain["cpu_us"][group] for drain in drains) for group in drains[0]["cpu_us"]},
        archived_us={group: steady["cpu_seconds"].get(group, 0.0) / steady["actions"] * 1e6 for group in drains[0]["cpu_us"]},
        topic_bytes={topic: disk["kafka_bytes"][topic] / actions for topic in (SOURCE_TOPIC, PREDICTIONS)},
        table_bytes={topic: tables[topic]["data_bytes"] / actions for topic in (SOURCE_TOPIC, PREDICTIONS)},
        user_bytes=disk["redis_bytes"] / disk["users"],
        user_file_bytes=disk["aof_rewritten_bytes"] / disk["users"],
        commit_bytes=sum(table["metadata_bytes"] for table in tables.values()) / max(1, commits),
        worker_bytes=load["pss_mib"]["python workers"] * 2**20,
        looks_us={service: load["cpu_us"][service] for service in ("keeper", "meter")},
        said=f"{said}: {len(drains)} drains of {drains[0]['actions']:,} actions, {steady['actions']:,} archived,"
        f" disk of {actions:,} actions and {disk['users']:,} users",
    )
