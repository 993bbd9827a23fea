"""Standard registry clients on the real stack, whose own predictions are framed: each reads what the other writes, answered once."""

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
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.config import Settings, load_settings
from infra.contracts.framing import frame, payload, unframe
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.stack import health, measured, supervise
from jobs.audit.run import audit
from jobs.rebuild_features import rebuild
from jobs.replay.command import EQUAL, main
from jobs.submit import JOBS, submit
from lakehouse.read import read
from tests.end_to_end.actions import an_action
from tests.end_to_end.facts import Place, place_of, records, restarts, tables_follow, value_of, wait_for
from tests.end_to_end.readme import said
from tests.end_to_end.stacks import fresh_stack
from tests.registries import confluent_client
from tests.unit.contracts.test_framing import USER_ACTION, written

pytestmark = pytest.mark.timeout(600)
ACTIONS, PREDICTIONS = "user-actions", "predictions"
USER = "registry-client"
HOME = partition_of(USER, 4)
WHERE = SerializationContext(ACTIONS, MessageField.VALUE)


@pytest.fixture(scope="module")
def framing() -> Iterator[Settings]:
    """A stack of its own, as its scoring job frames what it writes; each prediction is measured."""
    with fresh_stack(
        "registry-clients",
        REGISTRY_FRAMED=PREDICTIONS,
        REGISTRY_UNKNOWN_SECONDS="1",
        ARCHIVE_TOPICS_CHECKPOINT_INTERVAL="1s",
        METER_EVERY="1",
    ) as settings:
        submit(settings, *JOBS)
        yield settings


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


def predictions(settings: Settings) -> dict[Place, dict[str, Any]]:
    """By the place of its action."""
    events = [json.loads(payload(message.value()) or b"") for message in records(settings, PREDICTIONS)]
    return {(event["data"]["actionPartition"], event["data"]["actionOffset"]): event for event in events}


def answers(settings: Settings) -> dict[Place, str]:
    """By place, `prediction` or the reason of its dead letter."""
    letters = [value_of(message)["data"] for message in records(settings, "user-actions-dlq")]
    refused = {(letter["sourcePartition"], letter["sourceOffset"]): letter["error"]["reason"] for letter in letters}
    return dict.fromkeys(predictions(settings), "prediction") | refused


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


def test_framed_actions_are_answered_as_plain_ones_over_an_absent_registry(framing: Settings) -> None:
    sender = Sender(framing)
    with confluent_client(framing) as client:
        by_json = JSONSerializer(json.dumps(load_contracts().schemas["UserAction", 1].document), client, lambda value, _: value)
        by_avro, later = serializer(client, "Acted"), serializer(client, "ActedLater")
        events = [an_event() for _ in range(6)]
        plain = json.dumps(events[1]).encode()
        new = later(as_avro(events[5]), WHERE)  # registered, and not asked about yet
        good = sender.send(by_json(events[0], WHERE), plain, by_avro(as_avro(events[2]), WHERE))
        whole = by_avro(as_avro(events[3]), WHERE)
        assert whole is not None
        unknown, unread = sender.send(frame(876_543, plain), whole[:-3])
        wait_for(lambda: answers(framing).keys() >= set(sender.places))
        expected = dict.fromkeys(good, "prediction") | {unknown: "unknown_schema", unread: "invalid_avro"}
        assert answers(framing) == expected

        with no_registry(framing):
            goes_on = sender.send(by_avro(as_avro(events[4]), WHERE), by_json(an_event(), WHERE))
            wait_for(lambda: answers(framing).keys() >= set(goes_on))
            waiting = sender.send(new, json.dumps(an_event("add_to_cart")).encode(), frame(765_432, plain))
            with pytest.raises(AssertionError, match="waited in vain"):
                wait_for(lambda: bool(answers(framing).keys() & set(waiting)), seconds=4)
        wait_for(lambda: answers(framing).keys() >= set(waiting))
    expected |= dict.fromkeys(goes_on, "prediction") | dict(zip(waiting, ["prediction", "prediction", "unknown_schema"], strict=True))
    assert answers(framing) == expected
    assert restarts(framing) == 0

    wait_for(lambda: tables_follow(framing))
    rows = read(framing, "user_actions", ["topic_partition", "topic_offset", "user_id", "event_id"], f"topic_partition = {HOME}")
    held = {(row["topic_partition"], row["topic_offset"]): row for row in rows.to_pylist()}
    assert [held[place]["event_id"] for place in good] == [event["eventId"] for event in events[:3]]
    assert {held[place]["user_id"] for place in (*good, *goes_on)} == {USER}
    assert {held[place]["user_id"] for place in (unknown, unread)} == {None}


