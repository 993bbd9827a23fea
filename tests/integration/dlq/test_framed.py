"""Dead letters of registry clients, sent again beside a real broker and a real registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka.schema_registry import Schema

from infra.config import Settings, load_settings
from infra.contracts.framing import frame
from infra.contracts.partitioner import partition_of
from tests.brokers import empty_topics
from tests.integration.dlq.letters import ACTIONS, PARTITIONS, an_event, answers, committed, send
from tests.integration.dlq.replaying import dlq
from tests.integration.dlq.scoring import Scorer
from tests.ports import free_ports
from tests.registries import confluent_client, running_registry

USER = "user-1"
HOME = partition_of(USER, PARTITIONS)


@pytest.fixture
def registering(broker: Settings, tmp_path: Path) -> Iterator[Settings]:
    """The broker with empty topics, and a registry."""
    port, management = free_ports(2)
    environment = {"KAFKA_BOOTSTRAP_SERVERS": broker.kafka.servers, "REGISTRY_PORT": port, "REGISTRY_MANAGEMENT_PORT": management}
    environment |= {"STATE": str(tmp_path / "state")}
    settings = load_settings({f"STREAMHOUSE_{name}": value for name, value in environment.items()})
    empty_topics(settings)
    with running_registry(settings):
        yield settings


def test_a_framed_stray_goes_home_as_it_is_and_an_edit_makes_it_plain(registering: Settings, out: Path) -> None:
    with confluent_client(registering) as client:
        schema_id = client.register_schema(
            "strays", Schema('{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}', "JSON")
        )
    event = an_event(USER, "1")
    value = frame(schema_id, orjson.dumps(event))
    (place,) = send(registering, [(b"no user", value, (HOME + 1) % PARTITIONS)])
    scorer = Scorer(registering)  # which knows no schema
    scorer.run()
    said = dlq(registering, out, "replay", "--all", "--dry-run", "--edit", 'lambda event: {**event, "version": 1}')
    assert "1 would be accepted now, 0 refused again" in said
    assert "1 sent again" in dlq(registering, out, "replay", "--all", "--yes")
    scorer.run()
    assert "1 sent again" in dlq(registering, out, "replay", "--all", "--yes", "--edit", 'lambda event: {**event, "source": "mended"}')
    scorer.run()
    sent = [message for message in committed(registering, ACTIONS) if message.headers()]
    assert [(message.partition(), message.key()) for message in sent] == [(HOME, USER.encode())] * 2
    assert sent[0].value() == value
    assert orjson.loads(sent[1].value() or b"") == event | {"source": "mended"}
    assert answers(registering) == {place: (USER, event["eventId"])}
