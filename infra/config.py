"""All settings, and the only reader of the environment.

Defaults stand in `infra/settings.toml`; `STREAMHOUSE_<SECTION>_<KEY>` overrides one. Read once, frozen afterwards.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.errors import SettingsError, StreamhouseError, environment_name

ROOT = Path(__file__).resolve().parent.parent
SECRETS = frozenset({"kafka.password", "read_models.url"})
EXACTLY_ONCE, AT_LEAST_ONCE = DELIVERIES = ("exactly-once", "at-least-once")
"""How often an answer is published; Flink's own words."""


class Secret(str):
    """A string that prints as `***`; `reveal()` gives the value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***" if self else "''"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def reveal(self) -> str:
        """The value itself, for the one place that needs it."""
        return "".join(self)


@dataclass(frozen=True)
class Stack:
    start: str

    @property
    def runs_elsewhere(self) -> bool:
        """Whether `up` starts nothing: the services run in containers or on other machines."""
        return self.start == "nothing"


@dataclass(frozen=True)
class Kafka:
    host: str
    port: int
    listen_port: int
    controller_port: int
    bootstrap_servers: str
    security_protocol: str
    sasl_mechanism: str
    username: str
    password: Secret
    ca_file: str
    heap: str

    @property
    def is_embedded(self) -> bool:
        """Whether `up` starts the broker; another broker is only connected to."""
        return not self.bootstrap_servers

    @property
    def listens_on(self) -> int:
        """The port that the embedded broker itself opens; clients are told to come to `port`."""
        return self.listen_port or self.port

    @property
    def servers(self) -> str:
        """The bootstrap servers, `host:port[,host:port]`."""
        return self.bootstrap_servers or f"{self.host}:{self.port}"

    def client(self) -> dict[str, str]:
        """Settings for confluent-kafka (librdkafka's names)."""
        settings = {
            "bootstrap.servers": self.servers,
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.username,
            "sasl.password": self.password.reveal(),
            "ssl.ca.location": self.ca_file,
        }
        return {name: value for name, value in settings.items() if value}

    def reader(self, *, group: str) -> dict[str, str | int | bool]:
        """Settings for a consumer that is assigned offsets and reads committed records from there to the partitions' ends.

        It is told of an end, and that retention has taken its offset; `group` is demanded by the client: nothing is committed.
        """
        return {
            **self.client(),
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "enable.partition.eof": True,  # what lies before an end without being a record is passed, too
            "fetch.wait.max.ms": 20,  # the broker holds back the answer that says "the end" for so long, half a second by default
            "log_level": 2,  # what goes wrong is raised
        }

    def java_client(self) -> dict[str, str]:
        """Settings for Flink's connector (the Java client's names)."""
        settings = {"bootstrap.servers": self.servers, "security.protocol": self.security_protocol}
        if self.sasl_mechanism:
            module = "plain.PlainLoginModule" if self.sasl_mechanism == "PLAIN" else "scram.ScramLoginModule"
            settings["sasl.mechanism"] = self.sasl_mechanism
            settings["sasl.jaas.config"] = (
                # the SQL connector shades the client, login modules included
                f"org.apache.flink.kafka.shaded.org.apache.kafka.common.security.{module} required"
                f" username={_jaas_quoted(self.username)} password={_jaas_quoted(self.password.reveal())};"
            )
        if self.ca_file:
            settings["ssl.truststore.type"] = "PEM"
            settings["ssl.truststore.location"] = self.ca_file
        return settings


def _jaas_quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True)
class Flink:
    host: str
    rest_port: int
    rpc_port: int
    jobmanager_memory: str
    taskmanager_memory: str
    slots: int
    storage_uri: str

    @property
    def rest_url(self) -> str:
        """Address of Flink's REST interface and dashboard."""
        return f"http://{self.host}:{self.rest_port}"


@dataclass(frozen=True)
class Redis:
    host: str
    port: int
    max_memory: str


@dataclass(frozen=True)
class Registry:
    host: str
    port: int
    management_port: int
    heap: str
    wait_seconds: int
    unknown_seconds: int
    framed: str

    @property
    def url(self) -> str:
        """Address of the schema registry and its own web pages."""
        return f"http://{self.host}:{self.port}"

    @property
    def confluent_url(self) -> str:
        """Address of the interface that Confluent's clients speak."""
        return f"{self.url}/apis/ccompat/v7"


