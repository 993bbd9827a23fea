"""Predictions framed as registry clients expect them: those read them, and everything here reads them as plain ones."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.config import Settings
from infra.contracts.framing import unframe
from jobs.audit.run import audit
from jobs.rebuild_features import rebuild
from jobs.replay.command import EQUAL, main
from jobs.submit import JOBS, submit
from tests.end_to_end.actions import minutes, send
from tests.end_to_end.facts import records, restarts, tables_follow, wait_for
from tests.end_to_end.readme import said
from tests.end_to_end.stacks import fresh_stack

PREDICTIONS = "predictions"


@pytest.fixture(scope="module")
def stack() -> Iterator[Settings]:
    """A stack of its own, whose scoring job frames what it writes."""
    with fresh_stack("framed", REGISTRY_FRAMED=PREDICTIONS, ARCHIVE_TOPICS_CHECKPOINT_INTERVAL="2s", METER_EVERY="1") as settings:
        submit(settings, *JOBS)
        yield settings


def test_clients_and_we_read_what_is_framed(stack: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    users = [f"framed-{uuid.uuid4()}" for _ in range(4)]
    for user in users:
        send(stack, user, *minutes(0, 1, 2))
    wait_for(lambda: len(records(stack, PREDICTIONS)) == 12)
    values = [message.value() or b"" for message in records(stack, PREDICTIONS)]
    with SchemaRegistryClient({"url": stack.registry.confluent_url}) as client:
        registered = client.get_latest_version(f"{PREDICTIONS}-Prediction").schema_id
        assert {framed.schema_id for value in values if (framed := unframe(value))} == {registered}
        read = JSONDeserializer(None, schema_registry_client=client)
        found = [read(value, SerializationContext(PREDICTIONS, MessageField.VALUE)) for value in values]
    assert sorted(event["data"]["userId"] for event in found) == sorted(users * 3)
    printed = said(stack, f"./streamhouse consume {PREDICTIONS} -n 12 --idle 20").splitlines()
    assert sorted(json.loads(line)["eventId"] for line in printed if line.startswith("{")) == sorted(event["eventId"] for event in found)

    wait_for(lambda: tables_follow(stack))
    rebuild(stack)
    assert audit(stack, settled=True).is_clean
    for fold in (False, True):
        options: dict[str, Any] = dict.fromkeys(["from_time", "to_time", "tag", "snapshot_id", "parallelism"])
        options |= {"offsets": [], "batch": 20_000, "as_json": True, "own_name": f"framed-{fold}", "flink": False, "topics": False}
        assert main(stack, **options, fold=fold) == EQUAL, capsys.readouterr()
        assert json.loads(capsys.readouterr().out)["predictions"]["equal"] == 12
    first = found[0]["eventId"]
    assert json.loads(said(stack, f"./streamhouse why {first} --json"))
    wait_for(lambda: json.loads(said(stack, "./streamhouse meter --json"))["equal"] == 12)
    assert restarts(stack) == 0
