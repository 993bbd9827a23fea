"""Records that are too large: for their dead letters, and for the broker."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource  # type: ignore[attr-defined]

from infra.config import Settings
from lakehouse import migrate
from tests.integration.dlq.letters import ACTIONS, LETTERS, a_record, committed, listing, send, sent_again, values
from tests.integration.dlq.replaying import dlq
from tests.integration.dlq.scoring import Scorer
from tests.lake import put_records


def a_large_record(number: int) -> tuple[bytes, bytes, int]:
    """Of version 2, and larger than a dead letter may be, unless it is compressed."""
    key, value, partition = a_record("version", number)
    return key, b'{"padding":"' + b"x" * 5_000_000 + b'",' + value[1:], partition


def test_a_record_too_large_for_its_letter_is_sent_from_the_topic_or_its_archive(settings: Settings, out: Path) -> None:
    records = [a_large_record(number) for number in (0, 5, 10)]  # of one user
    (partition, _), *_ = places = send(settings, records)
    Scorer(settings).run()
    assert all("originalPlace" in data for data in values(settings, LETTERS))
    arguments = "--yes", "--edit", 'lambda event: {**event, "version": 1, "padding": ""}'
    assert "1 sent again" in dlq(settings, out, "replay", f"{partition}:{places[0][1]}", *arguments)

    migrate.apply(settings)
    at = pa.array([1_710_325_333_000_000], pa.timestamp("us", "UTC"))
    key, value, _ = records[1]
    columns = {"topic_partition": pa.array([partition], pa.int32()), "topic_offset": pa.array([places[1][1]], pa.int64())}
    columns |= {"key": pa.array([key], pa.binary()), "value": pa.array([value], pa.binary()), "kafka_time": at, "event_time": at}
    put_records(settings, "user_actions", pa.table(columns))
    client = AdminClient(dict(settings.kafka.client()))
    for future in client.delete_records([TopicPartition(ACTIONS, partition, places[2][1] + 1)]).values():
        future.result(20)
    said = dlq(settings, out, "replay", "--all", *arguments)
    assert "1 sent again" in said
    assert f"1 left out: neither the topic nor its archive table holds the record any more ({partition}:{places[2][1]})" in said
    sent = [message for message in committed(settings, ACTIONS) if message.headers()]
    assert [json.loads(message.value() or b"")["eventId"][-2:] for message in sent] == ["00", "05"]
    assert {message.key() for message in sent} == {key}
    assert dlq(settings, out, "show", f"{partition}:{places[1][1]}").count("x") > 4000


def set_limit(settings: Settings, limit: int) -> None:
    """Let the broker take no larger records of the source topic."""
    entry = ConfigEntry("max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET)
    client = AdminClient(dict(settings.kafka.client()))
    for future in client.incremental_alter_configs([ConfigResource("topic", ACTIONS, incremental_configs=[entry])]).values():
        future.result(20)


@pytest.mark.parametrize(
    ("numbers", "size"),
    [
        pytest.param((1, 0, 5), 3_000_000, id="alone in its partition"),
        pytest.param((0, 1, 6), 3_000_000, id="before another"),
        pytest.param((6, 1, 2), 3_000_000, id="between others"),
        pytest.param((0, 6, 1), 3_000_000, id="behind another"),
        pytest.param((6, 1, 2), 300_000, id="in a request with others"),
    ],
)
def test_a_value_that_the_broker_does_not_take_is_left_out_and_the_rest_is_sent(
    settings: Settings, out: Path, tmp_path: Path, numbers: tuple[int, ...], size: int
) -> None:
    set_limit(settings, 200_000)
    places = send(settings, [a_record("version", number) for number in numbers])
    place = places[numbers.index(1)]
    Scorer(settings).run()
    file = tmp_path / "swell.py"
    file.write_text(
        "import random\ndef swell(event):\n"
        f"    return random.Random(7).randbytes({size}) if event['eventId'].endswith('01') else event | {{'version': 1}}\n",
        "utf-8",
    )
    said = dlq(settings, out, "replay", "--all", "--yes", "--edit", f"{file}:swell")
    assert "2 sent again" in said
    assert f"1 left out: the broker takes no value of that size; make it smaller by --edit ({place[0]}:{place[1]})" in said
    assert {original for original, _ in sent_again(settings).values()} == set(places) - {place}
    found = listing(settings, out)
    assert (found["open"], found["unanswered"]) == (1, 2)
