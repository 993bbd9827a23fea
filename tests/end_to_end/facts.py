"""What the end-to-end tests wait for and count: committed records, tables, time that is bounded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
from confluent_kafka import Message

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.stack import flink_rest, supervise
from jobs.archive_columns import ARCHIVED
from jobs.committed_records import read_all

Place = tuple[int, int]  # partition and offset


def wait_for(what: Callable[[], bool], seconds: float = 300, between: float = 0.5) -> None:
    """Until a fact holds; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(between)


def records(settings: Settings, topic: str) -> list[Message]:
    """Every committed record of a topic as of now."""
    return list(read_all(settings, topic, load_contracts().topics[topic].partitions))


def table_holds(settings: Settings, table: str, rows: int) -> bool:
    """Whether a table has come that far."""
    from lakehouse.read import read

    return bool(read(settings, table, columns=["topic_offset"]).num_rows >= rows)


def tables_follow(settings: Settings) -> bool:
    """Whether each table of archive_topics has as many rows as its topic has records."""
    from lakehouse.read import read

    return all(
        read(settings, topic.archive, columns=["topic_offset"]).num_rows == len(records(settings, topic.name))
        for topic in (load_contracts().topics[name] for name in ARCHIVED["archive_topics"])
    )


def place_of(message: Message) -> Place:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def value_of(message: Message) -> Any:
    return orjson.loads(message.value() or b"")


def answered(settings: Settings) -> Counter[Place]:
    """How often each place in user-actions was answered by a prediction."""
    return Counter(
        (data["actionPartition"], data["actionOffset"]) for data in (value_of(m)["data"] for m in records(settings, "predictions"))
    )


def pid_of(settings: Settings, service: str) -> int:
    """The process that the supervisor runs as this service."""
    (pid,) = (state.pid for state in supervise.states(settings) if state.name == service)
    return pid


def restarts(settings: Settings, *names: str) -> int:
    """How often the jobs of these names that run now were restarted; without names, every job."""
    return sum(job.restarts for job in flink_rest.jobs(settings, details=True) if not names or job.name in names)