@dataclass(frozen=True)
class Lake:
    catalog: str
    namespace: str
    rest_uri: str
    warehouse_uri: str
    folder: Path

    @property
    def database(self) -> Path:
        """The sqlite file behind the Iceberg catalog."""
        return self.folder / "catalog.db"

    @property
    def warehouse(self) -> str:
        """Where table files lie, as `file:///...`: both Flink and PyIceberg need the URI form."""
        return self.warehouse_uri or self.own_warehouse.as_uri()

    @property
    def own_warehouse(self) -> Path:
        """The folder of table files unless the settings name another place."""
        return self.folder / "warehouse"


@dataclass(frozen=True)
class ScoreEvents:
    parallelism: int
    checkpoint_interval: str
    batch_rows: int
    gather_microseconds: int
    linger_milliseconds: int
    model: str
    redis_wait_seconds: int
    transaction_timeout_seconds: int
    delivery: str


@dataclass(frozen=True)
class ArchiveTopics:
    parallelism: int
    checkpoint_interval: str
    maintain_every_commits: int
    snapshot_seconds: int
    snapshots: int


@dataclass(frozen=True)
class ReadModels:
    url: Secret
    folder: Path

    @property
    def file(self) -> Path:
        """The SQLite file, unless `url` names a server."""
        return self.folder / "read_models.db"


@dataclass(frozen=True)
class ArchiveShop:
    parallelism: int
    checkpoint_interval: str


@dataclass(frozen=True)
class Replay:
    parallelism: int


@dataclass(frozen=True)
class Brake:
    percent: int
    answers: int
    seconds: int


@dataclass(frozen=True)
class Keeper:
    lost_seconds: int
    receipts_seconds: int


@dataclass(frozen=True)
class Meter:
    every: int


@dataclass(frozen=True)
class Dlq:
    max_retries: int


@dataclass(frozen=True)
class Shop:
    payment_seconds: int
    inventory_seconds: int
    shipping_seconds: int
    carrier_leaves_percent: int


@dataclass(frozen=True)
class ShopHttp:
    host: str
    port: int
    reply_seconds: int
    read_seconds: int
    body_bytes: int
    body_seconds: int
    commands: int


@dataclass(frozen=True)
class Lineage:
    namespace: str
    file: str
    file_megabytes: int
    address: str
    seconds: int


@dataclass(frozen=True)
class Portal:
    port: int
    feast_port: int
    look_seconds: int
    dead_days: int

    @property
    def url(self) -> str:
        """Address of the portal, on loopback alone."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def feast_url(self) -> str:
        """Address of Feast's own pages while `./streamhouse feast ui` runs."""
        return f"http://127.0.0.1:{self.feast_port}"


@dataclass(frozen=True)
class Settings:
    """Everything that can be set. `installed` holds environment and jars; `state` holds all that a running stack writes."""

    root: Path
    installed: Path
    state: Path
    stack: Stack
    kafka: Kafka
    flink: Flink
    redis: Redis
    registry: Registry
    lake: Lake
    score_events: ScoreEvents
    archive_topics: ArchiveTopics
    read_models: ReadModels
    archive_shop: ArchiveShop
    replay: Replay
    brake: Brake
    keeper: Keeper
    meter: Meter
    dlq: Dlq
    shop: Shop
    shop_http: ShopHttp
    lineage: Lineage
    portal: Portal
    overrides: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a secret; the environment variables that were read

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which another process of ours reads these very settings; one may be a secret."""
        return {**self.overrides, "STREAMHOUSE_STATE": str(self.state)}

    @property
    def jobs_folder(self) -> Path:
        """What is known of jobs: which should run, which the brake holds, what is answered. Shared by all who start or watch them."""
        return self.state / "jobs"

    @property
    def shop_folder(self) -> Path:
        """What the shop's services leave for people."""
        return self.state / "shop"

    @property
    def feast_repo(self) -> Path:
        """The folder that `feast -c` takes: feature_store.yaml for these settings, written by `apply`."""
        return self.state / "feast"


