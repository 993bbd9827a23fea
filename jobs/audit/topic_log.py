"""One topic partition as steps of records in offset order, up to a pinned end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from numpy.typing import NDArray

from infra.config import Settings
from jobs.audit.pins import NotAuditable, unreachable
from lakehouse.python_values import python_values

Headers = dict[str, bytes | None]
STEP_ROWS = 10_000
STEP_BYTES = 32 << 20
_LARGE_FETCHES = {"fetch.message.max.bytes": 4 << 20, "queued.max.messages.kbytes": STEP_BYTES >> 10}
_BATCH = 2000
_FILL_SECONDS = 0.05
SILENT_SECONDS = 60.0
"""How long a broker may say nothing before its end is reached."""


@dataclass(frozen=True)
class Step:
    """n records in offset order; `kafka_ms` is the broker's time. Of a header that stands twice the last counts, as in the tables."""

    offset: NDArray[np.int64]
    kafka_ms: NDArray[np.int64]
    key: pa.Array
    value: pa.Array
    values: list[bytes | None]
    headers: list[Headers] | None

    def __len__(self) -> int:
        return len(self.values)


def steps(settings: Settings, topic: str, partition: int, first: int, end: int) -> Iterator[Step]:
    """Committed records with `first <= offset < end`, some 10,000 or 32 MiB of them at a time.

    Raises:
        NotAuditable: the broker does not answer, or retention cut the topic meanwhile.

    """
    waiting: list[Message] = []
    size = 0
    for messages in _read(settings, topic, partition, first, end):
        waiting += messages
        size += sum(len(message) for message in messages)
        if len(waiting) >= STEP_ROWS or size >= STEP_BYTES:
            yield _step(waiting)
            waiting, size = [], 0
    if waiting:
        yield _step(waiting)


def archived_step(rows: pa.Table) -> Step:
    """Rows of an archive table as if they had been read from the topic, for where it does not reach back any more."""
    values = python_values(rows["value"])
    headers = [dict(pairs or ()) for pairs in rows["headers"].to_pylist()]
    return Step(
        rows["topic_offset"].to_numpy().astype(np.int64),
        milliseconds(rows["kafka_time"]),
        _bytes(python_values(rows["key"])),
        _bytes(values),
        values,
        headers if any(headers) else None,
    )


def milliseconds(times: pa.ChunkedArray) -> NDArray[np.int64]:
    """Milliseconds since 1970, rounded down; nulls as -1."""
    micro = pc.fill_null(times.cast(pa.timestamp("us", "UTC")).cast(pa.int64()), -1000).to_numpy()
    return np.asarray(micro, np.int64) // 1000


def consumer(settings: Settings, isolation: str, fetching: Mapping[str, int] = _LARGE_FETCHES) -> Consumer:
    """A reader that commits nothing, is told of a partition's end and of an offset that retention has taken."""
    return Consumer({**settings.kafka.reader(group="streamhouse-audit"), "isolation.level": isolation, **fetching})


def _read(settings: Settings, topic: str, partition: int, first: int, end: int) -> Iterator[list[Message]]:
    if first >= end:
        return
    with closing(consumer(settings, "read_committed")) as reader:
        reader.assign([TopicPartition(topic, partition, first)])
        silent = 0.0
        while True:
            messages, ended = some(reader, _BATCH, _FILL_SECONDS, settings, topic, partition)
            if found := [message for message in messages if (message.offset() or 0) < end]:
                yield found
            silent = 0.0 if found else silent + _FILL_SECONDS
            if ended or (messages and (messages[-1].offset() or 0) >= end - 1):
                return
            if silent > SILENT_SECONDS:
                raise silence(settings, topic, partition)


def some(reader: Consumer, count: int, seconds: float, settings: Settings, topic: str, partition: int) -> tuple[list[Message], bool]:
    """The next records, at most `count` and none after so many seconds; and whether the partition ends behind them.

    Raises:
        NotAuditable: the broker does not answer, or retention cut the topic meanwhile.

    """
    found, ended = [], False
    for message in reader.consume(count, timeout=seconds):
        error = message.error()
        if error is None:
            found.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            ended = True
        else:
            raise _failed(settings, topic, partition, error)
    return found, ended


def _failed(settings: Settings, topic: str, partition: int, error: KafkaError) -> Exception:
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        message = f"{topic}, partition {partition}: expected the records that it held when the audit began, got a topic cut meanwhile"
        return NotAuditable(f"{message}; audit again")
    return unreachable(settings, KafkaException(error))


def silence(settings: Settings, topic: str, partition: int) -> NotAuditable:
    """What to say of a broker that says nothing any more."""
    return unreachable(settings, KafkaException(f"nothing of {topic}, partition {partition}, for {SILENT_SECONDS:.0f} s"))


def _step(messages: list[Message]) -> Step:
    values = [message.value() for message in messages]
    headers: list[Headers] | None = None
    if any(message.headers() for message in messages):
        headers = [_headers(message) for message in messages]
    return Step(
        np.array([message.offset() for message in messages], np.int64),
        np.array([message.timestamp()[1] for message in messages], np.int64),
        _bytes([message.key() for message in messages]),
        _bytes(values),
        values,
        headers,
    )


def _headers(message: Message) -> Headers:
    pairs: Any = message.headers() or ()
    return dict(pairs)


def _bytes(values: list[bytes | None]) -> pa.Array:
    return pa.array(values, pa.large_binary())
