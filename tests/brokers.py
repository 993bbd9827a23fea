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
from infra.stack.jars import install, installed
from infra.stack.services import java_home, kafka_properties

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


def _answers(bootstrap_servers: str) -> bool:
    try:
        return bool(AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": "0"}).list_topics(timeout=2).brokers)
    except KafkaException:
        return False
