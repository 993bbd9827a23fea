"""A Python worker of score_events: gets batches of records over a socket, lifts each into `jobs.scoring_path.answer`, sends the answers.

    python -m jobs.flink.score_worker SOCKET        started by jobs/flink/java/streamhouse/Worker.java

It holds a model, a Redis connection and the leases of the partitions that it reads. The first frame is a `Task`, each
other is a batch. It ends with the socket; what keeps it from going on is said to the task, which fails with it.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import redis
from numpy.typing import NDArray

from infra.clock import system_clock
from infra.config import load_settings
from infra.contracts.changes import Changes, Followed
from infra.contracts.framing import frame
from jobs.flink.frames import LENGTH, Task, read_asked, read_task, write_answered, write_failed
from jobs.offset_ranges import Ranges, holds
from jobs.records import Records
from jobs.schema_ids import SchemaIds
from jobs.scoring_parts import SOURCE_TOPIC, enricher, model, rules
from jobs.scoring_path import answer as answer_records

Answer = Callable[[Records], bytes]


def main() -> None:
    """Answer until the socket ends."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s - %(message)s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(sys.argv[1])
        answered: Answer | None = None
        for frame in _frames(connection):
            try:
                if answered is None:
                    answered = answers(read_task(frame))
                    continue
                answer = answered(read_asked(frame))
            except Exception:
                why = traceback.format_exc()
                print(why, file=sys.stderr, flush=True)
                _send(connection, write_failed(why))
                sys.exit(1)
            if not _send(connection, answer):
                return


def answers(task: Task) -> Answer:
    """What answers a batch of records with a frame."""
    here = load_settings()
    settings = replace(here, score_events=replace(here.score_events, model=task.model))
    schema_ids = SchemaIds(settings, SOURCE_TOPIC, system_clock, time.sleep)
    source_rules, scorer = rules(Followed(Changes(settings)), schema_ids), model(settings)
    enrich = enricher(settings, time.sleep, source_rules)
    with contextlib.suppress(redis.RedisError):  # its first batch waits for it
        enrich.begin()
    published_before = {partition: np.array(ranges, np.int64).reshape(-1, 2) for partition, ranges in task.answered.items()}
    gc.collect()
    gc.freeze()  # what start-up left is never garbage; a full collection over it takes tens of milliseconds

    def answered(records: Records) -> bytes:
        schema_ids.decide(records)
        found = answer_records(records, source_rules, enrich, scorer, system_clock())
        kinds = np.array(found.is_prediction, np.int8)
        kinds[published(records, published_before)] = -1
        values = found.values
        if task.schema_id is not None:
            pairs = zip(values, found.is_prediction, strict=True)
            values = [frame(task.schema_id, value) if is_prediction else value for value, is_prediction in pairs]
        return write_answered(kinds, found.keys, values)

    return answered


def published(records: Records, answered: Mapping[int, Ranges]) -> NDArray[np.bool_]:
    """For each record whether its answer was published by an earlier run: it is folded as any other, and not answered twice."""
    held = np.zeros(len(records.offset), bool)
    for partition, ranges in answered.items():
        there = np.flatnonzero(records.partition == partition)
        held[there] = holds(ranges, records.offset[there])
    return held


def _frames(connection: socket.socket) -> Iterator[memoryview]:
    """Each frame as it comes, without its length, until the other side ends; good until the next one is asked for."""
    buffer = bytearray(1 << 20)
    while _fill(connection, memoryview(buffer)[: LENGTH.size]):
        length = LENGTH.unpack_from(buffer)[0]
        if length > len(buffer):
            buffer = bytearray(length)
        frame = memoryview(buffer)[:length]
        if not _fill(connection, frame):
            return
        yield frame


def _fill(connection: socket.socket, view: memoryview) -> bool:
    """Read until the view is full; whether there was so much."""
    got = 0
    while got < len(view):
        try:
            count = connection.recv_into(view[got:])
        except ConnectionResetError:
            return False
        if not count:
            return False
        got += count
    return True


def _send(connection: socket.socket, frame: bytes) -> bool:
    """Send a frame; whether the task is still there to read it."""
    try:
        connection.sendall(frame)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


if __name__ == "__main__":
    main()
