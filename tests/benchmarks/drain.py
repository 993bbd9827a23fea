"""How fast a side answers what waits for it.

The records are sent beforehand in one open transaction. They become visible all at once when it is committed, so the drain measures
a side that runs and is warm, and neither its start nor the producer.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from confluent_kafka import KafkaError, Message, Producer

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs.chaos.actions import Made
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks.answers import Answers, Sent
from tests.benchmarks.processes import Meter
from tests.benchmarks.sides import Side

STALLED_SECONDS = 120
"""Without a new answer for so long, what is missing counts as unanswered."""


@dataclass(frozen=True)
class Drain:
    """One drain of `actions` records, whose keys and values take `size` bytes. Seconds since they became visible: until the broker
    appended the last answer, and until the last was committed. CPU seconds and peak bytes by group of processes.
    """

    actions: int
    size: int
    seconds: float
    committed_seconds: float
    cpu_seconds: dict[str, float]
    peak_bytes: dict[str, int]

    @property
    def rate(self) -> float:
        """Actions per second."""
        return self.actions / self.seconds

    @property
    def megabytes_per_second(self) -> float:
        """Of what was read: megabytes of 10^6 bytes."""
        return self.size / self.seconds / 1e6

    @property
    def cpu_seconds_in_all(self) -> float:
        """Of all groups."""
        return sum(self.cpu_seconds.values())


STARTS = 0.25
"""The share of the answers that comes first and tells of the start rather than of the speed."""


def steady_rate(times: Iterable[int]) -> float | None:
    """Answers a second from when the broker had the first quarter of them until it had the last; `times`: when it appended each, ms since
    1970. None where all came within one millisecond, or none did.
    """
    ordered = sorted(times)
    if not ordered:
        return None
    began = ordered[int(STARTS * len(ordered))]
    # those of the same batch have the same time, and lie before the beginning
    counted = len(ordered) - bisect_right(ordered, began)
    return 1000 * counted / (ordered[-1] - began) if counted else None


@dataclass
class Hidden:
    """Records in a transaction that is still open, where they lie, and how many bytes they take."""

    producer: Producer
    sent: Sent = field(default_factory=dict)
    size: int = 0


class Watched(Protocol):
    """Who looks at the machine while a side drains, and neither before nor after."""

    def begin(self) -> None:
        """The records are about to become visible."""

    def end(self) -> None:
        """As many answers as are wanted are committed; they are read now. It may be called again."""


def drain(settings: Settings, side: Side, records: Iterable[Made], watch: Watched | None = None) -> tuple[Drain, Sent, Answers]:
    """Send, release, and wait until as many answers are committed; what was answered is told too."""
    hidden, got = _send(settings, side.source, records), Answers()
    wanted, before = len(hidden.sent), side.committed()
    if watch is not None:
        watch.begin()
    meter = Meter(side.processes)
    began = heard = looked = time.time()
    hidden.producer.commit_transaction(60)
    known = before
    while True:
        now = time.time()
        side.check()
        if (committed := side.committed()) != known:
            known, heard = committed, now
            # only at the end is there anything to read, so that the reading takes no time from the drain
            if committed - before >= wanted:
                cpu_seconds = meter.cpu_seconds()
                if watch is not None:
                    watch.end()
                side.take(got)
                if len(got.of) + len(got.refused) >= wanted:
                    break
        elif now - heard > STALLED_SECONDS:
            cpu_seconds = meter.cpu_seconds()
            side.take(got)
            break
        if now - looked > 0.25:
            meter.look()
            looked = now
        time.sleep(0.05)
    return Drain(wanted, hidden.size, got.appended / 1000 - began, now - began, cpu_seconds, meter.peak), hidden.sent, got


def _send(settings: Settings, topic: str, records: Iterable[Made]) -> Hidden:
    producer = Producer(
        {
            **settings.kafka.client(),
            "transactional.id": f"benchmark-{topic}",
            "transaction.timeout.ms": 600_000,
            "compression.type": "lz4",
            "linger.ms": 20,
            "message.max.bytes": 2 * load_contracts().topics[SOURCE_TOPIC].max_message_bytes,
            "log_level": 3,  # a coordinator that is still loading is asked again
        }
    )
    hidden = Hidden(producer)

    def delivered(reason: str | None, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            text = f"{topic} did not take a record: {error.str()}"
            raise StreamhouseError(text)
        hidden.sent[message.partition() or 0, message.offset() or 0] = reason

    producer.init_transactions(60)
    producer.begin_transaction()
    for record in records:
        hidden.size += len(record.key or b"") + len(record.value or b"")
        while True:
            try:
                producer.produce(topic, record.value, record.key, record.partition, on_delivery=partial(delivered, record.reason))
            except BufferError:
                producer.poll(0.1)
            else:
                producer.poll(0)
                break
    if left := producer.flush(60):
        text = f"{topic} did not take {left} records within 60 s"
        raise StreamhouseError(text)
    return hidden
