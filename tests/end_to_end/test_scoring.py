"""The main job on the real stack: every record is answered once, bad ones by a dead letter that holds them, and plain Feast reads along."""

from __future__ import annotations

import base64
import gzip
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import orjson
from confluent_kafka import Message, Producer

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.archive_columns import ARCHIVED
from jobs.clickstream import open_clickstream, rows
from tests.end_to_end.actions import GOOD, an_action
from tests.end_to_end.facts import Place, place_of, records, restarts, table_holds, value_of, wait_for
from tests.end_to_end.readme import said
from tests.unit.features.by_definition import Action, features_at

KINDS = {"product_view": 1, "add_to_cart": 2, "error_page": 3, "payment_error": 3, "checkout_bug": 3, "purchase": 4}
BAD: dict[str, tuple[bytes | None, str]] = {
    "no json": (b'{"eventType":', "invalid_json"),
    "wrong type": (orjson.dumps(an_action(data={"userId": 7})), "wrong_type"),
    "missing field": (orjson.dumps({k: v for k, v in an_action().items() if k != "timestamp"}), "missing_field"),
    "unknown event type": (orjson.dumps(an_action(eventType="OrderPlaced")), "unknown_event_type"),
    "unknown version": (orjson.dumps(an_action(version=2)), "unknown_version"),
    "tombstone": (None, "tombstone"),
    "NaN": (GOOD.replace(b'"version":1', b'"version":NaN'), "invalid_json"),
    "Infinity": (GOOD.replace(b'"version":1', b'"version":Infinity'), "invalid_json"),
    "past 64 bits": (GOOD.replace(b'"version":1', b'"version":' + b"9" * 30), "wrong_type"),
    "deep nesting": (GOOD[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
    "lone surrogate": (GOOD.replace(b'"guest"', b'"\\ud800"'), "invalid_json"),
    "no utf-8": (GOOD.replace(b'"test"', b'"\xff"'), "not_utf8"),
    "a megabyte of garbage": (bytes(range(1, 251)) * 4000, "not_utf8"),
    "forged date": (orjson.dumps(an_action(timestamp="1970-01-01T00:00:00Z")), "timestamp_out_of_window"),
}


def test_every_action_of_the_clickstream_is_predicted_once(played: Settings, shop: Path) -> None:
    answered = [value_of(message)["data"] for message in records(played, "predictions")]
    mark = ("clickstream", open_clickstream(shop).digest.encode())
    actions = {(m.partition(), m.offset()) for m in records(played, "user-actions") if mark in (m.headers() or [])}
    places = [(data["actionPartition"], data["actionOffset"]) for data in answered]
    assert len(actions) == 31_106
    assert len(places) == len(set(places))
    assert actions <= set(places)


def test_plain_feast_reads_what_a_count_over_the_file_gives(played: Settings, shop: Path) -> None:
    from features.apply import feature_store

    history: dict[str, list[Action]] = {}
    for row in rows(open_clickstream(shop)):
        data = orjson.loads(row.value)["data"]
        mine = history.setdefault(row.user_id, [])
        mine.append(Action(0, len(mine), row.time, KINDS.get(data["action"], 0), int(data["sessionId"].removeprefix("sess_"))))
    users = sorted(history)[::6][:100]
    names = list(features_at([], 0))
    response = feature_store(played).get_online_features(
        features=[f"user_activity:{name}" for name in names], entity_rows=[{"user_id": user} for user in users]
    )
    got = response.to_dict()
    for i, user in enumerate(users):
        assert {name: got[name][i] for name in names} == features_at(history[user], history[user][-1].time), user


def test_bad_input_among_good_is_a_dead_letter_each_and_nothing_restarts(played: Settings) -> None:
    topic = load_contracts().topics["user-actions"]
    home = partition_of("guest", topic.partitions)
    before = len(records(played, "predictions")), len(records(played, "user-actions-dlq"))
    producer = Producer({**played.kafka.client(), "message.max.bytes": topic.max_message_bytes})
    sent: dict[int, tuple[str, bytes | None, str]] = {}

    def note(name: str, value: bytes | None, reason: str) -> Callable[[Any, Message], None]:
        def delivered(error: Any, message: Message) -> None:
            assert error is None, error
            sent[message.offset() or 0] = (name, value, reason)

        return delivered

    for name, (value, reason) in BAD.items():
        producer.produce(topic.name, GOOD, key=b"guest", partition=home)
        producer.produce(topic.name, value, key=b"guest", partition=home, on_delivery=note(name, value, reason))
    strays: list[Place] = []
    stray = (home + 1) % topic.partitions
    producer.produce(topic.name, GOOD, key=b"guest", partition=stray, on_delivery=lambda _, message: strays.append(place_of(message)))
    assert producer.flush(60) == 0

    wait_for(lambda: len(records(played, "user-actions-dlq")) >= before[1] + len(BAD) + 1)
    wait_for(lambda: len(records(played, "predictions")) >= before[0] + len(BAD))
    letters = [dead_letter(message.value() or b"") for message in records(played, "user-actions-dlq")]
    found = {(letter["sourcePartition"], letter["sourceOffset"]): letter for letter in letters}
    assert len(letters) == len(found) == before[1] + len(BAD) + 1
    for offset, (name, value, reason) in sent.items():
        letter = found[home, offset]
        assert letter["error"]["reason"] == reason, name
        assert original(letter) == (None if value is None else value), name
    assert [found[place]["error"]["reason"] for place in strays] == ["wrong_partition"]
    assert restarts(played, "score_events") == 0


def test_a_dead_letter_that_is_sent_again_is_refused_again_or_once_it_is_repaired_predicted(played: Settings) -> None:
    topic = load_contracts().topics["user-actions"]
    event = an_action(eventId=str(uuid.uuid4()), version=2)
    before = dlq(played, "list")
    producer = Producer(dict(played.kafka.client()))
    places: list[Place] = []
    home = partition_of("guest", topic.partitions)
    producer.produce(topic.name, orjson.dumps(event), partition=home, on_delivery=lambda _, message: places.append(place_of(message)))
    assert producer.flush(60) == 0
    (original,) = places

    wait_for(lambda: dlq(played, "list")["open"] == before["open"] + 1)
    assert "0 would be accepted now, 1 refused again" in said(played, f"./streamhouse dlq replay {text(original)} --dry-run")
    assert "1 sent again" in said(played, f"./streamhouse dlq replay {text(original)} --yes")
    wait_for(lambda: dlq(played, "list")["refused_again"] == before["refused_again"] + 1)
    (letter,) = [
        data for data in values(played, "user-actions-dlq") if (data.get("originalPartition"), data.get("originalOffset")) == original
    ]
    assert letter["retryCount"] == 1

    refused = (letter["sourcePartition"], letter["sourceOffset"])
    edit = """--edit 'lambda event: {**event, "version": 1}'"""
    assert "1 sent again" in said(played, f"./streamhouse dlq replay {text(refused)} --yes {edit}")
    assert "nothing to send" in said(played, f"./streamhouse dlq replay {text(refused)} --yes {edit}")
    wait_for(lambda: dlq(played, "list")["accepted"] == before["accepted"] + 1)
    (prediction,) = [data for data in values(played, "predictions") if data["actionId"] == event["eventId"]]
    shown = dlq(played, f"show {text(original)}")
    assert [link["retry_count"] for link in shown["history"]] == [0, 1, 2]
    assert shown["history"][-1]["place"] == text((prediction["actionPartition"], prediction["actionOffset"]))
    assert "accepted" in shown["history"][-1]
    assert restarts(played, "score_events") == 0


def dlq(settings: Settings, command: str) -> Any:
    return orjson.loads(said(settings, f"./streamhouse dlq {command} --json"))


def text(place: Place) -> str:
    return f"{place[0]}:{place[1]}"


def values(settings: Settings, topic: str) -> list[Any]:
    return [value_of(message)["data"] for message in records(settings, topic)]


def dead_letter(value: bytes) -> dict[str, Any]:
    """A dead letter with the original event's bytes as they stand in it."""
    verbatim = msgspec.json.decode(value, type=dict[str, msgspec.Raw])["data"]
    fields = msgspec.json.decode(verbatim, type=dict[str, msgspec.Raw])
    event = bytes(fields.pop("originalEvent"))
    return {name: msgspec.json.decode(raw) for name, raw in fields.items()} | {"originalEvent": None if event == b"null" else event}


def original(letter: dict[str, Any]) -> bytes | None:
    if letter["originalBytes"] is not None:
        return base64.b64decode(letter["originalBytes"])
    event: bytes | None = letter["originalEvent"]
    return event


def test_the_tables_hold_what_the_topics_hold(played: Settings) -> None:
    from lakehouse.read import read

    for topic in ARCHIVED["archive_topics"]:
        expected = {(m.partition(), m.offset()): m.value() for m in records(played, topic)}
        table = topic.replace("-", "_")
        wait_for(partial(table_holds, played, table, len(expected)))
        held = read(played, table, columns=["topic_partition", "topic_offset", "value"]).to_pylist()
        assert len(held) == len(expected)
        assert {(row["topic_partition"], row["topic_offset"]): row["value"] for row in held} == expected


def test_the_plan_has_exactly_one_python_step(stack: Settings) -> None:
    import json
    import os
    import subprocess

    from infra.stack.services import flink_environment, flink_home

    for job in ("score_events", "archive_topics", "archive_shop"):
        command = [str(flink_home() / "bin" / "flink"), "run", "-m", f"127.0.0.1:{stack.flink.rest_port}", "-py"]
        command += [str(stack.root / "jobs" / f"{job}.py"), "--explain"]
        done = subprocess.run(
            command,
            env={**os.environ, **stack.environment, **flink_environment(stack)},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        plan = done.stdout[done.stdout.index("== Physical Execution Plan ==") :]
        steps = json.loads(plan[plan.index("{") :])["nodes"]
        kinds = [step["type"].split("[")[0] for step in steps]
        assert (kinds.count("answer_records"), kinds.count("PythonCalc")) == ((1, 0) if job == "score_events" else (0, 1)), plan


def test_the_clickstream_ships_with_the_project(shop: Path) -> None:
    with gzip.open(shop, "rt") as file:
        assert sum(1 for _ in file) == 31_107
