"""Contracts -> Kafka topics: says what would change, then changes it; never what would lose order or records."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported in silence
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from infra.config import Settings
from infra.contracts.change import Change
from infra.contracts.compare import settings as settings_changed
from infra.contracts.contract import Topic
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError

_SECONDS = 15.0
_ASK_SECONDS = 3.0
_COMPACTED_SEGMENT = 64 << 20
"""The segment that is written is never compacted: of a gigabyte, Kafka's default, each start would read what was replaced long ago."""
REPLICATION = -1  # the broker's own default: 1 where the embedded one runs, what its owners chose elsewhere


class BrokerUnreachable(StreamhouseError):
    """No broker answered in time."""


def plan(settings: Settings, topics: Iterable[Topic] | None = None) -> list[Change]:
    """What `apply` would do, one line per topic.

    Raises:
        BrokerUnreachable: no broker answers at the address of the settings.

    """
    return _planned(_client(settings), settings, _contracted(topics))


def apply(settings: Settings, topics: Iterable[Topic] | None = None) -> list[Change]:
    """Create the topics that are missing, set what differs, answer the plan carried out; twice changes nothing.

    A new topic can be read and written when this returns.
    """
    client, contracted = _client(settings), _contracted(topics)
    changes = _planned(client, settings, contracted)
    actions = {change.name: change.action for change in changes}
    missing = [_new(topic) for topic in contracted if actions[topic.name] == "create"]
    differing = [_alteration(topic) for topic in contracted if actions[topic.name] == "update"]
    futures: dict[Any, Any] = client.create_topics(missing, operation_timeout=_SECONDS) if missing else {}
    futures |= client.incremental_alter_configs(differing) if differing else {}
    for future in futures.values():
        _answer(future, settings)
    if missing:
        _wait_for(client, settings, missing)
    return changes


def _wait_for(client: AdminClient, settings: Settings, made: list[NewTopic]) -> None:
    """A broker answers that it made a topic before it tells of it, and tells who leads its partitions before that one does."""
    places = {TopicPartition(topic.topic, partition): OffsetSpec.latest() for topic in made for partition in range(topic.num_partitions)}  # type: ignore[no-untyped-call]

    def are_led() -> bool:
        told = client.list_topics(timeout=_SECONDS).topics
        leaders = [[partition.leader for partition in told[topic.topic].partitions.values()] for topic in made if topic.topic in told]
        if [len(of) for of in leaders] != [topic.num_partitions for topic in made] or min(map(min, leaders)) < 0:
            return False
        asked = client.list_offsets(places, request_timeout=_ASK_SECONDS).values()
        return not any(isinstance(future.exception(_SECONDS), KafkaException) for future in asked)

    try:
        Retrying(retry=retry_if_result(operator.not_), stop=stop_after_delay(_SECONDS), wait=wait_fixed(0.1))(are_led)
    except (KafkaException, RetryError) as error:
        raise _unreachable(settings, error) from error


def configuration(topic: Topic) -> dict[str, str]:
    """The topic's own settings, by Kafka's names."""
    return {
        "cleanup.policy": topic.cleanup,
        "retention.ms": "-1" if topic.retention_ms is None else str(topic.retention_ms),
        "retention.bytes": "-1",
        "max.message.bytes": str(topic.max_message_bytes),
        "message.timestamp.type": topic.timestamp_type,
        **({"segment.bytes": str(_COMPACTED_SEGMENT)} if topic.cleanup == "compact" else {}),
    }


def _contracted(topics: Iterable[Topic] | None) -> list[Topic]:
    return list(load_contracts().topics.values() if topics is None else topics)


def _planned(client: AdminClient, settings: Settings, topics: list[Topic]) -> list[Change]:
    try:
        held = client.list_topics(timeout=_SECONDS).topics
    except KafkaException as error:
        raise _unreachable(settings, error) from error
    there = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics if topic.name in held]
    described = client.describe_configs(there) if there else {}
    configs = {resource.name: _answer(future, settings) for resource, future in described.items()}
    changes = []
    for topic in topics:
        if topic.name not in held:
            changes.append(Change("topic", topic.name, "create", f"{topic.partitions} partitions, kept {_kept(topic)}"))
            continue
        partitions = len(held[topic.name].partitions)
        if partitions != topic.partitions:
            detail = (
                f"it has {partitions} partitions and the contract says {topic.partitions}: users would move between"
                " partitions and lose their order; a new number is a new topic and a rebuild of the features"
            )
            changes.append(Change("topic", topic.name, "refuse", detail))
            continue
        config = {name: entry.value for name, entry in configs[topic.name].items()}
        breaking = [finding.sentence for finding in settings_changed(_kept_now(topic, config), topic) if not finding.safe]
        if breaking:
            detail = f"{'; '.join(breaking)}; if it is meant, set it on the broker by hand first"
            changes.append(Change("topic", topic.name, "refuse", detail))
            continue
        differing = [f"{name} {config[name]} -> {value}" for name, value in configuration(topic).items() if config[name] != value]
        changes.append(Change("topic", topic.name, "update" if differing else "keep", ", ".join(differing)))
    return changes


def _kept_now(topic: Topic, config: Mapping[str, str]) -> Topic:
    """The contract as the broker keeps the topic now, by what takes records or refuses them where it is lowered."""
    kept = int(config["retention.ms"])
    cleanup, size = config["cleanup.policy"], int(config["max.message.bytes"])
    # a compacted topic takes nothing by its age, whatever its retention says
    return replace(topic, cleanup=cleanup, retention_ms=None if kept < 0 or cleanup == "compact" else kept, max_message_bytes=size)


def _new(topic: Topic) -> NewTopic:
    return NewTopic(topic.name, topic.partitions, REPLICATION, config=configuration(topic))


def _alteration(topic: Topic) -> ConfigResource:
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in configuration(topic).items()]
    return ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)


def _kept(topic: Topic) -> str:
    if topic.cleanup == "compact":
        return "by the latest record of each key"
    return "without limit" if topic.retention_ms is None else f"{topic.retention_ms // 86_400_000} days"


def _client(settings: Settings) -> AdminClient:
    # a broker that is away is said once, by us; librdkafka would print a line per attempt
    return AdminClient({**settings.kafka.client(), "log_level": "0", "socket.timeout.ms": str(int(_SECONDS * 1000))})


def _answer(future: Any, settings: Settings) -> Any:  # noqa: ANN401 - what the client's futures hold
    try:
        return future.result(timeout=_SECONDS)
    except (KafkaException, TimeoutError) as error:
        raise _unreachable(settings, error) from error


def _unreachable(settings: Settings, error: Exception) -> BrokerUnreachable:
    remedy = "start it with ./streamhouse up, or set kafka.bootstrap_servers"
    if not settings.kafka.is_embedded:  # librdkafka calls a refused password a failed transport
        remedy = "see that it runs, and that kafka.security_protocol, sasl_mechanism, username, password and ca_file are what it asks for"
    return BrokerUnreachable(f"broker {settings.kafka.servers}: expected an answer within {_SECONDS:.0f} s, got {error}; {remedy}")
