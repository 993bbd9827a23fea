"""How fast a side answers what waits for it.

The actions are sent beforehand in one open transaction. They become visible all at once when it is committed, so the drain measures
a side that runs and is warm, and neither its start nor the producer.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from infra.config import Settings
from infra.contracts.partitioner import partition_of
from infra.errors import StreamhouseError
from jobs.clickstream import Row
from tests.benchmarks.answers import Answers, Place
from tests.benchmarks.processes import Meter
from tests.benchmarks.sides import Side

STALLED_SECONDS = 120
"""Without a new answer for so long, what is missing counts as unanswered."""


@dataclass(frozen=True)
class Drain:
    """One drain of `actions` actions. Seconds since they became visible: until the broker appended the last answer, and until the
    side's group committed past the last action. CPU seconds and peak bytes by group of processes.
    """

    actions: int
    seconds: float
    committed_seconds: float
    cpu_seconds: dict[str, float]
    peak_bytes: dict[str, int]

    @property
    def rate(self) -> float:
        """Actions per second."""
        return self.actions / self.seconds


@dataclass
class Hidden:
    """Actions in a transaction that is still open, and where they lie."""

    producer: Producer
    places: list[Place] = field(default_factory=list)

    def ends(self) -> dict[int, int]:
        """By partition, the offset behind the last action."""
        ends: dict[int, int] = {}
        for partition, offset in self.places:
            ends[partition] = max(ends.get(partition, 0), offset + 1)
        return ends


def drain(settings: Settings, side: Side, rows: Iterable[Row], partitions: int) -> tuple[Drain, list[Place], Answers]:
    """Send, release, wait until all is committed; then read what was answered, which costs no measured time."""
    hidden = _send(settings, side.source, rows, partitions)
    ends = hidden.ends()
    group = Consumer({**settings.kafka.client(), "group.id": side.group, "enable.auto.commit": False})
    meter = Meter(side.processes)
    began = heard = looked = time.time()
    hidden.producer.commit_transaction(60)
    before = -1
    while True:
        asked = [TopicPartition(side.source, partition) for partition in ends]
        committed = {there.partition: there.offset for there in group.committed(asked, timeout=30)}
        now = time.time()
        if all(committed[partition] >= end for partition, end in ends.items()):
            break
        if (done := sum(committed.values())) != before:
            before, heard = done, now
        elif now - heard > STALLED_SECONDS:
            break
        if now - looked > 0.25:
            meter.look()
            looked = now
        time.sleep(0.02)
    cpu_seconds = meter.cpu_seconds()
    group.close()
    got = side.answers(len(hidden.places), STALLED_SECONDS)
    return Drain(len(hidden.places), got.appended / 1000 - began, now - began, cpu_seconds, meter.peak), hidden.places, got


def _send(settings: Settings, topic: str, rows: Iterable[Row], partitions: int) -> Hidden:
    producer = Producer(
        {
            **settings.kafka.client(),
            "transactional.id": f"benchmark-{topic}",
            "transaction.timeout.ms": 600_000,
            "compression.type": "lz4",
            "linger.ms": 20,
            "log_level": 3,  # a coordinator that is still loading is asked again
        }
    )
    hidden = Hidden(producer)

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            text = f"{topic} did not take an action: {error.str()}"
            raise StreamhouseError(text)
        hidden.places.append((message.partition() or 0, message.offset() or 0))

    producer.init_transactions(60)
    producer.begin_transaction()
    for row in rows:
        while True:
            try:
                producer.produce(topic, row.value, row.user_id.encode(), partition_of(row.user_id, partitions), on_delivery=delivered)
            except BufferError:
                producer.poll(0.1)
            else:
                producer.poll(0)
                break
    if left := producer.flush(60):
        text = f"{topic} did not take {left} actions within 60 s"
        raise StreamhouseError(text)
    return hidden