_BOUNDS = (("batch_rows", 1, 100_000), ("gather_microseconds", 0, 100_000), ("linger_milliseconds", 0, 10_000))
"""Of settings of score_events: frames have 31 bits for their length, and each checkpoint waits for what is gathered."""


def load_settings(environment: Mapping[str, str] | None = None, root: Path = ROOT) -> Settings:
    """Read the defaults and the environment.

    Raises:
        SettingsError: a value of the wrong type.
        StreamhouseError: a variable that names no setting.

    """
    environment = os.environ if environment is None else environment
    defaults = tomllib.loads((root / "infra" / "settings.toml").read_text("utf-8"))
    ours = {
        "STREAMHOUSE_STATE",
        "STREAMHOUSE_SUPERVISED",
    }  # not in the file: where things lie, and who was started by whom
    overrides = {name: value for name, value in environment.items() if name.startswith("STREAMHOUSE_") and name not in ours}
    unread = set(overrides)
    installed = root / ".streamhouse"
    state = Path(environment.get("STREAMHOUSE_STATE") or installed / "run").resolve()

    def section(kind: type[Any], name: str, **derived: object) -> Any:  # noqa: ANN401 - one of the dataclasses above
        values: dict[str, object] = dict(derived)
        for key in (f.name for f in dataclasses.fields(kind) if f.name not in derived):
            default, setting = defaults[name][key], f"{name}.{key}"
            variable = environment_name(setting)
            unread.discard(variable)
            values[key] = _typed(setting, environment.get(variable), default)
        return kind(**values)

    settings = Settings(
        root=root,
        installed=installed,
        state=state,
        stack=section(Stack, "stack"),
        kafka=section(Kafka, "kafka"),
        flink=section(Flink, "flink"),
        redis=section(Redis, "redis"),
        registry=section(Registry, "registry"),
        lake=section(Lake, "lake", folder=state / "lake"),
        score_events=section(ScoreEvents, "score_events"),
        archive_topics=section(ArchiveTopics, "archive_topics"),
        read_models=section(ReadModels, "read_models", folder=state / "read_models"),
        archive_shop=section(ArchiveShop, "archive_shop"),
        replay=section(Replay, "replay"),
        brake=section(Brake, "brake"),
        keeper=section(Keeper, "keeper"),
        meter=section(Meter, "meter"),
        dlq=section(Dlq, "dlq"),
        shop=section(Shop, "shop"),
        shop_http=section(ShopHttp, "shop_http"),
        lineage=section(Lineage, "lineage"),
        portal=section(Portal, "portal"),
        overrides=overrides,
    )
    if settings.registry.framed not in ("", "predictions"):
        raise SettingsError("registry.framed", "predictions or nothing", settings.registry.framed)
    for name, least, most in _BOUNDS:
        if not least <= (got := getattr(settings.score_events, name)) <= most:
            setting, expected = f"score_events.{name}", f"{least:,} to {most:,}"
            raise SettingsError(setting, expected, str(got))
    if settings.score_events.delivery not in DELIVERIES:
        raise SettingsError("score_events.delivery", " or ".join(DELIVERIES), settings.score_events.delivery)
    if settings.stack.start not in ("all", "nothing"):
        raise SettingsError("stack.start", "all or nothing", settings.stack.start)
    if settings.read_models.url and not settings.read_models.url.reveal().startswith("postgresql://"):
        raise SettingsError("read_models.url", "postgresql://user:password@host:port/database or nothing", settings.read_models.url)
    if settings.lineage.address and not settings.lineage.address.startswith(("http://", "https://")):
        raise SettingsError("lineage.address", "http://host:port or nothing", settings.lineage.address)
    if unread:
        name = sorted(unread)[0]
        message = f"environment variable {name}: infra/settings.toml has no such setting; correct the name or `unset {name}`"
        raise StreamhouseError(message)
    return settings


def _typed(setting: str, text: str | None, default: object) -> object:
    if setting in SECRETS:
        return Secret(text or "")
    if text is None:
        return default
    if isinstance(default, int):
        if not text.isascii() or not text.isdigit():
            expected = "a whole number of 0 or more" if text.lstrip("-").isdigit() else "a whole number"
            raise SettingsError(setting, expected, text)
        return int(text)
    return text
