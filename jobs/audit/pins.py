"""The state that is audited, pinned: tables first, then answers, then actions, so that whatever a later thing rests on is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.config import Settings
from infra.contracts.contract import Topic
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs.archive_columns import ARCHIVED
from jobs.as_started import was_started
from lakehouse.read import log_ends, snapshot

ACTIONS, PREDICTIONS, LETTERS, REPLAYS = "user-actions", "predictions", "user-actions-dlq", "user-actions-replays"
_LATER = (REPLAYS, "schema-ids")  # a stack from before there were these has nothing to say on them
ANSWERS = (PREDICTIONS, LETTERS)
ANSWER_NAME = {PREDICTIONS: "prediction", LETTERS: "dead letter"}
_SECONDS = 15.0


class NotAuditable(StreamhouseError):
    """The audit could not run, which says nothing of the records."""


@dataclass(frozen=True)
class Pin:
    """One topic partition: what the topic held as of the pin, `low <= offset < end`, and the table, `None` where it holds nothing of it."""

    topic: str
    partition: int
    low: int
    end: int
    held: tuple[int, int] | None

    @property
    def begins(self) -> int:
        """The first offset that topic or table may tell of."""
        return self.low if self.held is None else min(self.low, self.held[0])

    @property
    def size(self) -> int:
        """How many offsets there are to look at, at most."""
        return max(0, self.end - self.begins)


@dataclass(frozen=True)
class PinnedTopic:
    """A topic with its archive table; `snapshot_id` None: the table is empty. `begun` False: the job that archives it never was started."""

    name: str
    table: str
    snapshot_id: int | None
    partitions: tuple[Pin, ...]
    begun: bool = True


def archived_topics() -> list[Topic]:
    """The topics that are archived, the source of all last."""
    topics = load_contracts().topics
    return sorted((topics[name] for names in ARCHIVED.values() for name in names), key=lambda topic: topic.name == ACTIONS)


def pin(settings: Settings) -> dict[str, PinnedTopic]:
    """Pin every archived topic and its table.

    Raises:
        NotAuditable: the broker does not answer, or a topic is missing.
        LakehouseError: a table is missing.

    """
    there = _partitions(settings)
    if missing := [name for name in ARCHIVED["archive_topics"] if name not in there and name not in _LATER]:
        message = f"broker {settings.kafka.servers}: expected topic {missing[0]}, got no such topic; run `./streamhouse apply`"
        raise NotAuditable(message)
    declared = [topic for topic in archived_topics() if topic.name in there]
    snapshots = {topic.name: snapshot(settings, topic.archive) for topic in declared}
    held = {topic.name: {} if (id_ := snapshots[topic.name]) is None else log_ends(settings, topic.archive, id_) for topic in declared}
    unbegun = not_begun(settings, {name for name, id_ in snapshots.items() if id_ is not None})
    client = {**settings.kafka.client(), "group.id": "streamhouse-audit", "isolation.level": "read_committed", "log_level": 2}
    with closing(Consumer(client)) as consumer:
        return {
            topic.name: PinnedTopic(
                topic.name,
                topic.archive,
                snapshots[topic.name],
                tuple(
                    _pin(settings, consumer, topic.name, partition, held[topic.name].get(partition))
                    for partition in range(there[topic.name])
                ),
                topic.name not in unbegun,
            )
            for topic in declared
        }


def not_begun(settings: Settings, archived: Collection[str]) -> frozenset[str]:
    """The topics of jobs that were never started: none of its topics has rows, and no start was noted. What they hold is not archived yet.

    `archived`: the topics with rows. `archive_topics` counts as begun: without it nothing here is whole.
    """
    others = {name: topics for name, topics in ARCHIVED.items() if name != "archive_topics"}
    never = [topics for name, topics in others.items() if set(topics).isdisjoint(archived) and not was_started(settings, name)]
    return frozenset(topic for topics in never for topic in topics)


def _pin(settings: Settings, consumer: Consumer, topic: str, partition: int, held: tuple[int, int] | None) -> Pin:
    try:
        low, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_SECONDS)
    except KafkaException as error:
        raise unreachable(settings, error) from error
    return Pin(topic, partition, low, end, held)


def _partitions(settings: Settings) -> Mapping[str, int]:
    with closing(Consumer({**settings.kafka.client(), "group.id": "streamhouse-audit", "log_level": 2})) as consumer:
        try:
            return {name: len(topic.partitions) for name, topic in consumer.list_topics(timeout=_SECONDS).topics.items()}
        except KafkaException as error:
            raise unreachable(settings, error) from error


def unreachable(settings: Settings, error: KafkaException) -> NotAuditable:
    """What to say of a broker that does not answer as expected."""
    said = error.args[0].str() if error.args and hasattr(error.args[0], "str") else str(error)
    return NotAuditable(f"broker {settings.kafka.servers}: expected an answer, got {said}; run `./streamhouse up`, then audit again")
