"""Workers, a real broker and a real registry: framed records are answered by what is on record, over crashes, rivals and an outage."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.schema_registry import Schema

from infra.clock import system_clock
from infra.config import Settings
from infra.contracts import topics
from infra.contracts.decisions import TOPIC, Decisions, Known, Unknown, read_decision, write_decision
from infra.contracts.framing import AVRO, WriterSchema, frame
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.contracts.registered import RegistryAway
from jobs.committed_records import read_all
from jobs.patterns.handling import Outgoing
from jobs.patterns.transactional import NotCommitted, commit, owning_producer
from jobs.records import Records, Rules
from jobs.schema_history import decisions_in_topic
from jobs.schema_ids import SchemaIds
from jobs.scoring_parts import rules
from jobs.scoring_path import accept
from tests.brokers import empty_topics
from tests.ports import free_ports
from tests.registries import Registry, confluent_client, running_registry
from tests.unit.contracts.test_framing import AN_ACTION, USER_ACTION, written

ACTIONS = "user-actions"
PARTITION = partition_of("user_0001", 4)
ELSEWHERE = (PARTITION + 1) % 4
PLAIN = json.dumps(AN_ACTION | {"timestamp": "2024-03-13T10:22:12.345Z"}).encode()
NOW = 1_710_325_333_000
ID = "7f9c2b1e-3d4a-8c5b-8e6f-0a1b2c3d4e5f"


@pytest.fixture(scope="module")
def running(broker: Settings) -> Iterator[tuple[Settings, Registry]]:
    port, management = free_ports(2)
    settings = replace(broker, registry=replace(broker.registry, port=int(port), management_port=int(management), wait_seconds=1))
    with running_registry(settings) as registry:
        yield settings, registry


@pytest.fixture
def settings(running: tuple[Settings, Registry]) -> Settings:
    empty_topics(running[0])
    return running[0]


def registered(settings: Settings, name: str, kind: str = "AVRO") -> int:
    schema = (
        USER_ACTION | {"name": name}
        if kind == "AVRO"
        else {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "title": name}
    )
    with confluent_client(settings) as client:
        return int(client.register_schema(name, Schema(json.dumps(schema), kind)))


def worker(settings: Settings, **more: float) -> SchemaIds:
    now = more.get("now")
    clock = time.monotonic if now is None else lambda: float(now)
    return SchemaIds(settings, ACTIONS, system_clock, time.sleep, clock)


def records(first: int, values: Sequence[bytes | None], partition: int = PARTITION) -> Records:
    n = len(values)
    offset = np.arange(first, first + n, dtype=np.int64)
    return Records([b"user_0001"] * n, list(values), np.full(n, partition, np.int64), offset, np.full(n, NOW, np.int64))


def answers(some: Records, schemas: SchemaIds | Decisions) -> list[str]:
    """For each record `action`, or the reason of its refusal."""
    accepted, refused = accept(some, replace(rules(), schemas=schemas))
    said = {position: why.reason for position, why in refused.items()} | dict.fromkeys(accepted.position.tolist(), "action")
    return [said[i] for i in range(len(some.values))]


def decided(some: Records, schemas: SchemaIds) -> list[str]:
    schemas.decide(some)
    return answers(some, schemas)


def on_record(settings: Settings) -> list[Known | Unknown]:
    read = [read_decision(message.value()) for message in read_all(settings, TOPIC, 1)]
    assert None not in read
    return [event for event in read if event is not None]


def put(settings: Settings, *events: Known | Unknown) -> None:
    producer = owning_producer(settings, "put", 1 << 20)
    commit(producer, None, [Outgoing(TOPIC, *write_decision(event, ID, 0), partition=0) for event in events])


def avro(schema_id: int) -> bytes:
    return frame(schema_id, written(USER_ACTION, AN_ACTION))


def test_plain_json_asks_nobody_and_framed_values_are_actions(settings: Settings) -> None:
    by_avro, by_json = registered(settings, "Acted"), registered(settings, "ActedJson", "JSON")
    one = worker(settings)
    assert decided(records(0, [PLAIN, None, b"\0\0", b"no json"]), one) == ["action", "tombstone", "invalid_json", "invalid_json"]
    assert on_record(settings) == []
    some = records(
        4, [avro(by_avro), PLAIN, frame(by_json, PLAIN), avro(by_avro), avro(654_321), frame(by_json, b"{"), frame(by_avro, b"\0")]
    )
    expected = ["action", "action", "action", "action", "unknown_schema", "invalid_json", "invalid_avro"]
    assert decided(some, one) == expected
    held = on_record(settings)
    assert [(type(event).__name__, getattr(event, "schema_id", None)) for event in held] == [
        ("Known", by_avro),
        ("Known", by_json),
        ("Unknown", None),
    ]
    # another worker, and whoever reads the record alone, say the same
    assert decided(some, worker(settings)) == expected
    assert answers(some, decisions_in_topic(settings)) == expected
    assert on_record(settings) == held


def test_a_record_that_was_answered_as_unknown_stays_so_when_its_schema_comes(settings: Settings) -> None:
    unknown = registered(settings, "AboutToCome") + 1
    one = worker(settings, now=1000)
    assert decided(records(0, [avro(unknown)]), one) == ["unknown_schema"]
    assert registered(settings, "ThatCame") == unknown
    assert decided(records(1, [avro(unknown)]), one) == ["unknown_schema"], "it was asked again too soon"
    # a crash: the next worker reads both again, and one more
    next_one = worker(settings)
    again = records(0, [avro(unknown)] * 3)
    assert decided(again, next_one) == ["unknown_schema", "unknown_schema", "action"]
    assert answers(again, decisions_in_topic(settings)) == ["unknown_schema", "unknown_schema", "action"]


def test_a_worker_that_was_replaced_can_decide_nothing_more(settings: Settings) -> None:
    first_id, later_id = registered(settings, "First"), registered(settings, "Later")
    zombie, owner = worker(settings), worker(settings)
    assert decided(records(0, [avro(first_id)]), zombie) == ["action"]
    assert decided(records(0, [avro(first_id), avro(987_654)]), owner) == ["action", "unknown_schema"]
    before = on_record(settings)
    with pytest.raises((KafkaException, NotCommitted)):
        zombie.decide(records(1, [avro(later_id)]))
    assert on_record(settings) == before
    # another partition is none of theirs
    worker(settings).decide(records(0, [avro(later_id)], partition=ELSEWHERE))
    owner.decide(records(2, [avro(later_id)]))
    assert len(on_record(settings)) == len(before) + 2


def test_while_the_registry_is_away_what_is_known_goes_on_and_others_wait(running: tuple[Settings, Registry], settings: Settings) -> None:
    registry = running[1]
    known, new = registered(settings, "KnownBefore"), registered(settings, "NotAskedYet")
    one = worker(settings)
    assert decided(records(0, [avro(known)]), one) == ["action"]
    registry.kill()
    try:
        assert decided(records(1, [avro(known), PLAIN]), one) == ["action", "action"]
        assert decided(records(0, [avro(known)]), worker(settings)) == ["action"]
        before = on_record(settings)
        for waiting in ([avro(new)], [avro(known), avro(987_654)], [avro(2**32 - 1)]):
            with pytest.raises(RegistryAway, match="wait for it"):
                one.decide(records(3, waiting))
        assert on_record(settings) == before, "nothing is decided about what nobody could be asked about"
        longer = replace(settings, registry=replace(settings.registry, wait_seconds=60))
        two, said = worker(longer), list[str]()
        thread = threading.Thread(target=lambda: said.extend(decided(records(3, [avro(new), avro(987_654)]), two)))
        thread.start()
        time.sleep(1.5)
        assert thread.is_alive()
        assert said == []
    finally:
        registry.start()
    thread.join(60)
    assert said == ["action", "unknown_schema"]


def test_while_the_registry_is_away_an_id_of_another_partition_goes_on(running: tuple[Settings, Registry], settings: Settings) -> None:
    registry = running[1]
    known, not_yet = registered(settings, "KnownElsewhere"), registered(settings, "NotAskedYetEither")
    worker(settings).decide(records(0, [avro(known)], partition=ELSEWHERE))
    (elsewhere,) = on_record(settings)
    assert isinstance(elsewhere, Known)
    some = records(5, [PLAIN, avro(known), avro(known)])
    held = [elsewhere, replace(elsewhere, partition=PARTITION, from_offset=6)]
    registry.kill()
    try:
        restarted = worker(settings)  # its process remembers nothing of what the first one asked
        restarted.decide(records(1, [avro(known)], partition=ELSEWHERE))
        assert decided(some, restarted) == ["action"] * 3
        assert on_record(settings) == held, "it is on record for the place itself, as if the registry had answered"
        assert answers(some, decisions_in_topic(settings)) == ["action"] * 3
        assert decided(some, worker(settings)) == ["action"] * 3  # who comes after a kill between decision and answer
        with pytest.raises(RegistryAway, match="wait for it"):
            restarted.decide(records(8, [avro(known), avro(not_yet)]))
        assert on_record(settings) == held
    finally:
        registry.start()


def test_what_another_worker_learnt_meanwhile_goes_on_too(running: tuple[Settings, Registry], settings: Settings) -> None:
    registry = running[1]
    own, others = registered(settings, "OfThisWorker"), registered(settings, "OfTheOther")
    one = worker(settings, now=1000)
    assert decided(records(0, [avro(own), avro(987_654)]), one) == ["action", "unknown_schema"]
    worker(settings).decide(records(0, [avro(others)], partition=ELSEWHERE))
    registry.kill()
    try:
        assert decided(records(2, [avro(others), avro(987_654)]), one) == ["action", "unknown_schema"]
    finally:
        registry.start()


def test_who_was_replaced_puts_nothing_on_record_by_another_partitions_schema(settings: Settings) -> None:
    known = registered(settings, "Shared")
    zombie = worker(settings)
    assert decided(records(0, [avro(987_654)]), zombie) == ["unknown_schema"]
    owner = worker(settings)
    owner.decide(records(0, [avro(known)], partition=ELSEWHERE))
    assert decided(records(1, [avro(known)]), owner) == ["action"]
    before = on_record(settings)
    with pytest.raises((KafkaException, NotCommitted)):
        zombie.decide(records(1, [avro(known), avro(987_654)]))
    assert on_record(settings) == before


def test_an_id_that_the_registry_has_no_more_is_what_it_was_elsewhere_latest(settings: Settings) -> None:
    gone = 900_001
    older, later = (WriterSchema(AVRO, json.dumps(USER_ACTION | {"name": name})) for name in ("Older", "Later"))
    others = [partition for partition in range(4) if partition != PARTITION]
    put(settings, *(Known(ACTIONS, partition, 0, gone, schema) for partition, schema in zip(others, (older, older, later), strict=True)))
    put(settings, Known("order-commands", 0, 0, gone, replace(older, text="{}")))
    assert decided(records(3, [avro(gone), avro(987_654)]), worker(settings)) == ["action", "unknown_schema"]
    assert on_record(settings)[4:] == [Known(ACTIONS, PARTITION, 3, gone, later), Unknown(ACTIONS, PARTITION, 4)]


def test_a_registry_that_answers_says_what_an_id_is_although_it_was_another_elsewhere(settings: Settings) -> None:
    given_anew = registered(settings, "GivenAnew")
    put(settings, Known(ACTIONS, ELSEWHERE, 0, given_anew, WriterSchema(AVRO, json.dumps(USER_ACTION | {"name": "BeforeTheWipe"}))))
    assert decided(records(0, [avro(given_anew)]), worker(settings)) == ["action"]
    (elsewhere, here) = on_record(settings)
    assert isinstance(elsewhere, Known)
    assert isinstance(here, Known)
    assert ("BeforeTheWipe" in elsewhere.schema.text, "GivenAnew" in here.schema.text) == (True, True)


def test_an_open_transaction_of_another_partitions_worker_hides_nothing(settings: Settings) -> None:
    known = registered(settings, "Hidden")
    rival = owning_producer(settings, f"streamhouse-{TOPIC}-{ACTIONS}-{ELSEWHERE}", 1 << 20)
    rival.begin_transaction()
    rival.produce(TOPIC, b"{}")
    rival.flush(10)
    first = worker(settings)
    closing = threading.Timer(1.5, rival.commit_transaction)
    closing.start()
    assert decided(records(0, [avro(known)]), first) == ["action"]
    closing.join()
    rival.begin_transaction()
    rival.produce(TOPIC, b"{}")
    rival.flush(10)
    closing = threading.Timer(1.5, rival.abort_transaction)
    closing.start()
    assert decided(records(0, [avro(known), avro(987_654)]), worker(settings)) == ["action", "unknown_schema"]
    closing.join()
    assert len([event for event in decisions_in_topic(settings).known.values() if event.schema_id == known]) == 1


def test_any_number_of_invented_ids_leaves_one_number_for_each_partition(settings: Settings) -> None:
    one = worker(settings)
    assert set(decided(records(0, [avro(500_000 + i) for i in range(300)]), one)) == {"unknown_schema"}
    assert on_record(settings) == [Unknown(ACTIONS, PARTITION, 299)]
    assert len(decisions_in_topic(settings).decided) == 1


def test_a_schema_that_is_too_long_or_of_another_kind_is_on_record_without_its_text(settings: Settings) -> None:
    fields = [{"name": f"f{i}", "type": ["null", "string"], "doc": "é" * 2000, "default": None} for i in range(200)]
    with confluent_client(settings) as client:
        long = client.register_schema("long", Schema(json.dumps({"type": "record", "name": "Long", "fields": fields}), "AVRO"))
        proto = client.register_schema("proto", Schema('syntax = "proto3"; message A { int32 x = 1; }', "PROTOBUF"))
    assert decided(records(0, [avro(long), avro(proto)]), worker(settings)) == ["unusable_schema", "unusable_schema"]
    assert [event.schema.text for event in on_record(settings) if isinstance(event, Known)] == ["", ""]


def test_the_decisions_are_what_their_contract_says(settings: Settings) -> None:
    from jsonschema import Draft7Validator

    decided(records(0, [avro(registered(settings, "Told")), avro(987_654)]), worker(settings))
    contracts = load_contracts()
    for message in read_all(settings, TOPIC, 1):
        event = json.loads(message.value() or b"")
        Draft7Validator(contracts.schemas[event["eventType"], 1].document).validate(event)
    assert topics.plan(settings, [contracts.topics[TOPIC]])[0].action == "keep"
    assert isinstance(rules(), Rules)
