"""A Kafka broker that is not the embedded one: started from any properties, on loopback, ended by its process id."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.config import Settings, load_settings
from infra.contracts import topics
from infra.contracts.load import load_contracts
from infra.stack.jars import install, installed
from infra.stack.services import java_home, kafka_properties
from lakehouse import migrate
from tests.ports import free_ports

_SECONDS = 180


class Broker:
    """A formatted broker that can be started, killed and started again. `bootstrap_servers`: a listener without security."""

    def __init__(self, folder: Path, properties: str, format_arguments: list[str], bootstrap_servers: str) -> None:
        self._folder, self._servers = folder, bootstrap_servers
        self._file = folder / "server.properties"
        self._file.write_text(properties, "utf-8")
        here = load_settings({})
        install(here)  # in a new clone nothing has brought the stack up yet
        self._java = [str(java_home() / "bin" / "java"), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]
        self._java.append(str(installed(here, "kafka") / "*"))
        formatting = [*self._java, "kafka.tools.StorageTool", "format", "--config", str(self._file), *format_arguments]
        for _ in range(2):  # the second time as after a restart
            done = subprocess.run(formatting, capture_output=True, text=True, check=False, timeout=_SECONDS)
            assert done.returncode == 0, done.stdout + done.stderr
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Until it answers."""
        with (self._folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen([*self._java, "kafka.Kafka", str(self._file)], stdout=log, stderr=log)
        deadline = time.monotonic() + _SECONDS
        while not _answers(self._servers):
            assert self._process.poll() is None, (self._folder / "broker.log").read_text("utf-8")[-2000:]
            assert time.monotonic() < deadline, "the broker did not come up in time"

    def kill(self) -> None:
        """Without a word to it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(120)

    def stop(self) -> None:
        """Ask it to end."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(120)


@contextlib.contextmanager
def running_broker(folder: Path, properties: str, format_arguments: list[str], bootstrap_servers: str) -> Iterator[None]:
    """Format and start one; `properties` is the text of its file."""
    broker = Broker(folder, properties, format_arguments, bootstrap_servers)
    try:
        broker.start()
        yield
    finally:
        broker.stop()


def broker_of(settings: Settings) -> Broker:
    """The broker of these settings by itself, as `up` starts it, in their state folder; not started, without topics."""
    (settings.state / "kafka").mkdir(parents=True, exist_ok=True)
    properties = "".join(f"{key}={value}\n" for key, value in kafka_properties(settings).items())
    formatting = ["--cluster-id", "embedded", "--standalone", "--ignore-formatted", "--feature", "transaction.version=1"]
    return Broker(settings.state, properties, formatting, settings.kafka.servers)


@contextlib.contextmanager
def embedded_broker(settings: Settings) -> Iterator[None]:
    """The broker of these settings, started."""
    broker = broker_of(settings)
    try:
        broker.start()
        yield
    finally:
        broker.stop()


@contextlib.contextmanager
def own_broker(state: Path) -> Iterator[Settings]:
    """The embedded broker by itself on free ports, with its state in a folder; without topics."""
    clients, controller = free_ports(2)
    ports = {"STREAMHOUSE_KAFKA_PORT": clients, "STREAMHOUSE_KAFKA_CONTROLLER_PORT": controller}
    settings = load_settings({"STREAMHOUSE_STATE": str(state), **ports})
    with embedded_broker(settings):
        yield settings


def emptied(broker: Settings, folder: Path) -> Settings:
    """The broker with empty topics, and empty tables in `folder`."""
    empty_topics(broker)
    settings = replace(broker, lake=load_settings({"STREAMHOUSE_STATE": str(folder)}).lake)
    migrate.apply(settings)
    return settings


def empty_topics(settings: Settings) -> None:
    """Make the topics of the contracts anew, without records."""
    client, declared = AdminClient(dict(settings.kafka.client())), load_contracts().topics
    if there := [name for name in declared if name in client.list_topics(timeout=10).topics]:
        for future in client.delete_topics(there).values():
            future.result(20)
    deadline = time.monotonic() + 180
    while any(name in declared for name in client.list_topics(timeout=10).topics):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    topics.apply(settings)


def _answers(bootstrap_servers: str) -> bool:
    try:
        return bool(AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": "0"}).list_topics(timeout=2).brokers)
    except KafkaException:
        return False
