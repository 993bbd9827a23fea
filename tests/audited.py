"""A system to audit without Flink: a broker's topics answered by the real scoring path, and the archive of them, step by step."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from confluent_kafka import OFFSET_BEGINNING, KafkaError, Message, Producer, TopicPartition

from features.enrich import Batch, Enricher
from features.memory_store import MemoryStore
from infra.config import Settings, load_settings
from infra.contracts import topics
from infra.contracts.columns import Extractor
from infra.contracts.in_effect import Contract
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.archive_columns import COLUMNS, ENVELOPE
from jobs.archive_rows import archive_row
from jobs.committed_records import end_offsets, read_to_end
from jobs.schema_history import decisions_in_topic
from jobs.scoring_parts import as_records, model, rules
from jobs.scoring_path import answer
from lakehouse import migrate
from tests.brokers import empty_topics, own_broker
from tests.lake import put_records

Headers = list[tuple[str, str | bytes | None]]
PARTITIONS = load_contracts().topics["user-actions"].partitions
_STEP = 20_000


@dataclass(frozen=True)
class Sent:
    """One record to send; `partition` None: by murmur2 of the key."""

    key: bytes | None
    value: bytes | None
    headers: Headers = field(default_factory=list)
    partition: int | None = None


@contextlib.contextmanager
def audited_system(state: Path) -> Iterator[Settings]:
    """A broker of its own with the topics of the contracts, and a lake with every table; empty."""
    with own_broker(state) as settings:
        topics.apply(settings)
        migrate.apply(settings)
        yield settings


def audited_anew(broker: Settings, state: Path) -> Settings:
    """A broker that runs, with the topics of the contracts made anew, and a lake of its own with every table; empty."""
    settings = load_settings({"STREAMHOUSE_STATE": str(state), "STREAMHOUSE_KAFKA_PORT": str(broker.kafka.port)})
    empty_topics(settings)
    migrate.apply(settings)
    return settings


class Writer:
    """Records into topics, a transaction at a time."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings, self._last = settings, dict[tuple[str, int], int]()
        self._producer = Producer(
            {
                **settings.kafka.client(),
                "transactional.id": f"audited-{name}",
                "transaction.timeout.ms": 600_000,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 20,
                "queue.buffering.max.messages": 200_000,
                "message.max.bytes": 4 << 20,
                "log_level": 0,
            }
        )
        self._producer.list_topics(timeout=60)  # once it is connected, the next takes no half second
        self._producer.init_transactions(60)

    def send(self, records: Iterable[tuple[str, Sent]], *, commit: bool = True) -> list[tuple[int, int]]:
        """Send (topic, record) in one transaction, committed or aborted; answers where each came to lie."""
        self.begin()
        places = self.put(records)
        self.end(commit=commit)
        return places

    def begin(self) -> None:
        """Open a transaction."""
        self._producer.begin_transaction()

    def put(self, records: Iterable[tuple[str, Sent]]) -> list[tuple[int, int]]:
        """Send (topic, record) in the open transaction; answers where each came to lie."""
        places: dict[int, tuple[int, int]] = {}
        for number, (topic, sent) in enumerate(records):
            self._produce(topic, sent, partial(self._place, places, number))
        assert self._producer.flush(120) == 0
        return [places[number] for number in range(len(places))]

    def end(self, *, commit: bool) -> None:
        """Commit the open transaction, or abort it; whoever reads afterwards sees it.

        The broker answers once it has decided, and writes the markers, before which nobody reads on, a little later.
        """
        if commit:
            self._producer.commit_transaction(60)
        else:
            self._producer.abort_transaction(60)
        last, deadline = self._last, time.monotonic() + 180
        while last and any(end < last[place] + 2 for place, end in end_offsets(self._settings, last).items()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self._last = {}

    def send_many(self, records: Iterable[tuple[str, Sent]]) -> None:
        """As `send`, for many records of which nobody asks where they lie."""
        self.begin()
        for topic, sent in records:
            self._produce(topic, sent, lambda _: None)
        assert self._producer.flush(300) == 0
        self.end(commit=True)

    def _produce(self, topic: str, sent: Sent, noted: Callable[[Message], None]) -> None:
        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            self._last[topic, message.partition() or 0] = message.offset() or 0
            noted(message)

        partition = -1 if sent.partition is None else sent.partition
        while True:
            try:
                self._producer.produce(topic, sent.value, sent.key, partition, delivered, headers=sent.headers or None)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    @staticmethod
    def _place(places: dict[int, tuple[int, int]], number: int, message: Message) -> None:
        places[number] = (message.partition() or 0, message.offset() or 0)


class Scorer:
    """The scoring path over the source topic, batch by batch, as the job runs it; from where it stopped.

    Framed records are answered by what is on record about their schema ids.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._rules, self._model = settings, rules(), model(settings)
        self._writer = Writer(settings, "scorer")
        self._next = [0] * PARTITIONS
        self._enricher = Enricher(MemoryStore(), _nothing_missed, lambda partition: self._next[partition], lambda _: None, wait_seconds=0)

    def answer(self, withhold: Callable[[int, int], bool] = lambda _, __: False) -> dict[tuple[int, int], tuple[str, Sent]]:
        """Answer what the topic holds by now; answers to places that `withhold` chooses are not sent but handed back, with their topics."""
        kept: dict[tuple[int, int], tuple[str, Sent]] = {}
        decided = replace(self._rules, schemas=decisions_in_topic(self._settings))
        for messages in _steps(self._settings, [TopicPartition("user-actions", p, self._next[p]) for p in range(PARTITIONS)]):
            records = as_records(messages)
            answers = answer(records, decided, self._enricher, self._model, now_ms=1_704_067_200_000)
            sent = []
            places = zip(records.partition.tolist(), records.offset.tolist(), strict=True)
            for place, predicted, key, value in zip(places, answers.is_prediction, answers.keys, answers.values, strict=True):
                made = "predictions" if predicted else "user-actions-dlq", Sent(key, value)
                if withhold(*place):
                    kept[place] = made
                else:
                    sent.append(made)
            self._writer.send_many(sent)
            for message in messages:
                self._next[message.partition() or 0] = (message.offset() or 0) + 1
        return kept


class Archive:
    """The archive tables behind their topics: each call writes what came since the last, a snapshot per step."""

    def __init__(self, settings: Settings, step: int = 100_000) -> None:
        self._settings, self._step, self._window = settings, step, rules().contract
        self._next: dict[str, list[int]] = {}

    def follow(self, topic: str) -> int:
        """Archive what the topic holds by now; answers how many records."""
        declared = load_contracts().topics[topic]
        start = self._next.setdefault(topic, [OFFSET_BEGINNING] * declared.partitions)
        count, waiting = 0, list[Message]()
        for messages in read_to_end(self._settings, [TopicPartition(topic, p, offset) for p, offset in enumerate(start)]):
            waiting += messages
            count += len(messages)
            for message in messages:
                start[message.partition() or 0] = (message.offset() or 0) + 1
            while len(waiting) >= self._step:
                self._put(topic, declared.archive, waiting[: self._step])
                waiting = waiting[self._step :]
        self._put(topic, declared.archive, waiting)
        return count

    def follow_all(self) -> None:
        """Archive every topic."""
        places = [(topic, partition) for topic in COLUMNS for partition in range(load_contracts().topics[topic].partitions)]
        holding = {topic for (topic, _), end in end_offsets(self._settings, places).items() if end}
        for topic in COLUMNS:
            if topic in holding:
                self.follow(topic)

    def _put(self, topic: str, table: str, messages: Sequence[Message]) -> None:
        if messages:
            put_records(self._settings, table, archived(topic, messages))


def archived(topic: str, messages: Sequence[Message], contract: Contract | None = None, fields: Extractor | None = None) -> pa.Table:
    """Messages as rows of the topic's archive table, as archive_topics writes them; framed actions as where nobody decided in time.

    `contract`: under which they were sent, this code's own by default. `fields`: the columns that the archiver knew when it started.
    """
    contract = rules(contract).contract
    headers: list[Any] = [message.headers() or () for message in messages]
    typed = [
        archive_row(topic, message.value(), message.timestamp()[1], contract, message.key(), dict(head), fields)
        for message, head in zip(messages, headers, strict=True)
    ]
    columns: dict[str, Any] = {
        "topic_partition": pa.array([message.partition() for message in messages], pa.int32()),
        "topic_offset": pa.array([message.offset() for message in messages], pa.int64()),
        "key": pa.array([message.key() for message in messages], pa.binary()),
        "value": pa.array([message.value() for message in messages], pa.binary()),
        "headers": pa.array([list(dict(message.headers() or ()).items()) for message in messages], pa.map_(pa.string(), pa.binary())),
        "kafka_time": _times([message.timestamp()[1] for message in messages]),
        "event_time": _times([row["event_ms"] for row in typed]),
    }
    kinds = {"STRING": pa.string(), "INT": pa.int32(), "BIGINT": pa.int64(), "FLOAT": pa.float32(), "BOOLEAN": pa.bool_()}
    lists = {"ARRAY<FLOAT>": pa.list_(pa.float32()), "ARRAY<STRING>": pa.list_(pa.string())}
    for name, kind in (ENVELOPE | COLUMNS[topic]).items():
        columns[name] = pa.array([row.get(name) for row in typed], (kinds | lists)[kind])
    return pa.table(columns)


def action(user: str, number: int, *, event_id: str | None = None) -> Sent:
    """One good action."""
    event = {
        "eventType": "UserAction",
        "eventId": event_id or f"00000000-0000-4000-8000-{number:012d}",
        "timestamp": f"2024-01-0{1 + number % 3}T10:00:{number % 60:02d}Z",
        "version": 1,
        "source": "shop",
        "correlationId": "c",
        "data": {"userId": user, "sessionId": "s", "action": "product_view"},
    }
    return Sent(user.encode(), orjson.dumps(event), partition=partition_of(user, PARTITIONS))


def _steps(settings: Settings, start: list[TopicPartition]) -> Iterator[list[Message]]:
    waiting: list[Message] = []
    for messages in read_to_end(settings, start):
        waiting += messages
        if len(waiting) >= _STEP:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _nothing_missed(partition: int, first: int, end: int) -> Iterator[Batch]:
    yield from ()


def _times(milliseconds: list[int]) -> pa.Array:
    return pa.array(milliseconds, pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))
