"""Each rival answers the shop's actions as the project does, over a real broker and a real Redis."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from features import feast_bytes as fb
from features.online_keys import JOIN_KEY, MATERIALIZED, PROFILE, PROJECT
from infra.config import ROOT, Settings
from infra.contracts.load import load_contracts
from jobs.clickstream import Row, open_clickstream
from jobs.scoring_parts import SOURCE_TOPIC
from tests.benchmarks.actions import Section, records, section_profiles, section_rows
from tests.benchmarks.answers import Answers, faults, unequal
from tests.benchmarks.drain import drain
from tests.benchmarks.rivals.sides import RIVALS, rival_side
from tests.benchmarks.sides import Side, loop_side, own_redis, rows_of
from tests.end_to_end.facts import wait_for

SHOP = open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz")
SECTIONS = [Section("first", 2000), Section("second", 2000)]
PARTITIONS = load_contracts().topics[SOURCE_TOPIC].partitions


@pytest.fixture(scope="module")
def place(broker: Settings, redis_port: int) -> Settings:
    """A broker, and a Redis that holds the profiles of all users."""
    (broker.state / "redis").mkdir(exist_ok=True)
    client: Any = redis.Redis(port=redis_port)
    client.flushall()
    pipe = client.pipeline(transaction=False)
    for row in section_profiles(SHOP, SECTIONS).to_pylist():
        texts = {fb.field(PROFILE, name): text_value(row[name]) for name in ("channel", "cohort")}
        known = fb.timestamp(int(row["known_from"].timestamp() * 1000))
        pipe.hset(fb.entity_key(PROJECT, JOIN_KEY, row["user_id"]), mapping={**texts, fb.timestamp_field(PROFILE): known})
    pipe.set(MATERIALIZED, "now")
    pipe.execute()
    client.close()
    return replace(broker, redis=replace(broker.redis, port=redis_port))


@pytest.fixture(scope="module")
def ours(place: Settings) -> Iterator[list[Answers]]:
    """What the project answers."""
    with loop_side(place, "ours", 1000) as side:
        yield [answered(place, side, section) for section in SECTIONS]


def text_value(text: str) -> bytes:
    """Feast's Value.string_val."""
    return b"\x12" + fb.varint(len(text.encode())) + text.encode()


def answered(place: Settings, side: Side, section: Section) -> Answers:
    _, sent, got = drain(place, side, records(some(section), PARTITIONS))
    assert faults(side.name, sent, got) == []
    assert len(got.of) == section.actions
    return got


def some(section: Section) -> Iterator[Row]:
    return itertools.islice(section_rows(SHOP, section), section.actions)


@pytest.mark.parametrize("kind", RIVALS)
def test_a_rival_answers_as_we_do(place: Settings, ours: list[Answers], kind: str) -> None:
    with rival_side(place, kind, f"rival-{kind}") as side:
        theirs = [answered(place, side, section) for section in SECTIONS]
        side.take(afterwards := Answers())
        if RIVALS[kind].module in ("bare", "quix"):  # the others keep their offsets elsewhere
            wait_for(lambda: left(place, side.source, group=side.name) == 0, seconds=60)
    assert faults(kind, {}, afterwards) == []
    for one, other in zip(ours, theirs, strict=True):
        assert unequal(kind, one, other) == []


def test_a_rival_begins_with_what_it_is_given_and_leaves_nothing(place: Settings) -> None:
    users = list(dict.fromkeys(row.user_id for row in some(SECTIONS[0])))
    rows = rows_of(place, [*users, "nobody"])
    assert rows.keys() == {fb.entity_key(PROJECT, JOIN_KEY, user) for user in users}
    kept = things(place)
    with own_redis(place, "given", rows) as (port, _), contextlib.closing(redis.Redis(port=int(port))) as untyped:
        client: Any = untyped
        assert set(client.keys()) == rows.keys()
        assert {key: client.dump(key) for key in rows} == rows
    with rival_side(place, "blobs", "given-2", rows) as side:
        answered(place, side, SECTIONS[0])
        assert things(place) > kept
    assert things(place) == kept


def things(place: Settings) -> set[str]:
    """Topics, groups and files that are there."""
    client = AdminClient({**place.kafka.client()})
    groups = client.list_consumer_groups(request_timeout=10).result()
    files = [file for folder in ("redis", "rivals") for file in (place.state / folder).rglob("*") if file.is_file()]
    return {*client.list_topics(timeout=10).topics, *(group.group_id for group in groups.valid), *map(str, files)} - {"benchmark"}


def left(place: Settings, topic: str, *, group: str) -> int:
    """How many records the group would read again if it were started again."""
    partitions = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    consumer = Consumer({**place.kafka.client(), "group.id": group})
    ends = [consumer.get_watermark_offsets(partition, timeout=30)[1] for partition in partitions]
    committed = [max(partition.offset, 0) for partition in consumer.committed(partitions, timeout=30)]
    consumer.close()
    return sum(max(end - 1 - offset, 0) for end, offset in zip(ends, committed, strict=True))  # the last one is the transaction's own
