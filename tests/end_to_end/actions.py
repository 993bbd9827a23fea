"""User actions as the end-to-end tests make and send them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from confluent_kafka import Message, Producer

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from tests.end_to_end.facts import Place, place_of

NOON = datetime(2024, 6, 30, 12, tzinfo=UTC)


def an_action(**changes: Any) -> dict[str, Any]:
    """A valid event with some of its fields changed; `data` changes those inside."""
    data = {"userId": "guest", "sessionId": "s", "action": "home", "platform": None, "lifecycle": None} | changes.pop("data", {})
    return {
        "eventType": "UserAction",
        "eventId": "0b9f1d1e-1111-4222-8333-444455556666",
        "timestamp": "2024-07-01T00:00:00Z",
        "version": 1,
        "source": "test",
        "correlationId": "c",
        "data": data,
    } | changes


GOOD = orjson.dumps(an_action())


def minutes(*after_noon: int) -> list[datetime]:
    return [NOON + timedelta(minutes=minute) for minute in after_noon]


def send(settings: Settings, user: str, *times: datetime) -> list[Place]:
    """Product views of one user, in this order; answers where they lie."""
    topic, places = load_contracts().topics["user-actions"], []
    producer = Producer({**settings.kafka.client(), "enable.idempotence": True})

    def delivered(error: Any, message: Message) -> None:
        assert error is None, error
        places.append(place_of(message))

    for moment in times:
        event = an_action(
            eventId=str(uuid.uuid4()),
            timestamp=moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            data={"userId": user, "action": "product_view"},
        )
        partition = partition_of(user, topic.partitions)
        producer.produce(topic.name, orjson.dumps(event), key=user.encode(), partition=partition, on_delivery=delivered)
    assert producer.flush(60) == 0
    assert len(places) == len(times)
    return places
