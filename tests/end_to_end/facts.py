"""What the end-to-end tests wait for and count: committed records, tables, time that is bounded."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Message

from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs.committed_records import read_all


def wait_for(what: Callable[[], bool], seconds: float = 180, between: float = 0.5) -> None:
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
