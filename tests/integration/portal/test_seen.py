"""A look at a real broker: what was planted there is found, and nothing that is not there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported in silence

from infra.clock import system_clock
from infra.config import Settings
from infra.contracts import topics
from infra.contracts.load import FOLDER
from infra.portal.findings import findings
from infra.portal.live import DeadLetters, Seen, SeenGroup, SeenVersion
from jobs.portal.seen import Look
from jobs.portal.seen_records import Records, Span
from tests.brokers import own_broker
from tests.portal import deprecated, ours

EXAMPLES = FOLDER / "examples"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with own_broker(tmp_path_factory.mktemp("state")) as settings:
        topics.apply(settings)
        yield settings


def send(settings: Settings, topic: str, *values: bytes, transaction: str = "") -> None:
    """In one transaction where it has a name: such a one leaves a mark of the broker's behind its records."""
    producer = Producer({**settings.kafka.client(), "log_level": 2, **({"transactional.id": transaction} if transaction else {})})
    if transaction:
        producer.init_transactions(20)
        producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(20) == 0
    if transaction:
        producer.commit_transaction(20)


def commit(settings: Settings, group: str, topic: str, offset: int) -> None:
    consumer = Consumer({**settings.kafka.client(), "group.id": group, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


def told(seen: Seen) -> list[tuple[str, str, str]]:
    found = findings(deprecated(ours(), "orders", "OrderPlaced", "2020-01-31"), seen)
    return [(one.kind, one.level, one.node) for one in found]


def test_what_was_planted_is_found_and_nothing_else(broker: Settings) -> None:
    began = system_clock()
    letter = (EXAMPLES / "user-actions-dlq" / "valid" / "no-json.json").read_bytes()
    placed = (EXAMPLES / "orders" / "valid" / "order-placed.json").read_bytes()
    client = AdminClient(dict(broker.kafka.client()))
    for future in client.create_topics([NewTopic("nobodys", 2, 1), NewTopic("__mine", 1, 1)]).values():
        future.result(20)
    send(broker, "nobodys", b"\xff\x00", b'{"eventType": 3}', json.dumps({"eventType": "Odd", "version": 9}).encode())
    send(broker, "user-actions-dlq", letter, letter, b"no letter", transaction="letters")
    send(broker, "orders", placed, placed, transaction="orders")
    commit(broker, "abandoned", "orders", 1)
    commit(broker, "order", "orders", 3)  # behind the mark: all is read
    commit(broker, "streamhouse-foo", "orders", 3)
    commit(broker, "streamhouse-consume", "orders", 3)  # the group of `./streamhouse consume`
    look = Look(broker, ours(), system_clock)
    seen = look()

    by_name = {topic.name: topic for topic in seen.topics or ()}
    assert set(by_name) == {topic.name for topic in ours().topics} | {"nobodys", "__mine"}
    assert (by_name["nobodys"].partitions, by_name["nobodys"].records) == (2, 3)
    assert [(one.event_type, one.version) for one in by_name["nobodys"].versions] == [("Odd", 9)]
    orders = by_name["orders"]
    assert (orders.written, orders.partitions) == (3, 4)  # two records and a mark
    assert (orders.records, orders.at_most) == (2, False)
    assert (by_name["user-actions-dlq"].records, by_name["user-actions-dlq"].at_most) == (3, False)
    assert orders.last_ms is not None
    assert began <= orders.last_ms <= system_clock()
    assert [(one.event_type, one.version) for one in orders.versions] == [("OrderPlaced", 1)]
    assert by_name["predictions"].last_ms is None
    (letters,) = [one for one in seen.dead_letters or () if one.letters]
    assert letters == DeadLetters("user-actions-dlq", 3, 3, {"decode: invalid_json": 2, "no dead letter": 1})
    assert seen.groups == (
        SeenGroup("abandoned", "empty", 0, {"orders": 1}),
        SeenGroup("order", "empty", 0, {"orders": 0}),
        SeenGroup("streamhouse-foo", "empty", 0, {"orders": 0}),
    )
    assert (seen.subjects, seen.jobs, seen.tables, seen.online) == (None, None, None, None)
    assert list(seen.silent) == ["flink", "redis", "registry", "tables"]

    letter_topics = {topic.dead_letter_topic for topic in ours().topics}
    never = sorted(topic.name for topic in ours().topics if topic.name not in letter_topics | {"orders"})
    assert told(seen) == [
        ("dead_group", "fault", "group:abandoned"),
        ("dead_group", "fault", "group:streamhouse-foo"),
        ("past_its_end", "fault", "event:orders/OrderPlaced"),
        ("undeclared_topic", "fault", "topic:__mine"),
        ("undeclared_topic", "fault", "topic:nobodys"),
        ("unread_topic", "warning", "topic:user-actions-dlq"),  # it holds letters, and its archive was never started
        *(("dead_topic", "note", f"topic:{name}") for name in never),
    ]

    for future in client.delete_topics(["nobodys", "__mine"]).values():
        future.result(20)
    for future in client.delete_consumer_groups(["abandoned", "streamhouse-foo"]).values():
        future.result(20)
    send(broker, "orders", placed)
    deadline = time.monotonic() + 180
    while any(kind in ("dead_group", "undeclared_topic") for kind, *_ in told(seen)):
        assert time.monotonic() < deadline
        seen = look()
    assert {group.name: dict(group.lags) for group in seen.groups or ()} == {"order": {"orders": 1}}
    assert ("stopped_group", "warning", "group:order") in told(seen)
    (orders,) = [topic for topic in seen.topics or () if topic.name == "orders"]
    assert orders.versions == (SeenVersion("OrderPlaced", 1, orders.last_ms or 0),)


def test_few_records_are_counted_and_of_many_it_is_said_that_they_are_not(broker: Settings) -> None:
    """Each transaction leaves a mark of the broker's, and one that was aborted leaves records that nobody reads."""
    look, sent = Look(broker, ours(), system_clock), 0

    def now() -> tuple[tuple[int, bool], tuple[int, tuple[str, ...]]]:
        seen = look()
        (topic,) = (one for one in seen.topics or () if one.name == "inventory")
        (group,) = (one for one in seen.groups or () if one.name == "counted")
        return (topic.records, topic.at_most), (group.lags["inventory"], group.at_most)

    commit(broker, "counted", "inventory", 0)
    for count in (1, 197):
        send(broker, "inventory", *[b"{}"] * count, transaction="stock")
        sent += count
    assert now() == ((sent, False), (sent, ()))  # and two marks: 200 offsets
    send(broker, "inventory", b"{}", transaction="stock")
    sent += 1
    assert now() == ((sent + 3, True), (sent + 3, ("inventory",)))
    commit(broker, "counted", "inventory", 150)
    assert now() == ((sent + 3, True), (sent + 3 - 150 - 2, ()))
    client = AdminClient(dict(broker.kafka.client()))
    client.delete_records([TopicPartition("inventory", 0, 200)])[TopicPartition("inventory", 0, 200)].result(20)
    assert now()[0] == (1, False), "its beginning moved, and what is left is few"
    client.delete_consumer_groups(["counted"])["counted"].result(20)


def test_of_a_compacted_topic_it_is_said_that_it_holds_no_more(broker: Settings) -> None:
    """Compaction would move neither its beginning nor its end."""
    producer = Producer({**broker.kafka.client(), "log_level": 2})
    for value in (b"{}", b'{"eventType": "Snapshot", "version": 1}'):
        producer.produce("aggregate-snapshots", value, b"order-1", partition=0)
    assert producer.flush(20) == 0
    (topic,) = (one for one in Look(broker, ours(), system_clock)().topics or () if one.name == "aggregate-snapshots")
    assert (topic.records, topic.at_most) == (2, True)
    assert [(one.event_type, one.version) for one in topic.versions] == [("Snapshot", 1)]


def test_records_are_read_once_and_on_from_where_the_time_was_over(broker: Settings) -> None:
    client, place = AdminClient(dict(broker.kafka.client())), ("large", 0)
    client.create_topics([NewTopic("large", 1, 1)])["large"].result(20)
    letter = b'{"eventType": "Odd", "version": 2, "data": {"error": {"step": "decode", "reason": "odd"}}}'
    try:
        send(broker, "large", *[letter + b" " * 300_000] * 100)
        send(broker, "large", b"none", transaction="large")
        records = Records(broker, {"large"})
        records.read({place: Span("a", 0, 102)}, until=time.monotonic())
        assert (records.notes(place), records.end(place)) == ([], 0)
        seconds, deadline = 0.02, time.monotonic() + 120
        while records.end(place) < 102:
            assert time.monotonic() < deadline
            records.read({place: Span("a", 0, 102)}, until=time.monotonic() + seconds)
            seconds *= 1.3
        before = records.notes(place)
        assert [(note.offset, note.event, note.reason) for note in before] == [
            *((offset, ("Odd", 2), "decode: odd") for offset in range(100)),
            (100, None, "no dead letter"),
        ]
        send(broker, "large", letter)
        records.read({place: Span("a", 50, 103)}, until=time.monotonic() + 60)
        after = records.notes(place)
        assert [note.offset for note in after] == [*range(50, 101), 102]
        assert all(kept is note for kept, note in zip(before[50:], after, strict=False)), "they were not read again"
        records.read({place: Span("b", 50, 103)}, until=time.monotonic() + 60)
        again = records.notes(place)
        assert again == after, "of a topic that was made anew all are read"
        assert not any(one is note for one, note in zip(after, again, strict=True))
    finally:
        client.delete_topics(["large"])["large"].result(20)


def test_a_topic_that_was_made_anew_is_counted_anew(broker: Settings) -> None:
    """It may have as many offsets as the one before."""
    client, look = AdminClient(dict(broker.kafka.client())), Look(broker, ours(), system_clock)

    def made(*values: bytes, transaction: str = "") -> int:
        client.create_topics([NewTopic("remade", 1, 1)])["remade"].result(20)
        send(broker, "remade", *values, transaction=transaction)
        (topic,) = (one for one in look().topics or () if one.name == "remade")
        client.delete_topics(["remade"])["remade"].result(20)
        assert (topic.written, topic.at_most) == (3, False)
        return topic.records

    assert made(b"{}", b"{}", b"{}") == 3
    deadline = time.monotonic() + 60
    while "remade" in client.list_topics(timeout=20).topics:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert made(b"{}", b"{}", transaction="remade") == 2


def test_a_group_with_members_that_no_contract_names(broker: Settings) -> None:
    reader = Consumer({**broker.kafka.client(), "group.id": "curious", "auto.offset.reset": "earliest"})
    reader.subscribe(["payments"])
    try:
        deadline = time.monotonic() + 180
        while not reader.assignment():
            assert time.monotonic() < deadline
            reader.poll(0.2)
        seen = Look(broker, ours(), system_clock)()
        (group,) = [one for one in seen.groups or () if one.name == "curious"]
        assert (group.members, dict(group.lags)) == (1, {"payments": 0})
        assert ("undeclared_reader", "warning", "group:curious") in told(seen)
    finally:
        reader.close()
