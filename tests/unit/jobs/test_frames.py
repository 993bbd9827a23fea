"""Batches as they cross between Flink and a Python worker, held against what jobs/flink/java/streamhouse/Frames.java writes."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from infra.config import ROOT
from jobs.flink.frames import FORMAT, Task, read_asked, read_task, write_answered, write_failed

Row = tuple[bytes | None, bytes | None, int, int, int, bytes | None]
ROWS: list[Row] = [
    (b"u1", b'{"a":1}', 3, 1 << 40, 1_700_000_000_123, None),
    (None, b"", 0, 0, -1, b"dlq"),
    (b"", None, 2, 5, 0, b""),
    ("ключ".encode(), bytes(range(256)), 1, 2**62, 2**53 + 1, None),
]


def asked(rows: Sequence[Row]) -> memoryview:
    """As Frames.java writes it, without its length."""
    texts = [[row[0] for row in rows], [row[1] for row in rows], [row[5] for row in rows]]
    parts = [
        struct.pack("<i", len(rows)),
        *(struct.pack("<i", row[2]) for row in rows),
        *(struct.pack("<q", row[3]) for row in rows),
        *(struct.pack("<q", row[4]) for row in rows),
        *(struct.pack("<i", -1 if text is None else len(text)) for column in texts for text in column),
        *(text or b"" for column in texts for text in column),
    ]
    return memoryview(b"".join(parts))


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[::-1], ROWS * 500])
def test_records_come_as_they_lie_in_the_topic(rows: list[Row]) -> None:
    records = read_asked(asked(rows))
    assert records.keys == [row[0] for row in rows]
    assert records.values == [row[1] for row in rows]
    assert records.partition.tolist() == [row[2] for row in rows]
    assert records.offset.tolist() == [row[3] for row in rows]
    assert records.kafka_ms.tolist() == [row[4] for row in rows]
    assert records.replays == [row[5] for row in rows]
    assert {column.dtype for column in (records.partition, records.offset, records.kafka_ms)} == {np.dtype(np.int64)}


def test_records_outlive_the_buffer_that_they_came_in() -> None:
    buffer = bytearray(asked(ROWS))
    records = read_asked(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert records.values == [row[1] for row in ROWS]
    assert records.offset.tolist() == [row[3] for row in ROWS]


def test_answers_have_their_length_before_them_and_lie_in_columns() -> None:
    frame = write_answered(np.array([1, 0, -1], np.int8), [b"u1", None, b""], [b"first", b"", b"third"])
    length, n = struct.unpack_from("<ii", frame)
    assert length == len(frame) - 4
    assert n == 3
    assert struct.unpack_from("<3b3i3i", frame, 8) == (1, 0, -1, 2, -1, 0, 5, 0, 5)
    assert frame[8 + 3 + 24 :] == b"u1" + b"firstthird"


def test_a_failure_is_told_in_words() -> None:
    frame = write_failed("Redis went — away")
    assert struct.unpack_from("<ii", frame) == (len(frame) - 4, -1)
    assert frame[8:].decode() == "Redis went — away"


def test_a_task_comes_as_it_was_sent() -> None:
    task = Task("purchase_30m@1", {0: [(0, 7), (9, 12)], 3: []}, None)
    assert read_task(memoryview(struct.pack("<i", FORMAT) + msgspec.json.encode(task))) == task


def test_another_format_is_named_and_never_read() -> None:
    with pytest.raises(ValueError, match=rf"frames of format {FORMAT + 1} from Flink, expected {FORMAT}: .* run `./streamhouse down`"):
        read_task(memoryview(struct.pack("<i", FORMAT + 1) + b"anything"))


def test_java_says_the_format_that_is_read_here() -> None:
    source = (ROOT / "jobs" / "flink" / "java" / "streamhouse" / "Frames.java").read_text("utf-8")
    assert f"int FORMAT = {FORMAT};" in source
