"""A step that was done in time is not undone by an owner that was away past its deadline and has not read about it yet."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Producer

from infra.clock import system_clock
from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.patterns.commands import Commands
from jobs.patterns.kafka_store import KafkaEventStore
from jobs.patterns.message import Envelope, Message, derived_id, encode
from jobs.patterns.replies import CommandAccepted
from jobs.shop.messages import Item, OrderPaid, OrderPlaced, PaymentProcessed, PlaceOrder, WalletCredited
from jobs.shop.order import Patience, order_aggregate
from jobs.shop.saga import order
from tests.brokers import empty_topics
from tests.integration.patterns.working import working

PATIENCE = Patience(payment=3_000)
OTHERS = 4_000
"""Records of others before the one that matters: many batches."""


@pytest.mark.parametrize(
    ("name", "user", "others", "pause"),
    [
        ("order-d", "gus", OTHERS, 0.0),  # in the order's partition
        ("order-d", "ada", OTHERS, 0.0),  # in one before it
        ("order-g", "gus", 0, 0.3),  # in one behind it, and all of the end of every topic is read at once
    ],
)
def test_a_success_that_lies_unread_is_heard_before_its_deadline_passes(
    broker: Settings, name: str, user: str, others: int, pause: float
) -> None:
    empty_topics(broker)
    there = partition_of(user, load_contracts().topics["payments"].partitions)
    owner, store = order(PATIENCE), KafkaEventStore(broker, order_aggregate(PATIENCE))
    with working(broker, owner), Commands(broker, system_clock, "test", seconds=30) as commands:
        placed = commands.execute(PlaceOrder(name, user, "north", (Item("pen", 1, 100),)), derived_id("test", f"{name} {user}"))
        assert isinstance(placed, CommandAccepted)
    _say(broker, there, [WalletCredited(user, 1)] * others + [PaymentProcessed(user, name, 100)])
    time.sleep(PATIENCE.payment / 1000)
    with working(broker, owner, pause) as ended:
        until = time.monotonic() + 60
        while len(events := [event.envelope.data for event in store.history(name)]) < 2:
            assert not ended
            assert time.monotonic() < until
            time.sleep(0.1)
    assert [type(event) for event in events] == [OrderPlaced, OrderPaid]


def _say(settings: Settings, partition: int, events: list[Message]) -> None:
    producer = Producer({**settings.kafka.client(), "enable.idempotence": True, "log_level": 2})
    for i, event in enumerate(events):
        key, value, headers = encode(Envelope(derived_id("said", f"{i}"), system_clock(), "test", "c", event))
        producer.produce(event.topic, value, key, partition, headers=list(headers))
    assert producer.flush(30) == 0
