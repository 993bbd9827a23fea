"""`apply` against a real broker and a real schema registry."""

from __future__ import annotations

import copy
import io
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]  # re-exported in silence
from rich.console import Console

from infra.config import Settings, load_settings
from infra.contracts import registry, topics
from infra.contracts.change import Change
from infra.contracts.contract import Contracts, Topic
from infra.contracts.load import load_contracts
from infra.stack.services import services, write_files
from infra.stack.stack import _format_broker
from jobs import apply
from jobs.committed_records import read_all
from tests.ports import free_ports

CONTRACTS = load_contracts()


def until(fact: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "a service did not come up in time"
        time.sleep(0.2)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A broker and a registry on free ports, as the stack starts them, ended by their process ids."""
    names = ("KAFKA_PORT", "KAFKA_CONTROLLER_PORT", "REGISTRY_PORT", "REGISTRY_MANAGEMENT_PORT")
    state = tmp_path_factory.mktemp("state")
    ports = {f"STREAMHOUSE_{name}": port for name, port in zip(names, free_ports(4), strict=True)}
    settings = load_settings({"STREAMHOUSE_STATE": str(state), **ports})
    write_files(settings)
    _format_broker(settings)
    running = []
    try:
        for service in services(settings):
            if service.name in ("broker", "registry"):
                with (state / f"{service.name}.log").open("w") as log:
                    environment = {**os.environ, **service.environment}
                    running.append(subprocess.Popen(service.command, env=environment, stdout=log, stderr=log))
        until(lambda: listens(settings.kafka.port), 60)
        until(lambda: answers(f"{settings.registry.confluent_url}/subjects"), 60)
        yield settings
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(120)


def topic(name: str) -> Topic:
    return replace(CONTRACTS.topics["predictions"], name=name)


def contracts(topic_name: str, change: Callable[[dict[str, Any]], object] = lambda data: None) -> Contracts:
    """One topic of that name with the schema of user actions, whose `data` part is changed."""
    schema = CONTRACTS.schemas["UserAction", 1]
    document = copy.deepcopy(dict(schema.document))
    change(document["properties"]["data"])
    one = replace(CONTRACTS.topics["user-actions"], name=topic_name)
    return replace(CONTRACTS, topics={topic_name: one}, schemas={("UserAction", 1): replace(schema, document=document)})


def config(settings: Settings, name: str) -> dict[str, str]:
    client = AdminClient(dict(settings.kafka.client()))
    (future,) = client.describe_configs([ConfigResource(2, name)]).values()
    return {key: entry.value for key, entry in future.result(10).items()}


def test_everything_declared_is_created_and_a_second_run_changes_nothing(settings: Settings) -> None:
    out = io.StringIO()
    parts = {name: part for name, part in apply.PARTS.items() if name != "features"}
    dry = apply.main(settings, dry_run=True, parts=parts, console=Console(file=out))
    assert {change.action for change in dry} == {"create"}
    assert "dry run: nothing was changed" in out.getvalue()
    assert apply.main(settings, parts=parts, console=Console(file=io.StringIO())) == dry

    again = apply.main(settings, parts=parts, console=Console(file=out))
    assert {change.action for change in again} == {"keep"}
    assert f"nothing to change: {len(again)} declarations hold already" in out.getvalue()
    assert {change.kind for change in again} == {"topic", "schema", "table", "contract"}

    held = config(settings, "user-actions-dlq")
    assert held["max.message.bytes"] == "1572864"
    assert held["message.timestamp.type"] == "LogAppendTime"
    assert held["retention.ms"] == str(30 * 86_400_000)
    assert config(settings, "user-actions")["retention.ms"] == "-1"
    snapshots = config(settings, "aggregate-snapshots")
    assert [snapshots[name] for name in ("cleanup.policy", "retention.ms", "max.message.bytes")] == ["compact", "-1", str(8 << 20)]
    assert {config(settings, name)["cleanup.policy"] for name in CONTRACTS.topics if name != "aggregate-snapshots"} == {"delete"}
    level = httpx.get(f"{settings.registry.confluent_url}/config/user-actions-UserAction").json()
    assert level["compatibilityLevel"] == "BACKWARD"


@pytest.mark.parametrize("name", ["orders", "order-commands-dlq", "aggregate-snapshots"])
def test_a_record_as_large_as_its_contract_says_is_taken_and_read(settings: Settings, name: str) -> None:
    limit = CONTRACTS.topics[name].max_message_bytes
    producer, refused = Producer({**settings.kafka.client(), "message.max.bytes": 2 * limit}), list[str]()

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            refused.append(error.name())

    for size in (limit - 200, limit + 200):
        producer.produce(name, random.Random(size).randbytes(size), b"key", on_delivery=delivered)
        assert producer.flush(20) == 0
    assert refused == ["MSG_SIZE_TOO_LARGE"]
    assert [len(message.value() or b"") for message in read_all(settings, name, 4)] == [limit - 200]


def test_features_are_applied_with_the_rest_and_then_hold(settings: Settings) -> None:
    out = io.StringIO()
    done = apply.main(settings, console=Console(file=out))
    assert {change.kind for change in done} >= {"topic", "schema", "table", "entity", "feature view"}
    apply.main(settings, console=Console(file=out))
    assert "nothing to change" in out.getvalue()


def test_a_changed_setting_of_a_topic_is_set(settings: Settings) -> None:
    before = topic("shelf-moved")
    topics.apply(settings, [before])
    after = replace(before, retention_ms=60 * 86_400_000)
    planned = topics.plan(settings, [after])
    assert planned == [Change("topic", "shelf-moved", "update", "retention.ms 2592000000 -> 5184000000")]
    assert topics.apply(settings, [after]) == planned
    assert [change.action for change in topics.apply(settings, [after])] == ["keep"]
    assert config(settings, "shelf-moved")["retention.ms"] == "5184000000"


@pytest.mark.parametrize(
    ("name", "lowered", "sentence"),
    [
        ("shelf-shortened", {"retention_ms": 7 * 86_400_000}, "retention 30d -> 7d: records that a reader may still need are taken"),
        ("user-actions", {"retention_ms": 7 * 86_400_000}, "retention unlimited -> 7d"),
        ("orders", {"max_message_bytes": 1000}, " -> 1000: the broker refuses messages that it took"),
        ("aggregate-snapshots", {"cleanup": "delete"}, "cleanup compact -> delete"),
        ("orders", {"cleanup": "compact"}, "cleanup delete -> compact"),
    ],
)
def test_what_would_take_records_or_refuse_them_is_refused_and_nothing_is_set(
    settings: Settings, name: str, lowered: dict[str, Any], sentence: str
) -> None:
    before = CONTRACTS.topics.get(name) or topic(name)
    topics.apply(settings, [before])
    held = config(settings, name)
    for (change,) in (topics.plan(settings, [replace(before, **lowered)]), topics.apply(settings, [replace(before, **lowered)])):
        assert change.action == "refuse"
        assert sentence in change.detail
    assert config(settings, name) == held


def test_a_new_topic_can_be_read_at_once_however_many_are_made(settings: Settings) -> None:
    made = [topic(f"made-{number}") for number in range(20)]
    topics.apply(settings, made)
    with closing(Consumer({**settings.kafka.client(), "group.id": "at-once"})) as consumer:
        places = [TopicPartition(one.name, partition) for one in made for partition in range(one.partitions)]
        assert {consumer.get_watermark_offsets(place, timeout=10) for place in places} == {(0, 0)}


def test_another_number_of_partitions_is_refused(settings: Settings) -> None:
    before = topic("price-changed")
    topics.apply(settings, [before])
    (change,) = topics.apply(settings, [replace(before, partitions=8)])
    assert change.action == "refuse"
    assert "it has 4 partitions and the contract says 8" in change.detail
    assert "a new number is a new topic and a rebuild" in change.detail
    held = AdminClient(dict(settings.kafka.client())).list_topics(timeout=10).topics["price-changed"]
    assert len(held.partitions) == 4


def test_an_added_optional_field_is_registered_beside_the_old_schema(settings: Settings) -> None:
    def added(data: dict[str, Any]) -> None:
        data["properties"]["referrer"] = {"type": "string", "description": "Where from.", "unit": "address"}

    assert [c.action for c in registry.apply(settings, contracts("grown"))] == ["create"]
    assert [c.action for c in registry.plan(settings, contracts("grown", added))] == ["update"]
    assert [c.action for c in registry.apply(settings, contracts("grown", added))] == ["update"]
    assert [c.action for c in registry.apply(settings, contracts("grown", added))] == ["keep"]
    url = f"{settings.registry.confluent_url}/subjects/{registry.subject_of('grown', 'UserAction')}/versions"
    assert httpx.get(url).json() == [1, 2]


def test_letters_grew_by_steps_and_by_who_failed_without_a_new_version(settings: Settings) -> None:
    """As a registry holds them since before there were services that decide and react."""
    schema = CONTRACTS.schemas["DeadLetter", 1]
    before = copy.deepcopy(dict(schema.document))
    del before["properties"]["data"]["properties"]["failedIn"]
    before["properties"]["data"]["properties"]["error"]["properties"]["step"]["enum"] = ["decode", "validate", "enrich", "score"]
    one = {"letters-dlq": replace(CONTRACTS.topics["user-actions-dlq"], name="letters-dlq")}
    old = replace(CONTRACTS, topics=one, schemas={("DeadLetter", 1): replace(schema, document=before)})
    assert [c.action for c in registry.apply(settings, old)] == ["create"]
    assert [c.action for c in registry.apply(settings, replace(CONTRACTS, topics=one))] == ["update"]
    assert [c.action for c in registry.apply(settings, replace(CONTRACTS, topics=one))] == ["keep"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("removed", lambda data: data["properties"].pop("platform")),
        ("renamed", lambda data: data["properties"].update(device=data["properties"].pop("platform"))),
        ("retyped", lambda data: data["properties"]["action"].update(type="integer")),
        ("required", lambda data: data["required"].append("platform")),
    ],
)
def test_a_breaking_change_is_refused_with_the_registrys_reason(
    settings: Settings, name: str, change: Callable[[dict[str, Any]], object]
) -> None:
    registry.apply(settings, contracts(name))
    (refused,) = registry.apply(settings, contracts(name, change))
    assert (refused.kind, refused.name, refused.action) == ("schema", f"{name}-UserAction", "refuse")
    assert "a breaking change needs a new version beside the old one" in refused.detail
    assert not refused.detail.startswith(";")
    assert len(refused.detail) > 70, "the registry's own reason is missing"
    url = f"{settings.registry.confluent_url}/subjects/{name}-UserAction/versions"
    assert httpx.get(url).json() == [1]


def test_a_loosened_compatibility_is_set_back(settings: Settings) -> None:
    registry.apply(settings, contracts("loose"))
    httpx.put(f"{settings.registry.confluent_url}/config/loose-UserAction", json={"compatibility": "NONE"}).raise_for_status()
    (change,) = registry.apply(settings, contracts("loose"))
    assert (change.action, change.detail) == ("update", "compatibility BACKWARD")
    assert [c.action for c in registry.plan(settings, contracts("loose"))] == ["keep"]


def test_a_plan_with_a_refusal_changes_nothing_at_all(settings: Settings) -> None:
    topics.apply(settings, [topic("order-placed")])
    wanted = [replace(topic("order-placed"), partitions=5), topic("never-made")]
    part = apply.Part(lambda s: topics.plan(s, wanted), lambda s: topics.apply(s, wanted))
    with pytest.raises(apply.ApplyRefused, match=r"topic order-placed: it has 4 partitions.*\nnothing was changed"):
        apply.main(settings, parts={"topics": part}, console=Console(file=io.StringIO()))
    assert "never-made" not in AdminClient(dict(settings.kafka.client())).list_topics(timeout=10).topics


def test_services_that_are_away_are_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker, listener = free_ports(2)
    away = load_settings({"STREAMHOUSE_STATE": str(tmp_path), "STREAMHOUSE_KAFKA_PORT": broker, "STREAMHOUSE_REGISTRY_PORT": listener})
    monkeypatch.setattr(topics, "_SECONDS", 2.0)
    with pytest.raises(topics.BrokerUnreachable, match=rf"broker 127\.0\.0\.1:{broker}: expected an answer.*streamhouse up"):
        topics.plan(away)
    with pytest.raises(registry.RegistryUnreachable, match=rf"schema registry http://127\.0\.0\.1:{listener}/.*streamhouse up"):
        registry.plan(away)
