"""How fast a side answers what waits for it.

The actions are sent beforehand in one open transaction. They become visible all at once when it is committed, so the drain measures
a side that runs and is warm, and neither its start nor the producer.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, Message, Producer

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
    last was committed. CPU seconds and peak bytes by group of processes.
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


def drain(settings: Settings, side: Side, rows: Iterable[Row], partitions: int) -> tuple[Drain, list[Place], Answers]:
    """Send, release, and wait until as many answers are committed; what was answered is told too."""
    hidden, got = _send(settings, side.source, rows, partitions), Answers()
    wanted, before = len(hidden.places), side.committed()
    meter = Meter(side.processes)
    began = heard = looked = time.time()
    hidden.producer.commit_transaction(60)
    known = before
    while True:
        now = time.time()
        if (committed := side.committed()) != known:
            known, heard = committed, now
            # only at the end is there anything to read, so that the reading takes no time from the drain
            if committed - before >= wanted:
                cpu_seconds = meter.cpu_seconds()
                side.take(got)
                if len(got.of) + got.dead_letters >= wanted:
                    break
        elif now - heard > STALLED_SECONDS:
            cpu_seconds = meter.cpu_seconds()
            side.take(got)
            break
        if now - looked > 0.25:
            meter.look()
            looked = now
        time.sleep(0.02)
    return Drain(wanted, got.appended / 1000 - began, now - began, cpu_seconds, meter.peak), hidden.places, got


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
