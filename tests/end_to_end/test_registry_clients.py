"""What standard registry clients send, on the real stack: answered once as plain JSON is, also over an absent registry."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.config import Settings, load_settings
from infra.contracts.framing import frame
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.stack import health, supervise
from jobs.audit.run import audit
from jobs.rebuild_features import rebuild
from jobs.replay.command import EQUAL, main
from lakehouse.read import read
from tests.end_to_end.actions import an_action
from tests.end_to_end.facts import Place, place_of, records, restarts, tables_follow, value_of, wait_for
from tests.end_to_end.readme import said
from tests.unit.contracts.test_framing import USER_ACTION, written

pytestmark = pytest.mark.timeout(600)
ACTIONS = "user-actions"
USER = "registry-client"
HOME = partition_of(USER, 4)
WHERE = SerializationContext(ACTIONS, MessageField.VALUE)


def an_event(action: str = "product_view") -> dict[str, Any]:
    return an_action(eventId=str(uuid.uuid4()), data={"userId": USER, "sessionId": "s1", "action": action, "platform": "ios"})


def as_avro(event: dict[str, Any]) -> dict[str, Any]:
    return event | {"timestamp": datetime(2024, 7, 1, tzinfo=UTC)}


def schema_named(name: str) -> str:
    return json.dumps(USER_ACTION | {"name": name})


def serializer(client: SchemaRegistryClient, name: str) -> AvroSerializer:
    made: AvroSerializer = AvroSerializer(client, schema_named(name), conf={"subject.name.strategy": lambda _, record: record})
    return made


class Sender:
    """Sends values of one user, and knows where each of them lies."""

    def __init__(self, settings: Settings) -> None:
        self._producer, self.places = Producer({**settings.kafka.client(), "enable.idempotence": True}), list[Place]()

    def send(self, *values: bytes | None) -> list[Place]:
        def delivered(error: Any, message: Message) -> None:
            assert error is None, error
            self.places.append(place_of(message))

        before = len(self.places)
        for value in values:
            self._producer.produce(ACTIONS, value, key=USER.encode(), partition=HOME, on_delivery=delivered)
        assert self._producer.flush(60) == 0
        return self.places[before:]


def answers(settings: Settings) -> dict[Place, str]:
    """By place, `prediction` or the reason of its dead letter."""
    said = {
        (d["actionPartition"], d["actionOffset"]): "prediction" for d in (value_of(m)["data"] for m in records(settings, "predictions"))
    }
    letters = [value_of(message)["data"] for message in records(settings, "user-actions-dlq")]
    return said | {(d["sourcePartition"], d["sourceOffset"]): d["error"]["reason"] for d in letters}


@contextmanager
def no_registry(settings: Settings) -> Iterator[None]:
    with supervise.server(settings) as remote:
        remote.supervisor.stopProcessGroup("registry")
    try:
        yield
    finally:
        with supervise.server(settings) as remote:
            remote.supervisor.startProcessGroup("registry", False)
        wait_for(lambda: health.answers(settings, "registry"))


def test_framed_actions_are_answered_as_plain_ones_over_an_absent_registry(stack: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    sender, seen = Sender(stack), restarts(stack)
    with SchemaRegistryClient({"url": stack.registry.confluent_url}) as client:
        by_json = JSONSerializer(json.dumps(load_contracts().schemas["UserAction", 1].document), client, lambda value, _: value)
        by_avro, later = serializer(client, "Acted"), serializer(client, "ActedLater")
        events = [an_event() for _ in range(6)]
        plain = json.dumps(events[1]).encode()
        new = later(as_avro(events[5]), WHERE)  # registered, and not asked about yet
        good = sender.send(by_json(events[0], WHERE), plain, by_avro(as_avro(events[2]), WHERE))
        whole = by_avro(as_avro(events[3]), WHERE)
        assert whole is not None
        unknown, unread = sender.send(frame(876_543, plain), whole[:-3])
        wait_for(lambda: answers(stack).keys() >= set(sender.places))
        expected = dict.fromkeys(good, "prediction") | {unknown: "unknown_schema", unread: "invalid_avro"}
        assert {place: why for place, why in answers(stack).items() if place in expected} == expected

        with no_registry(stack):
            goes_on = sender.send(by_avro(as_avro(events[4]), WHERE), by_json(an_event(), WHERE))
            wait_for(lambda: answers(stack).keys() >= set(goes_on))
            waiting = sender.send(new, json.dumps(an_event("add_to_cart")).encode(), frame(765_432, plain))
            with pytest.raises(AssertionError, match="waited in vain"):
                wait_for(lambda: bool(answers(stack).keys() & set(waiting)), seconds=8)
        wait_for(lambda: answers(stack).keys() >= set(waiting))
    expected |= dict.fromkeys(goes_on, "prediction") | dict(zip(waiting, ["prediction", "prediction", "unknown_schema"], strict=True))
    answered = answers(stack)
    assert {place: answered[place] for place in sender.places} == expected
    assert restarts(stack) == seen

    # the same event, however it came, was scored with the features of what came before; and all of it comes out again
    wait_for(lambda: tables_follow(stack))
    rows = read(stack, "user_actions", ["topic_partition", "topic_offset", "user_id", "event_id", "platform"], f"topic_partition = {HOME}")
    held = {(row["topic_partition"], row["topic_offset"]): row for row in rows.to_pylist()}
    of_event = {place: event["eventId"] for place, event in zip(good, events, strict=False)}
    assert {place: held[place]["event_id"] for place in good} == of_event
    assert {held[place]["user_id"] for place in (*good, *goes_on)} == {USER}
    assert {held[place]["user_id"] for place in (unknown, unread)} == {None}
    rebuild(stack)
    report = audit(stack, settled=True)
    assert report.is_clean, report.findings
    for settings in (stack, without_broker(stack)):
        options: dict[str, Any] = dict.fromkeys(["from_time", "to_time", "tag", "snapshot_id", "parallelism"])
        options |= {"offsets": [], "batch": 20_000, "as_json": True, "own_name": f"replay-{uuid.uuid4()}", "flink": False, "topics": False}
        assert main(settings, **options, fold=True) == EQUAL, capsys.readouterr()
        told = json.loads(capsys.readouterr().out)
        assert told["predictions"]["equal"] >= 6


def without_broker(stack: Settings) -> Settings:
    """The same tables, and neither a broker nor a registry."""
    away = load_settings({"STREAMHOUSE_STATE": str(stack.state), "STREAMHOUSE_KAFKA_PORT": "9", "STREAMHOUSE_REGISTRY_PORT": "9"})
    assert not health.answers(away, "broker")
    return away


def test_a_letter_of_an_unknown_schema_is_accepted_once_its_schema_is_registered(stack: Settings) -> None:
    sender = Sender(stack)
    with SchemaRegistryClient({"url": stack.registry.confluent_url}) as client:
        latest = client.register_schema("gap", Schema(schema_named("Gap"), "AVRO"))
        coming = latest + 1
        (place,) = sender.send(frame(coming, written(USER_ACTION | {"name": "Coming"}, as_avro(an_event()))))
        wait_for(lambda: answers(stack).get(place) == "unknown_schema")
        assert client.register_schema("coming", Schema(schema_named("Coming"), "AVRO")) == coming
    where = f"{place[0]}:{place[1]}"
    assert "1 would be accepted now" in said(stack, f"./streamhouse dlq replay {where} --dry-run")
    said(stack, f"./streamhouse dlq replay {where} --yes")
    wait_for(lambda: "accepted" in json.loads(said(stack, f"./streamhouse dlq show {where} --json"))["history"][-1], between=2)
    assert answers(stack)[place] == "unknown_schema"
