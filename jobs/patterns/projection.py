"""A projection: how events become rows that are read. Pure.

Each of its tables says which of its rows an event changes, and what that row is afterwards. A row is a function of the events of its key
alone, in their order, so it is the same in whatever batches and from whatever mixture of partitions they come.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, DateTime, Dialect, Index, MetaData, Select, Table, TypeDecorator, column, select, table

from infra.contracts.codec import rfc3339
from infra.contracts.events import Rejected
from jobs.patterns.message import Codec, Message
from jobs.patterns.recorded import Recorded

Row = Mapping[str, Any]
"""The values of a row by column; the first column is its key."""

_NAME = re.compile(r"[a-z]+(_[a-z]+)*\Z")  # without digits, so that `<name>_v<version>` can be read back
_NAME_LIMIT = 40  # PostgreSQL cuts names after 63 bytes


class Moment(TypeDecorator[datetime]):
    """A time in UTC. SQLite keeps no zone, so it is added again when a value is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The value with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def moment(milliseconds: int) -> datetime:
    """A message's time as a row holds it."""
    return datetime.fromisoformat(rfc3339(milliseconds))


@dataclass(frozen=True)
class Part:
    """One table of a projection.

    `columns()` makes its columns, the key first. `key(data)` names the row that an event changes; None: none of this table.
    `fold(row, event)` is that row afterwards, from what it was, None where there is none yet; the same object where nothing changes. A row
    that is there stays there.
    `name`: what follows the projection's name in the table's, empty for the main one. `indexed`: columns that are searched or joined by.
    """

    columns: Callable[[], Sequence[Column[Any]]]
    key: Callable[[Any], str | None]
    fold: Callable[[Row | None, Recorded], Row | None]
    name: str = ""
    indexed: Sequence[str] = ()


def main_part(*tables: Table) -> Select[Any]:
    """The main table as it is."""
    return select(tables[0])


@dataclass(frozen=True)
class Projection:
    """What is made of the events of some topics.

    `version` rises when a column, a key or a fold changes: the read model is then built anew, beside the old one.
    `query(*tables)`: what readers see under the projection's name, of one table for each part.
    """

    name: str
    version: int
    topics: Sequence[str]
    events: Sequence[type[Message]]
    parts: Sequence[Part]
    query: Callable[..., Select[Any]] = main_part
    codec: Codec = field(init=False, repr=False, compare=False)
    tables: Sequence[Table] = field(init=False, repr=False, compare=False)
    """Those of this version, as they lie in the database."""

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or len(self.name) > _NAME_LIMIT:
            message = f"projection {self.name!r}: expected a name of small letters and _, {_NAME_LIMIT} at most; name it so"
            raise ValueError(message)
        known = MetaData()
        object.__setattr__(self, "codec", Codec(self.events))
        object.__setattr__(self, "tables", tuple(self._table(known, part) for part in self.parts))

    def _table(self, known: MetaData, part: Part) -> Table:
        name = table_name(self.name, self.version) + (f"_{part.name}" if part.name else "")
        made = Table(name, known, *part.columns())
        for indexed in part.indexed:
            Index(f"{name}_{indexed}", made.c[indexed])
        return made

    @property
    def view(self) -> Any:  # noqa: ANN401 - SQLAlchemy's FromClause; its columns are looked up by name
        """What readers query: `select(view).where(view.c.order_id == ...)`. It is whichever version was switched to last."""
        return table(self.name, *(column(seen.name, seen.type) for seen in self.query(*self.tables).selected_columns))

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


def table_name(name: str, version: int) -> str:
    """The main table of a version; those of its other parts begin so, too."""
    return f"{name}_v{version}"


def is_of_others(refused: Rejected) -> bool:
    """Whether a record is a message that a projection does not read, rather than one that nobody can."""
    return refused.reason == "unknown_event_type"


def storable(text: str) -> str:
    """A text as every database can hold it: PostgreSQL takes no NUL, so its symbol stands there."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}") if "\0" in text else text


def touched(part: Part, events: Iterable[Recorded]) -> dict[str, list[Recorded]]:
    """By key, the events that change a row of a table, in their order."""
    found: dict[str, list[Recorded]] = {}
    for event in events:
        key = part.key(event.envelope.data)
        if key is not None:
            found.setdefault(storable(key), []).append(event)
    return found


def changed(part: Part, rows: Mapping[str, Row], events: Mapping[str, Sequence[Recorded]]) -> list[Row]:
    """The rows that are other than they were: `rows` and `events` by key."""
    found = list[Row]()
    for key, some in events.items():
        before = row = rows.get(key)
        for event in some:
            row = part.fold(row, event)
        if row is not None and row is not before:
            found.append({name: storable(value) if isinstance(value, str) else value for name, value in row.items()})
    return found
