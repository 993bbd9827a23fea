"""The committed offsets of the jobs' groups, looked at all the time while faults strike: they must not fall while a job runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.stack import flink_rest
from jobs.chaos.reader import ACTIONS, LETTERS, PREDICTIONS

_LOOK_SECONDS = 0.5
_BACK_SECONDS = 10.0
_BACK_CHECKPOINTS = 2
Place = tuple[str, str, int]
"""Group, topic, partition."""


@dataclass
class _Standing:
    offset: int
    job: str
    fell: float | None = None  # when it was first seen below `offset`, while that job ran
    to: int = 0
    checkpoint: int = 0  # the job's newest one when it was last seen below
    completed: int = 0  # how many completed meanwhile; not by their numbers, which those that failed have, too

    def stays(self, now: float) -> bool:
        """Whether it fell and the job had the time and the checkpoints to make up for it, and did not."""
        return self.fell is not None and now - self.fell > _BACK_SECONDS and self.completed >= _BACK_CHECKPOINTS


class Falls:
    """Judges what was seen of committed offsets. Times are monotonic seconds.

    A TaskManager that wakes up after a successor has taken over still sends the commit that it was about to: Kafka fences nobody who
    commits for a group without members. It is overtaken by the next checkpoint, and no start reads on from it; `stale` counts such.
    A fall that still stands when two more checkpoints have completed, and ten seconds have passed, is one that a running job made:
    `backwards` tells of it. Time alone proves nothing: a job that the next fault brings down completes no checkpoint for a while.
    """

    def __init__(self) -> None:
        self.stale = 0
        self._standing: dict[Place, _Standing] = {}
        self._told: list[str] = []

    def see(self, place: Place, offset: int, job: str, checkpoint: int, now: float) -> None:
        """The committed offset of a place while this job runs, which completed this checkpoint last before it was looked at."""
        before = self._standing.get(place)
        if before is None or before.job != job or offset >= before.offset:
            if before is not None and before.fell is not None and before.job == job:
                self._made_up(place, before, now)
            self._standing[place] = _Standing(offset, job)
            return
        if before.fell is None:
            before.fell, before.to = now, offset
        elif checkpoint > before.checkpoint:
            before.completed += 1
        before.checkpoint = checkpoint

    def backwards(self, now: float) -> list[str]:
        """The falls that were not made up for in time, a sentence each."""
        still = [(place, standing) for place, standing in self._standing.items() if standing.stays(now)]
        return [*self._told, *(_sentence(place, standing) for place, standing in still)]

    def _made_up(self, place: Place, standing: _Standing, now: float) -> None:
        if standing.stays(now):
            self._told.append(_sentence(place, standing))
        else:
            self.stale += 1


def _sentence(place: Place, standing: _Standing) -> str:
    group, topic, partition = place
    where = f"group {group}, topic {topic}, partition {partition}"
    fell = f"committed offset fell from {standing.offset} to {standing.to} while job {standing.job} ran"
    return f"{where}: {fell}, and stayed below for {_BACK_SECONDS:.0f} s and {standing.completed} checkpoints"


class Groups:
    """Looks twice a second at the offsets of the groups whose job runs; `looks` counts how often there was something to see."""

    def __init__(self, settings: Settings) -> None:
        self.falls = Falls()
        self.looks = 0
        self._settings = settings
        topics = load_contracts().topics
        self._watched: Mapping[str, list[TopicPartition]] = {
            "score_events": [TopicPartition(ACTIONS, p) for p in range(topics[ACTIONS].partitions)],
            "archive_topics": [TopicPartition(n, p) for n in (ACTIONS, PREDICTIONS, LETTERS) for p in range(topics[n].partitions)],
        }
        self._ending, self._thread = threading.Event(), threading.Thread(target=self._run, name="groups", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the watching."""
        self._ending.set()
        self._thread.join(30)

    def _run(self) -> None:
        consumers = {
            group: Consumer({**self._settings.kafka.client(), "group.id": group, "enable.auto.commit": False, "log_level": 0})
            for group in self._watched
        }
        while not self._ending.wait(_LOOK_SECONDS):
            try:
                running = {job.name: job.id for job in flink_rest.jobs(self._settings) if job.is_alive}
                for group, places in self._watched.items():
                    if (job := running.get(group)) is None:
                        continue
                    checkpoint = flink_rest.last_checkpoint(self._settings, job)  # before the offsets: they are as new, or newer
                    for place in consumers[group].committed(places, timeout=5):
                        at = group, place.topic, place.partition
                        self.falls.see(at, max(place.offset, 0), job, checkpoint, time.monotonic())
                    self.looks += 1
            except (StreamhouseError, KafkaException):
                continue  # away for now; the next look compares with the last
        for consumer in consumers.values():
            consumer.close()
