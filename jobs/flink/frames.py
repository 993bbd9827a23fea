"""Batches of records and their answers as they cross between Flink's Java and a Python worker: columns behind each other, little-endian.

    task      int32: FORMAT; `Task` as JSON; once, before all others
    asked     n int32; partition int32 (n,), offset int64 (n,), Kafka time in ms int64 (n,); lengths int32 (n,) of keys, values and replay
              headers, -1 for null; then the bytes of all keys, all values, all replay headers
    answered  n int32; a byte each (1 prediction, 0 dead letter, -1 neither: published already); lengths int32 of keys and values; bytes
    failed    -1 int32, then why, as text

Each frame has its length before it, as an int32. The other end is jobs/flink/java/streamhouse/Frames.java.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from jobs.records import Records

WORKER = "jobs.flink.score_worker"
"""The module at this end."""
FORMAT = 1
"""Of these frames; Java says its own, since a stack that is up keeps the Java that it began with."""
LENGTH = struct.Struct("<i")
"""Of what stands before each frame, and of each count and format in it."""


class Task(msgspec.Struct, frozen=True):
    """What only who submitted the job knows; all other settings are those of the cluster that the worker runs in.

    `answered`: by partition, ranges of offsets whose answers are published already; `schema_id`: that predictions are framed with, known
    here so that no worker needs the registry for it; None where they are written plain.
    """

    model: str
    answered: dict[int, list[tuple[int, int]]]
    schema_id: int | None


def read_task(frame: memoryview) -> Task:
    """The task of a frame, without its length.

    Raises:
        ValueError: Java writes frames of another format.

    """
    (found,) = LENGTH.unpack_from(frame)
    if found != FORMAT:
        message = f"frames of format {found} from Flink, expected {FORMAT}: its Java is older or newer; run `./streamhouse down` and `up`"
        raise ValueError(message)
    return msgspec.json.decode(frame[LENGTH.size :], type=Task)


def read_asked(frame: memoryview) -> Records:
    """The records of a frame, without its length."""
    n = LENGTH.unpack_from(frame)[0]
    at = LENGTH.size
    columns = []
    for dtype in ("<i4", "<i8", "<i8", "<i4", "<i4", "<i4"):
        column = np.frombuffer(frame, dtype, n, at)
        columns.append(column)
        at += column.nbytes
    partition, offset, kafka_ms, *lengths = columns
    texts = []
    for length in lengths:
        found, at = _texts(frame, at, length)
        texts.append(found)
    keys, values, replays = texts
    return Records(keys, values, partition.astype(np.int64), offset.astype(np.int64), kafka_ms.astype(np.int64), replays)


def write_answered(kinds: NDArray[np.int8], keys: Sequence[bytes | None], values: Sequence[bytes]) -> bytes:
    """The frame of n answers, with its length."""
    present = [key for key in keys if key is not None]
    body = [
        LENGTH.pack(len(values)),
        kinds.tobytes(),
        np.array([-1 if key is None else len(key) for key in keys], "<i4").tobytes(),
        np.array(list(map(len, values)), "<i4").tobytes(),
        b"".join(present),
        b"".join(values),
    ]
    return b"".join([LENGTH.pack(sum(map(len, body))), *body])


def write_failed(why: str) -> bytes:
    """The frame that says why this worker cannot go on."""
    body = LENGTH.pack(-1) + why.encode("utf-8", "backslashreplace")
    return LENGTH.pack(len(body)) + body


def _texts(frame: memoryview, at: int, lengths: NDArray[np.int32]) -> tuple[list[bytes | None], int]:
    ends = at + np.cumsum(np.maximum(lengths, 0), dtype=np.int64)
    starts = ends - np.maximum(lengths, 0)
    found: list[bytes | None] = [bytes(frame[start:end]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    for i in np.flatnonzero(lengths < 0).tolist():
        found[i] = None
    return found, int(ends[-1]) if len(ends) else at
