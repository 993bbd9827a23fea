"""A large input of real shapes: the shop's clickstream again and again, with other user ids and shifted times; the same each time."""

from __future__ import annotations

import heapq
import itertools
import math
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from infra.contracts.codec import rfc3339
from infra.contracts.partitioner import partition_of
from jobs.chaos.actions import Made
from jobs.clickstream import Clickstream, Row, profiles, rows

_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Section:
    """`actions` actions that share no user with another section: as many copies of the file as that takes, an hour apart, in time order."""

    name: str
    actions: int

    def copies(self, size: int) -> int:
        """How often the file's `size` actions are needed."""
        return math.ceil(self.actions / size)


def section_rows(clickstream: Clickstream, section: Section) -> Iterator[Row]:
    """The section's actions, encoded, in event-time order."""
    namespace = uuid.uuid5(uuid.NAMESPACE_URL, f"{clickstream.digest}/{section.name}")
    copies = [_copy(clickstream, section, copy) for copy in range(section.copies(clickstream.size))]
    merged = itertools.islice(heapq.merge(*copies, key=lambda made: made[0]), section.actions)
    for number, (time, user, event) in enumerate(merged):
        event["eventId"] = str(uuid.uuid5(namespace, str(number)))
        yield Row(number, user, time, orjson.dumps(event))


def records(made: Iterable[Row], partitions: int) -> Iterator[Made]:
    """The rows as records to send, each to be predicted."""
    for row in made:
        yield Made("plain", row.user_id.encode(), row.value, partition_of(row.user_id, partitions), None)


@lru_cache(maxsize=1)
def _rows(clickstream: Clickstream) -> list[Row]:
    """All of the file, read once."""
    return list(rows(clickstream))


def _copy(clickstream: Clickstream, section: Section, copy: int) -> Iterator[tuple[int, str, dict[str, object]]]:
    for row in _rows(clickstream):
        event = orjson.loads(row.value)
        time = row.time + copy * _HOUR_MS
        user, session = (_renamed(text, section, copy) for text in (row.user_id, event["data"]["sessionId"]))
        event["timestamp"], event["correlationId"] = rfc3339(time), session
        event["data"]["userId"], event["data"]["sessionId"] = user, session
        yield time, user, event


def section_profiles(clickstream: Clickstream, sections: list[Section]) -> pa.Table:
    """Rows of user_profiles for every user of the sections."""
    original = profiles(clickstream)
    made = []
    for section in sections:
        for copy in range(section.copies(clickstream.size)):
            users = pa.array([_renamed(user, section, copy) for user in original["user_id"].to_pylist()])
            shift = pa.scalar(timedelta(milliseconds=copy * _HOUR_MS), pa.duration("us"))
            known_from = pc.add(original["known_from"], shift)
            table = original.set_column(original.column_names.index("user_id"), "user_id", users)
            for name in ("known_from", "created"):
                table = table.set_column(table.column_names.index(name), name, known_from)
            made.append(table)
    return pa.concat_tables(made)


def _renamed(text: str, section: Section, copy: int) -> str:
    return f"{text}_{section.name}_{copy}"
