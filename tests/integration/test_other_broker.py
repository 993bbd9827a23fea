"""Another broker takes the embedded one's place by its address and security settings alone; so does the one of docker-compose.yml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from confluent_kafka import Producer

from infra.config import ROOT, Settings, load_settings
from infra.contracts import topics
from infra.stack.services import services
from jobs.consume import consume
from tests.brokers import running_broker
from tests.ports import free_ports

PLAIN = ("PLAIN", "clerk", 'a "quoted" \\ and; more')
SCRAM = ("SCRAM-SHA-512", "porter", "s;cret=1")
SECURED = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=CLIENTS://127.0.0.1:{clients},BROKERS://127.0.0.1:{brokers},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENTS://127.0.0.1:{clients},BROKERS://127.0.0.1:{brokers}
listener.security.protocol.map=CLIENTS:SASL_PLAINTEXT,BROKERS:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKERS
controller.listener.names=CONTROLLER
listener.name.clients.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.clients.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}={password};
listener.name.clients.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
"""


class Ports(NamedTuple):
    clients: int
    brokers: int
    controller: int


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker that asks every client for a user and a password."""
    folder, ports = tmp_path_factory.mktemp("secured"), Ports(*map(int, free_ports(3)))
    _, user, password = PLAIN
    # quoted for the login module, and then for a properties file
    quoted = '"' + password.replace("\\", "\\\\").replace('"', '\\"') + '"'
    properties = SECURED.format(folder=folder, user=user, password=quoted.replace("\\", "\\\\"), **ports._asdict())
    scram = f"SCRAM-SHA-512=[name={SCRAM[1]},password={SCRAM[2]}]"
    with running_broker(
        folder, properties, ["-t", "secured", "--ignore-formatted", "--standalone", "--add-scram", scram], f"127.0.0.1:{ports.brokers}"
    ):
        yield f"127.0.0.1:{ports.clients}"


def settings_for(state: Path, servers: str, mechanism: str, user: str, password: str) -> Settings:
    security = {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SASL_MECHANISM": mechanism, "USERNAME": user, "PASSWORD": password}
    named = {f"STREAMHOUSE_KAFKA_{name}": value for name, value in {"BOOTSTRAP_SERVERS": servers, **security}.items()}
    return load_settings({"STREAMHOUSE_STATE": str(state), **named})


def assert_serves(settings: Settings, capsys: pytest.CaptureFixture[str], value: str) -> None:
    """Topics are made as declared, a record goes in, and the command line reads it."""
    topics.apply(settings)
    assert {change.action for change in topics.plan(settings)} == {"keep"}
    producer = Producer(settings.kafka.client())
    producer.produce("predictions", value=value.encode())
    assert producer.flush(20) == 0
    assert consume(settings, "predictions", f"reader-{value}", limit=None, idle_seconds=5) >= 1
    assert value in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("login", [PLAIN, SCRAM], ids=lambda login: login[0])
def test_a_broker_with_passwords_serves_every_client(
    secured: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], login: tuple[str, str, str]
) -> None:
    settings = settings_for(tmp_path, secured, *login)
    assert "broker" not in {service.name for service in services(settings)}
    assert_serves(settings, capsys, f"through {login[0]}")


def test_a_refused_password_is_said_with_its_remedy(secured: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_SECONDS", 3.0)
    settings = settings_for(tmp_path, secured, "PLAIN", "clerk", "wrong")
    with pytest.raises(
        topics.BrokerUnreachable, match=rf"broker {re.escape(secured)}.*username, password and ca_file are what it asks for"
    ):
        topics.plan(settings)


def test_the_broker_of_the_compose_file_starts_and_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its properties and its format command, with loopback and free ports in place of the containers' network."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    properties = compose["configs"]["kafka"]["content"].replace("/var/lib/kafka/data", str(tmp_path / "data"))
    ports = dict(zip(("19092", "29092", "19093"), map(str, free_ports(3)), strict=True))
    properties = re.sub(r"(?:0\.0\.0\.0|127\.0\.0\.1|kafka):(\d+)", lambda found: f"127.0.0.1:{ports[found[1]]}", properties)
    script = compose["services"]["kafka"]["command"][2]
    found = re.search(r"kafka-storage\.sh format (.*) --config \S+ (.*) && exec", script)
    assert found is not None
    servers = f"127.0.0.1:{ports['19092']}"
    with running_broker(tmp_path, properties, [*found[1].split(), *found[2].split()], servers):
        settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path), "STREAMHOUSE_KAFKA_BOOTSTRAP_SERVERS": servers})
        assert_serves(settings, capsys, "from a container's neighbour")
