"""The step in Java and a Python worker: what crosses between them, and how each kind of end is told and leaves nothing behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from py4j.java_gateway import JavaGateway
from py4j.protocol import Py4JJavaError

from jobs.chaos.ground import words
from tests.flinks_java import flinks_java

WORKER = """
import json, os, signal, sys, time
import numpy as np
from jobs.flink import score_worker
from jobs.flink.frames import write_answered

def told(records):
    '''Each record as the worker sees it; by turns a prediction, a dead letter and none.'''
    kinds = np.array([(1, 0, -1)[int(offset) % 3] for offset in records.offset], np.int8)
    values = [
        json.dumps([int(p), int(o), int(ms)] + [None if b is None else [len(b), b[:8].hex()] for b in (value, replay)]).encode()
        for p, o, ms, value, replay in zip(records.partition, records.offset, records.kafka_ms, records.values, records.replays)
    ]
    return write_answered(kinds, records.keys, values)

def breaks(records):
    if records.offset[-1] > 3000:
        raise ValueError("no room for a \\ud800 model")
    return told(records)

def dies(records):
    if records.offset[-1] > 3000:
        os.kill(os.getpid(), signal.SIGKILL)
    return told(records)

def waits(records):
    time.sleep(600)

def never(records):
    raise AssertionError

if sys.argv[1] == "never":
    sys.exit("not today")