def test_a_letter_of_an_unknown_schema_is_accepted_once_its_schema_is_registered(framing: Settings) -> None:
    sender = Sender(framing)
    with confluent_client(framing) as client:
        coming = client.register_schema("gap", Schema(schema_named("Gap"), "AVRO")) + 1
        (place,) = sender.send(frame(coming, written(USER_ACTION | {"name": "Coming"}, as_avro(an_event()))))
        wait_for(lambda: answers(framing).get(place) == "unknown_schema")
        assert client.register_schema("coming", Schema(schema_named("Coming"), "AVRO")) == coming
    where, before = f"{place[0]}:{place[1]}", len(predictions(framing))
    assert "1 would be accepted now" in said(framing, f"./streamhouse dlq replay {where} --dry-run")
    said(framing, f"./streamhouse dlq replay {where} --yes")
    wait_for(lambda: len(predictions(framing)) > before)
    assert "accepted" in json.loads(said(framing, f"./streamhouse dlq show {where} --json"))["history"][-1]
    assert answers(framing)[place] == "unknown_schema"


def test_clients_and_we_read_the_predictions_and_all_of_it_comes_out_again(framing: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    sent = Sender(framing).send(*(json.dumps(an_event()).encode() for _ in range(3)))
    wait_for(lambda: predictions(framing).keys() >= set(sent))
    values = [message.value() or b"" for message in records(framing, PREDICTIONS)]
    with confluent_client(framing) as client:
        registered = client.get_latest_version(f"{PREDICTIONS}-Prediction").schema_id
        deserializer = JSONDeserializer(None, schema_registry_client=client)
        found = [deserializer(value, SerializationContext(PREDICTIONS, MessageField.VALUE)) for value in values]
    assert {framed and framed.schema_id for framed in map(unframe, values)} == {registered}
    ids = sorted(event["eventId"] for event in found)
    printed = said(framing, f"./streamhouse consume {PREDICTIONS} -n {len(ids)} --idle 20").splitlines()
    assert sorted(json.loads(line)["eventId"] for line in printed if line.startswith("{")) == ids
    assert json.loads(said(framing, f"./streamhouse why {ids[0]} --json"))["equal"] is True

    wait_for(lambda: tables_follow(framing))
    rebuild(framing)
    report = audit(framing, settled=True)
    assert report.is_clean, report.findings
    # made again by the features that the table holds and by those folded anew, and by the tables alone
    for settings, fold in ((framing, False), (without_broker(framing), True)):
        options: dict[str, Any] = dict.fromkeys(["from_time", "to_time", "tag", "snapshot_id", "parallelism"])
        options |= {"offsets": [], "batch": 20_000, "as_json": True, "own_name": f"replay-{uuid.uuid4()}", "flink": False, "topics": False}
        assert main(settings, **options, fold=fold) == EQUAL, capsys.readouterr()
        assert json.loads(capsys.readouterr().out)["predictions"]["equal"] == len(ids)
    wait_for(lambda: (kept := measured.known(framing)) is not None and kept.measured.equal == len(ids))
    assert restarts(framing) == 0


def without_broker(framing: Settings) -> Settings:
    """The same tables, and neither a broker nor a registry."""
    away = load_settings({"STREAMHOUSE_STATE": str(framing.state), "STREAMHOUSE_KAFKA_PORT": "9", "STREAMHOUSE_REGISTRY_PORT": "9"})
    assert not health.answers(away, "broker")
    return away
