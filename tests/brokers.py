"""A Kafka broker that is not the embedded one: started from any properties, on loopback, ended by its process id."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.config import Settings, load_settings
from infra.contracts import topics
from infra.contracts.load import load_contracts
from infra.stack.jars import install, installed
from infra.stack.services import java_home, kafka_properties
from tests.ports import free_ports

_SECONDS = 90


@contextlib.contextmanager
def running_broker(folder: Path, properties: str, format_arguments: list[str], bootstrap_servers: str) -> Iterator[None]:
    """Format and start it; `properties` is the text of its file, `bootstrap_servers` a listener without security."""
    file = folder / "server.properties"
    file.write_text(properties, "utf-8")
    here = load_settings({})
    install(here)  # in a new clone nothing has brought the stack up yet
    java = [str(java_home() / "bin" / "java"), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]
    java.append(str(installed(here, "kafka") / "*"))
    formatting = [*java, "kafka.tools.StorageTool", "format", "--config", str(file), *format_arguments]
    for _ in range(2):  # the second time as after a restart
        done = subprocess.run(formatting, capture_output=True, text=True, check=False, timeout=_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
    with (folder / "broker.log").open("w") as log:
        broker = subprocess.Popen([*java, "kafka.Kafka", str(file)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _SECONDS
        while not _answers(bootstrap_servers):
            assert broker.poll() is None, (folder / "broker.log").read_text("utf-8")[-2000:]
            assert time.monotonic() < deadline, "the broker did not come up in time"
        yield
    finally:
        broker.terminate()
        broker.wait(30)


@contextlib.contextmanager
def embedded_broker(settings: Settings) -> Iterator[None]:
    """The broker of these settings by itself, as `up` starts it, in their state folder; without topics."""
    (settings.state / "kafka").mkdir(parents=True, exist_ok=True)
    properties = "".join(f"{key}={value}\n" for key, value in kafka_properties(settings).items())
    formatting = ["--cluster-id", "embedded", "--standalone", "--ignore-formatted", "--feature", "transaction.version=1"]
    with running_broker(settings.state, properties, formatting, settings.kafka.servers):
        yield


@contextlib.contextmanager
def own_broker(state: Path) -> Iterator[Settings]:
    """The embedded broker by itself on free ports, with its state in a folder; without topics."""
    clients, controller = free_ports(2)
    ports = {"STREAMHOUSE_KAFKA_PORT": clients, "STREAMHOUSE_KAFKA_CONTROLLER_PORT": controller}
    settings = load_settings({"STREAMHOUSE_STATE": str(state), **ports})
    with embedded_broker(settings):
        yield settings


def empty_topics(settings: Settings) -> None:
    """Make the topics of the contracts anew, without records."""
    client, declared = AdminClient(dict(settings.kafka.client())), load_contracts().topics
    if there := [name for name in declared if name in client.list_topics(timeout=10).topics]:
        for future in client.delete_topics(there).values():
            future.result(20)
    deadline = time.monotonic() + 30
    while any(name in declared for name in client.list_topics(timeout=10).topics):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    topics.apply(settings)


def _answers(bootstrap_servers: str) -> bool:
    try:
        return bool(AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": "0"}).list_topics(timeout=2).brokers)
    except KafkaException:
        return False