answer = globals()[sys.argv.pop(1)]
score_worker.answers = lambda task: answer
score_worker.main()
"""
MANY = """CREATE TEMPORARY TABLE numbers (n BIGINT)
    WITH ('connector' = 'datagen', 'fields.n.kind' = 'sequence', 'fields.n.start' = '0', 'fields.n.end' = '{last}')"""
RECORDS = """SELECT CAST('k' AS BYTES) AS record_key, CAST(REPEAT('v', {size}) AS BYTES) AS record_value, CAST(n AS INT) AS topic_partition,
    n AS topic_offset, TO_TIMESTAMP_LTZ(n, 3) AS kafka_time, CAST(NULL AS BYTES) AS replay FROM numbers"""


@dataclass(frozen=True)
class Flink:
    """A Java with Flink's classes and this project's, and the folder for what it leaves for a while."""

    gateway: JavaGateway
    process: psutil.Process
    folder: Path
    worker: Path

    def tables(self) -> Any:
        """A new local environment that does not restart what fails."""
        jvm = self.gateway.jvm
        configuration = jvm.org.apache.flink.configuration.Configuration()
        for key, value in {"restart-strategy.type": "none", "parallelism.default": "1", "pipeline.object-reuse": "true"}.items():
            configuration.setString(key, value)
        configuration.setString("table.local-time-zone", "UTC")
        environment = jvm.org.apache.flink.streaming.api.environment.StreamExecutionEnvironment.getExecutionEnvironment(configuration)
        return jvm.org.apache.flink.table.api.bridge.java.StreamTableEnvironment.create(environment)

    def answered(self, tables: Any, records: str, behaviour: str, batch_rows: int = 500) -> Any:
        """What a worker that behaves so makes of a query."""
        words = self.gateway.new_array(self.gateway.jvm.String, 3)
        for i, word in enumerate((sys.executable, str(self.worker), behaviour)):
            words[i] = word
        task = b'{"model":"a@1","answered":{},"schema_id":null}'
        return self.gateway.jvm.streamhouse.AnswerRecords.answers(tables, tables.sqlQuery(records), words, task, batch_rows, 100)

    def left(self) -> list[str]:
        """Workers, their threads and their folders that are still there, after up to ten seconds."""
        for _ in range(100):
            workers = [words(child) or str(child) for child in self.process.children(recursive=True)]
            names = [thread.getName() for thread in self.gateway.jvm.java.lang.Thread.getAllStackTraces().keySet()]
            found = [
                *workers,
                *(name for name in names if name.startswith("answers-")),
                *(each.name for each in self.folder.glob("answers*")),
            ]
            if not found:
                return []
            time.sleep(0.1)
        return found


@pytest.fixture(scope="module")
def flink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flink]:
    folder = tmp_path_factory.mktemp("java")
    worker = folder / "worker.py"
    worker.write_text(WORKER, "utf-8")
    with flinks_java(["-Xmx1g", f"-Djava.io.tmpdir={folder}"]) as (parameters, process):
        gateway = JavaGateway(gateway_parameters=parameters)
        yield Flink(gateway, psutil.Process(process.pid), folder, worker)
        gateway.shutdown()


def rows(table: Any) -> list[tuple[bool | None, bytes | None, bytes]]:
    """All rows of a table that ends."""
    found = table.execute().collect()
    return [(row.getField(0), row.getField(1), row.getField(2)) for row in iter(lambda: found.next() if found.hasNext() else None, None)]


def test_records_come_to_the_worker_as_they_are_and_answers_back_in_order(flink: Flink) -> None:
    records = """SELECT CAST(k AS BYTES), CAST(v AS BYTES), p, o, TO_TIMESTAMP_LTZ(ms, 3), CAST(r AS BYTES) FROM (VALUES
        (x'6b', x'00ff', 2, CAST(3 AS BIGINT), CAST(1700000000123 AS BIGINT), CAST(NULL AS BYTES)),
        (CAST(NULL AS BYTES), CAST(NULL AS BYTES), 0, 9007199254740993, -1, x''),
        (x'', x'', 2147483647, 5, 0, x'7265'),
        (x'c3a4', CAST(REPEAT('ab', 1500000) AS BYTES), 1, 6, 1, x'72')) AS given (k, v, p, o, ms, r)"""
    assert rows(flink.answered(flink.tables(), records, "told")) == [
        (True, b"k", b'[2, 3, 1700000000123, [2, "00ff"], null]'),
        (True, None, b'[0, 9007199254740993, -1, null, [0, ""]]'),
        (None, b"", b'[2147483647, 5, 0, [0, ""], [2, "7265"]]'),
        (True, "ä".encode(), b'[1, 6, 1, [3000000, "6162616261626162"], [1, "72"]]'),
    ]
    assert flink.left() == []


@pytest.mark.parametrize("batch_rows", [1, 500, 100_000])
def test_many_records_are_answered_once_each_in_their_order(flink: Flink, batch_rows: int) -> None:
    tables = flink.tables()
    tables.executeSql(MANY.format(last=2_999))
    found = rows(flink.answered(tables, RECORDS.format(size=2_000), "told", batch_rows))
    assert [value.split(b",")[1].strip() for _, _, value in found] == [str(n).encode() for n in range(3_000)]


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("breaks", r"ValueError: no room for a \ud800 model"),
        ("dies", "the Python worker ended; what it said last stands in the TaskManager's output"),
        ("never", "the Python worker ended at its start"),
    ],
)
@pytest.mark.parametrize("size", [10, 200_000], ids=["small", "with the next frame under way"])
def test_a_worker_that_cannot_go_on_fails_the_task_with_its_reason(flink: Flink, behaviour: str, said: str, size: int) -> None:
    tables = flink.tables()
    tables.executeSql(MANY.format(last=10_000_000))
    job = flink.answered(tables, RECORDS.format(size=size), behaviour).execute()
    with pytest.raises(Py4JJavaError) as failed:
        job.getJobClient().get().getJobExecutionResult().get()
    assert said in flink.gateway.jvm.org.apache.flink.util.ExceptionUtils.stringifyException(failed.value.java_exception)
    assert flink.left() == []


def test_a_job_that_is_cancelled_while_its_worker_is_busy_leaves_nothing(flink: Flink) -> None:
    tables = flink.tables()
    tables.executeSql(MANY.format(last=10_000_000))
    job = flink.answered(tables, RECORDS.format(size=1_000_000), "waits").execute().getJobClient().get()
    for _ in range(200):
        if any("worker.py" in words(child) for child in flink.process.children()):
            break
        time.sleep(0.1)
    time.sleep(1)  # until both ends are full
    job.cancel().get()
    assert flink.left() == []
