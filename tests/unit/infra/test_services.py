"""What the services are told before they start."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from infra.config import load_settings
from infra.stack import health
from infra.stack.services import flink_home, kafka_properties, services, write_files


def test_flink_does_not_log_the_environment_of_its_workers_where_the_brokers_password_stands(tmp_path: Path) -> None:
    write_files(load_settings({"STREAMHOUSE_STATE": str(tmp_path)}))
    for file in (flink_home() / "conf").glob("log4j*.properties"):
        written = (tmp_path / "flink" / "conf" / file.name).read_text("utf-8")
        lines = dict(line.split("=", 1) for line in written.splitlines() if "=" in line and not line.startswith("#"))
        settings = {key.strip(): value.strip() for key, value in lines.items()}
        silenced = "org.apache.beam.runners.fnexecution.control.DefaultJobBundleFactory"
        (logger,) = [key.removesuffix(".name") for key, value in settings.items() if value == silenced]
        assert settings[f"{logger}.level"] == "OFF"
        assert written.startswith(file.read_text("utf-8"))


def test_a_broker_behind_something_listens_on_one_port_and_sends_its_clients_to_the_other() -> None:
    settings = load_settings({"STREAMHOUSE_KAFKA_PORT": "29092", "STREAMHOUSE_KAFKA_LISTEN_PORT": "29192"})
    properties = kafka_properties(settings)
    assert str(properties["listeners"]).startswith("PLAINTEXT://127.0.0.1:29192,")
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:29092"
    assert settings.kafka.servers == "127.0.0.1:29092"
    (broker,) = [service for service in services(settings) if service.name == "broker"]
    assert broker.ports[0] == 29192


def test_a_broker_by_default_listens_where_its_clients_come() -> None:
    properties = kafka_properties(load_settings({}))
    assert str(properties["listeners"]).startswith(f"{properties['advertised.listeners']},")


@pytest.mark.parametrize("name", ["keeper", "meter"])
def test_a_service_of_our_own_answers_as_long_as_its_heart_beats(tmp_path: Path, name: str) -> None:
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path)})
    assert not health.answers(settings, name)
    health.beat(settings, name)
    assert health.answers(settings, name)
    assert not health.answers(settings, {"keeper": "meter", "meter": "keeper"}[name])
    long_ago = time.time() - 60
    os.utime(settings.jobs_folder / f"{name}.beat", (long_ago, long_ago))
    assert not health.answers(settings, name)
