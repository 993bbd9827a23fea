"""What a scoring worker is made of, built from settings: the rules, the model, the enrich step with its log and offsets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from features.enrich import Batch, Enricher
from features.online import OnlineStore
from infra.config import Settings
from infra.contracts.decisions import NOTHING, Schemas
from infra.contracts.in_effect import Contract, of_files
from infra.contracts.load import load_contracts
from infra.contracts.replays import HEADER
from jobs.committed_records import first_offsets, read_to_end
from jobs.published_models import published_model
from jobs.records import Records, Rules
from jobs.scoring_path import Model, accept

SOURCE_TOPIC = "user-actions"
GROUP = "score_events"
_COMMITTED_FOR = 1.0  # seconds that an answer about committed offsets is good for


def rules(contract: Contract | None = None, schemas: Schemas = NOTHING) -> Rules:
    """What the path asks of the source topic's records: to be decoded by `contract`, by this code's own files if none is given.

    `schemas`: by what framed ones are made plain before.
    """
    topics = load_contracts().topics
    topic = topics[SOURCE_TOPIC]
    letters = topics.get(topic.dead_letter_topic or "")
    if letters is None:
        message = f"the contract of {SOURCE_TOPIC} states no dead-letter topic"
        raise ValueError(message)
    return Rules(topic.name, topic.partitions, contract or of_files(), letters.max_message_bytes, schemas)


def models_folder(settings: Settings) -> Path:
    """Where published models lie."""
    return settings.root / "models" / "published"


def model(settings: Settings) -> Model:
    """The published model that the settings name.

    Raises:
        ModelRefused: the file is not what its manifest says.

    """
    return published_model(models_folder(settings), settings.score_events.model)


def enricher(
    settings: Settings, sleep: Callable[[float], None], source_rules: Rules, *, topic: str = SOURCE_TOPIC, group: str = GROUP
) -> Enricher:
    """The enrich step of one worker that reads `topic` in the consumer group `group`; what it folds again it decodes by `source_rules`."""
    source = Topic(settings, topic, group)

    def records(partition: int, first: int, end: int) -> Iterator[Records]:
        low = source.low(partition)
        if first < low:
            from jobs.archived_log import before_the_topic  # PyIceberg, which a worker needs only where retention has cut the topic

            yield from before_the_topic(settings, partition, first, min(low, end))
        yield from source.records(partition, max(first, low), end)

    def log(partition: int, first: int, end: int) -> Iterator[Batch]:
        for read in records(partition, first, end):
            accepted, _ = accept(read, source_rules)
            if accepted.events:
                yield accepted.batch

    def profiles() -> None:
        from features.materialize import restore_profiles

        restore_profiles(settings)

    store = OnlineStore(settings.redis.host, settings.redis.port)
    return Enricher(store, log, source.committed, sleep, settings.score_events.redis_wait_seconds, profiles)


class Topic:
    """The source topic beside Flink's own reading of it: what the group has committed, and records from before the job's position."""

    def __init__(self, settings: Settings, name: str, group: str = GROUP) -> None:
        self._settings, self._name = settings, name
        self._client = {**settings.kafka.client(), "group.id": group, "enable.auto.commit": False}
        self._offsets: Consumer | None = None
        self._known: dict[int, tuple[float, int]] = {}

    def committed(self, partition: int) -> int:
        """The consumer group's committed offset, at most a second old; the last known one while the broker is away."""
        now = time.monotonic()
        asked, offset = self._known.get(partition, (-_COMMITTED_FOR, 0))
        if now - asked < _COMMITTED_FOR:
            return offset
        if self._offsets is None:
            self._offsets = Consumer(self._client)
        try:
            answer = self._offsets.committed([TopicPartition(self._name, partition)], timeout=2.0)[0]
            offset = max(offset, answer.offset)
        except KafkaException:
            pass  # an older answer only delays merging
        self._known[partition] = (now, offset)
        return offset

    def low(self, partition: int) -> int:
        """The first offset that the topic still holds.

        Raises:
            KafkaException: the broker does not answer.

        """
        return first_offsets(self._settings, [(self._name, partition)])[self._name, partition]

    def records(self, partition: int, first: int, end: int) -> Iterator[Records]:
        """Committed records with `first <= offset < end`, in order.

        Raises:
            KafkaException: as `read_to_end`.

        """
        if first >= end:
            return
        for messages in read_to_end(self._settings, [TopicPartition(self._name, partition, first)]):
            fine = [message for message in messages if (message.offset() or 0) < end]
            if fine:
                yield as_records(fine)
            if (messages[-1].offset() or 0) + 1 >= end:
                return


def as_records(messages: Sequence[Message]) -> Records:
    """Messages without an error as the scoring path takes them."""
    return Records(
        [message.key() for message in messages],
        [message.value() for message in messages],
        np.array([message.partition() for message in messages], np.int64),
        np.array([message.offset() for message in messages], np.int64),
        np.array([message.timestamp()[1] for message in messages], np.int64),
        [_replay_header(message) for message in messages],
    )


def _replay_header(message: Message) -> bytes | None:
    value = dict(message.headers() or ()).get(HEADER)
    return value.encode() if isinstance(value, str) else value
