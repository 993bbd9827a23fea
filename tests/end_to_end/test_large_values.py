"""Megabyte values in a row: each a dead letter with all of its bytes, in the topic and in the table, within the memory limit.

The short round sends fifty; `--full` sends a thousand.
"""

from __future__ import annotations

import base64
import hashlib
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.stack import supervise
from jobs.committed_records import read_all
from jobs.watch import Watch
from tests.end_to_end.facts import restarts, wait_for

pytestmark = pytest.mark.timeout(1200)
LIMIT = 6 << 30  # bytes of memory that the whole stack with its jobs may take
SIZE = 1_000_000
TOPICS = load_contracts().topics
DEAD_LETTERS = TOPICS["user-actions-dlq"]


def test_megabytes_of_garbage_in_a_row_stay_whole_and_within_the_memory_limit(played: Settings, full: bool) -> None:
    count, rng = 1000 if full else 50, random.Random(7)
    partition = partition_of("garbage", TOPICS["user-actions"].partitions)
    before_restarts = restarts(played)
    sent: dict[int, str] = {}

    def delivered(error: Any, message: Any) -> None:
        assert error is None, error
        sent[message.offset()] = hashlib.sha256(message.value()).hexdigest()

    with Watch(played, [DEAD_LETTERS.name]) as watch, peak_memory(played) as peak:
        before = watch.caught_up()[DEAD_LETTERS.name]
        producer = Producer({**played.kafka.client(), "message.max.bytes": TOPICS["user-actions"].max_message_bytes})
        for _ in range(count):
            producer.produce("user-actions", b"\xff" + rng.randbytes(SIZE - 1), key=b"garbage", partition=partition, on_delivery=delivered)
            producer.poll(0)
            if len(producer) > 20:
                producer.flush(60)
        assert producer.flush(60) == 0
        wait_for(lambda: watch.look()[DEAD_LETTERS.name] == before + count, seconds=600)
        wait_for(lambda: len(archived(played, sent)) == count, seconds=300)

    found = {}
    for message in read_all(played, DEAD_LETTERS.name, DEAD_LETTERS.partitions):
        letter = orjson.loads(message.value() or b"")["data"]
        if letter["sourcePartition"] == partition and letter["sourceOffset"] in sent:
            assert letter["sourceOffset"] not in found
            found[letter["sourceOffset"]] = hashlib.sha256(base64.b64decode(letter["originalBytes"])).hexdigest()
    assert found == sent
    assert archived(played, sent) == set(sent)
    assert restarts(played) == before_restarts
    print(f"the stack took {max(peak) / 2**30:.2f} GiB at most")
    assert max(peak) < LIMIT, f"the stack took {max(peak) / 2**30:.2f} GiB"


def archived(settings: Settings, offsets: dict[int, str]) -> set[int]:
    """Which of the offsets the table of dead letters names."""
    from lakehouse.read import read

    rows = read(settings, DEAD_LETTERS.archive, columns=["source_offset", "reason"], where="reason = 'not_utf8'").to_pylist()
    return {row["source_offset"] for row in rows if row["source_offset"] in offsets}


@contextmanager
def peak_memory(settings: Settings) -> Iterator[list[int]]:
    """Resident bytes of all services and their workers, looked at four times a second until the block ends."""
    seen, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.25):
            seen.append(sum(state.memory for state in supervise.states(settings)))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()
