"""A listener in Kafka: what it could not take comes again until it can, in order, and only a fault for a person ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer

from infra.config import Settings
from infra.contracts.partitioner import partition_of
from infra.errors import StreamhouseError
from infra.stack import groups
from jobs.patterns.message import Envelope, Message, derived_id, encode
from jobs.patterns.subscriber import Batch, Place, Subscriber
from jobs.shop.messages import OrderCancelled, OrderPlaced, OrderShipped

PARTITION = partition_of("o", 4)


class Hearing:
    """Keeps what it hears, and fails when it is told to."""

    def __init__(self, *faults: Exception) -> None:
        self.faults, self.heard, self.begun = list(faults), list[str](), list[set[Place]]()

    def begin(self, held: Mapping[Place, tuple[int, int]]) -> Mapping[Place, int]:
        self.begun.append(set(held))
        return {}

    def handle(self, batch: Batch) -> None:
        assert all(batch.before[event.topic, event.partition] <= event.offset for event in batch.events)
        assert all(batch.after[event.topic, event.partition] > event.offset for event in batch.events)
        if self.faults:
            raise self.faults.pop(0)
        self.heard += [event.envelope.id for event in batch.events]


def send(settings: Settings, *records: Message | bytes) -> list[str]:
    """Answers the events' ids, in order."""
    producer, names = Producer({**settings.kafka.client(), "enable.idempotence": True, "log_level": 2}), list[str]()
    for i, one in enumerate(records):
        value = one
        if not isinstance(one, bytes):
            envelope = Envelope(derived_id("test", f"{type(one).__name__} {i}"), 1_710_325_333_000, "test", "c", one)
            names += [envelope.id] if isinstance(one, OrderShipped) else []
            value = encode(envelope)[1]
        producer.produce("orders", value, b"o", PARTITION)  # type: ignore[arg-type]  # bytes by now
    assert producer.flush(20) == 0
    return names


SHIPPED, CANCELLED = OrderShipped("o", "u"), OrderCancelled("o", "u", "x", 0)


def run(settings: Settings, hearing: Hearing, count: int) -> None:
    """Until it has heard so many and has committed them, or ends by itself."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(Subscriber(settings, "hearing", (OrderShipped,), hearing).run, stop)
        deadline = time.monotonic() + 180
        while not future.done() and (len(hearing.heard) < count or any(one.lag for one in groups.lags(settings))):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        stop.set()
        future.result(30)


def test_a_batch_that_failed_comes_again_whole_and_the_next_process_goes_on_behind_it(topics: Settings) -> None:
    sent = send(topics, SHIPPED, CANCELLED, b"{", SHIPPED, OrderPlaced("o", "u", "north", (), 1, 1), SHIPPED, CANCELLED)
    first = Hearing(OSError("no room"), ValueError("a fault of its own"))
    run(topics, first, 3)
    assert first.heard == sent
    assert first.begun == [{("orders", number) for number in range(4)}] * 3
    later = send(topics, CANCELLED, SHIPPED)
    second = Hearing()
    run(topics, second, 1)
    assert second.heard == later


def test_a_fault_for_a_person_ends_it_and_commits_nothing(topics: Settings) -> None:
    sent = send(topics, SHIPPED)
    with pytest.raises(StreamhouseError, match="the file is gone"):
        run(topics, Hearing(StreamhouseError("the file is gone")), 1)
    again = Hearing()
    run(topics, again, 1)
    assert again.heard == sent
