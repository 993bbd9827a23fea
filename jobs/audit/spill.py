"""Actions and answers on disk while the logs go by, in buckets of offsets that fit in memory one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BUCKET = 19
"""Offsets of one action partition in a bucket, as a power of two."""
_BYTES = [("value", "<u8"), ("key", "<u8")]
ACTION = np.dtype([("offset", "<i8"), ("identity", "<u8"), *_BYTES])
"""`identity`: fingerprint of event id and user, 0 where the record is no action; `value`, `key`: of the record's bytes."""
ANSWER = np.dtype(
    [
        ("offset", "<i8"),
        ("identity", "<u8"),
        ("user", "<u8"),
        ("lies_at", "<i8"),
        ("partition", "<i4"),
        ("action_partition", "<i4"),
        *_BYTES,
    ]
)
"""`offset`, `action_partition`: of the action; `lies_at`, `partition`: of the answer. `identity` 0 where the answer tells of none.

`value`, `key`: of the bytes that a dead letter says the record has; 0 where it does not say.
"""

Rows = NDArray[np.void]


@dataclass(frozen=True)
class Spill:
    """The folder of one audit. Each strand writes files of its own."""

    folder: Path

    def put_actions(self, partition: int, rows: Rows) -> None:
        """Keep actions of one partition."""
        self._put(self.folder / "actions", partition, rows["offset"], rows)

    def put_answers(self, topic: str, lies_in: int, rows: Rows) -> None:
        """Keep answers that lie in one partition of an answering topic."""
        for partition in np.unique(rows["action_partition"]).tolist():
            of = rows[rows["action_partition"] == partition]
            self._put(self.folder / "answers" / topic / str(lies_in), partition, of["offset"], of)

    def actions(self, partition: int, bucket: int) -> Rows:
        """The actions of a bucket, by offset."""
        return _read(self.folder / "actions" / f"{partition}.{bucket}", ACTION)

    def answers(self, topic: str, partition: int, bucket: int) -> Rows:
        """The answers of a topic to a bucket of actions, in no order."""
        found = [_read(file, ANSWER) for file in sorted((self.folder / "answers" / topic).glob(f"*/{partition}.{bucket}"))]
        return np.concatenate(found) if found else np.zeros(0, ANSWER)

    def answers_in(self, topic: str, lies_in: int) -> Iterator[Rows]:
        """Every answer that lies in one partition of a topic, a bucket at a time."""
        for file in sorted((self.folder / "answers" / topic / str(lies_in)).glob("*")):
            yield _read(file, ANSWER)

    def put_events(self, prints: NDArray[np.uint64], bits: int, writer: str) -> None:
        """Keep fingerprints of event ids, apart by their top `bits`."""
        part = prints >> np.uint64(64 - bits) if bits else np.zeros(len(prints), np.uint64)
        for one in np.unique(part).tolist():
            _append(self.folder / "events" / writer / str(one), prints[part == one])

    def repeated_events(self, part: int) -> int:
        """How many actions carry an event id that another one carried before, in one part of the ids."""
        prints = [np.fromfile(file, "<u8") for file in (self.folder / "events").glob(f"*/{part}")]
        every = np.concatenate(prints) if prints else np.zeros(0, np.uint64)
        return len(every) - len(np.unique(every))

    @staticmethod
    def _put(folder: Path, partition: int, offsets: NDArray[np.int64], rows: Rows) -> None:
        bucket = offsets >> BUCKET
        for one in np.unique(bucket).tolist():
            _append(folder / f"{partition}.{one}", rows[bucket == one])


def _append(file: Path, rows: NDArray[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as stream:
        stream.write(rows.tobytes())


def _read(file: Path, kind: np.dtype[np.void]) -> Rows:
    return np.fromfile(file, kind) if file.is_file() else np.zeros(0, kind)
