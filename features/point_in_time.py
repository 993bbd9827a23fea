"""Entity rows -> the features of one view as they were known at each row's time, out of a pinned Iceberg table.

Two passes, so that memory follows the entity rows and not the table: the first reads keys and times and finds the rows, the second
reads features, a few files and columns at a time, and takes those rows only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.as_of import Asked, Found, Integers, Known, fresh, look, nothing
from features.dataset import HASHED, has_a_hash
from features.entity_rows import NO_TIME, EntityRows, Keys, microseconds, moment
from features.pinned import Pinned, Rows, TrainingSetRefused

_POSITION = ("topic_partition", "topic_offset")
_FEW_KEYS = 200  # past it PyIceberg no longer compares a file's bounds with each
_AT_ONCE = 1_000_000  # feature rows looked at together
_EARLIEST = -62_000_000_000_000_000  # microseconds; a date of the year 5, near the first that Python can write


@dataclass(frozen=True)
class View:
    """What is asked of one feature view, in the names of its table but for the keys of `features`, the names of the answer.

    `join_keys`: column of the table -> column of the entity rows. `time_to_live`: microseconds, 0: unlimited. `values`: every feature
    of the view, asked for or not; they decide between rows of equal times where the table has no log positions.
    """

    pinned: Pinned
    join_keys: Mapping[str, str]
    event_time: str
    created: str | None
    time_to_live: int
    features: Mapping[str, str]
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        """Look for every column, and for what cannot stand in a data-set, before anything is read."""
        needed = [*self.join_keys, self.event_time, *self.features.values()]
        if self.created is not None and self.created not in self.pinned.table.schema().column_names:
            needed.append(self.created)
        if missing := [name for name in needed if name not in self.pinned.types]:
            message = (
                f"table `{self.pinned.name}`, snapshot {self.pinned.snapshot_id}: expected column {missing[0]!r}, got"
                f" {', '.join(self.pinned.types)}; ask for features that the table holds, or run `./streamhouse apply`"
            )
            raise TrainingSetRefused(message)
        if unfit := [name for name in self.features.values() if not has_a_hash(self.pinned.types[name])]:
            got = self.pinned.types[unfit[0]]
            message = f"table `{self.pinned.name}`, column {unfit[0]}: expected {HASHED}, got {got}; ask for other features"
            raise TrainingSetRefused(message)


def features_at(view: View, rows: EntityRows, *, created_cutoff: bool) -> dict[str, pa.ChunkedArray]:
    """The features, a column (m,) each, null where nothing was known or it was too old."""
    keys = Keys(
        list(view.join_keys.values()),
        [rows.table[name] for name in view.join_keys.values()],
        [view.pinned.types[name] for name in view.join_keys],
    )
    between = rows.between
    if between is None or view.pinned.snapshot_id is None or not (keys.of_rows >= 0).any():
        return {name: pa.chunked_array([pa.nulls(len(rows.time), view.pinned.types[column])]) for name, column in view.features.items()}
    held = Rows(view.pinned, _where(view, keys, *between))
    asked = Asked(np.where(rows.time == NO_TIME, -1, keys.of_rows), rows.time)
    ties: tuple[str, ...] = _POSITION if all(pa.types.is_integer(view.pinned.types.get(name, pa.null())) for name in _POSITION) else ()
    found = _find(view, held, keys, asked, ties, created_cutoff=created_cutoff)
    if found is None:  # positions that are not there cannot tell rows apart
        found = _find(view, held, keys, asked, (), created_cutoff=created_cutoff)
        assert found is not None
    taken, sizes = found
    return _take(view, held, sizes, fresh(taken, asked, view.time_to_live))


def _where(view: View, keys: Keys, first: int, last: int) -> str:
    """The rows that can matter, for PyIceberg to leave out files and row groups: event times, and keys where they are few."""
    zone = getattr(view.pinned.types[view.event_time], "tz", None) is not None

    def literal(time: int) -> str:
        at = moment(time) if zone else moment(time).replace(tzinfo=None)
        return f"'{at.isoformat(timespec='microseconds')}'"

    parts = [f'"{view.event_time}" <= {literal(last)}']
    if view.time_to_live and first - view.time_to_live > _EARLIEST:
        parts.append(f'"{view.event_time}" >= {literal(first - view.time_to_live)}')
    for name, values in zip(view.join_keys, keys.values, strict=True):
        if 0 < len(values) <= _FEW_KEYS:
            if pa.types.is_integer(values.type):
                parts.append(f'"{name}" in ({", ".join(map(str, values.to_pylist()))})')
            elif pa.types.is_string(values.type) and not any(set(value) & set("\\\r\n") for value in values.to_pylist()):
                quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values.to_pylist())
                parts.append(f'"{name}" in ({quoted})')
    return " and ".join(parts)


def _find(view: View, held: Rows, keys: Keys, asked: Asked, ties: Sequence[str], *, created_cutoff: bool) -> tuple[Found, list[int]] | None:
    """The best row for each entity row, and how many rows each part holds; None: a column of `ties` has nulls.

    Without `ties` the values decide between rows of equal times.
    """
    sizes: list[int] = []
    found, waiting, count = nothing(len(asked.key), len(ties) or 1), [], 0
    for known, size in _known(view, held, keys, ties):
        if known is None:
            return None
        sizes.append(size)
        waiting.append(known)
        count += len(known.key)
        if count >= _AT_ONCE:
            found = look(found, asked, _joined(waiting), created_cutoff=created_cutoff)
            waiting, count = [], 0
    if waiting:
        found = look(found, asked, _joined(waiting), created_cutoff=created_cutoff)
    return found, sizes


def _known(view: View, held: Rows, keys: Keys, ties: Sequence[str]) -> Iterator[tuple[Known | None, int]]:
    """Each part's rows that have a key that is asked for, and how many rows it holds in all."""
    created = view.created if view.created in view.pinned.types else None
    values = () if ties else tuple(name for name in view.values if name in view.pinned.types)
    columns = list(dict.fromkeys([*view.join_keys, view.event_time, *([created] if created else []), *ties, *values]))
    position = 0
    for part in range(len(held)):
        first, parts = position, []
        for batch in held.batches(part, columns):
            key = keys([batch[name] for name in view.join_keys])
            time = microseconds(batch[view.event_time])
            matters = np.flatnonzero((key >= 0) & (time != NO_TIME))
            some = batch.take(pa.array(matters))
            key, time = key[matters], time[matters]
            known_from = time
            if created:
                known_from = microseconds(some[created])
                known_from = np.where(known_from == NO_TIME, time, known_from)
            if any(some[name].null_count for name in ties):
                yield None, 0
                return
            tie = tuple(np.asarray(some[name].cast(pa.int64()), np.int64) for name in ties) or (_value_tie(some, values),)
            parts.append(Known(key, time, known_from, tie, matters + position))
            position += len(batch)
        yield _joined(parts) if parts else _no_rows(len(ties) or 1), position - first


def _value_tie(rows: pa.RecordBatch, columns: Sequence[str]) -> Integers:
    """A number (n,) out of each row's values: which of two rows wins is of no weight, but it must always be the same one."""
    tie = np.zeros(len(rows), np.uint64)
    for name in columns:
        told = np.array([repr(value) for value in rows[name].to_pylist()], object)  # not the texts: pandas hashes them to the first NUL
        tie = tie * np.uint64(0x9E3779B97F4A7C15) + pd.util.hash_array(told)
    return tie.view(np.int64)


def _joined(parts: Sequence[Known]) -> Known:
    return Known(
        np.concatenate([part.key for part in parts]),
        np.concatenate([part.event_time for part in parts]),
        np.concatenate([part.created for part in parts]),
        tuple(np.concatenate(columns) for columns in zip(*(part.tie for part in parts), strict=True)),
        np.concatenate([part.position for part in parts]),
    )


def _no_rows(ties: int) -> Known:
    none = np.zeros(0, np.int64)
    return Known(none, none, none, (none,) * ties, none)


def _take(view: View, held: Rows, sizes: Sequence[int], position: Integers) -> dict[str, pa.ChunkedArray]:
    """Read the features of the rows at these positions; -1: null."""
    wanted, back = np.unique(position[position >= 0], return_inverse=True)
    row = np.zeros(len(position), np.int64)
    row[position >= 0] = back
    rows = pa.array(row, mask=position < 0)
    columns = list(dict.fromkeys(view.features.values()))
    pieces: dict[str, list[pa.Array]] = {name: [] for name in columns}
    ends = np.cumsum([0, *sizes])
    for part, (start, end) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        here = wanted[slice(*np.searchsorted(wanted, [start, end]))] - start
        if not len(here):
            continue
        width = held.columns_at_once(part)
        for some in (columns[i : i + width] for i in range(0, len(columns), width)):
            seen = 0
            for batch in held.batches(part, some):
                inside = here[slice(*np.searchsorted(here, [seen, seen + len(batch)]))] - seen
                taken = batch.take(pa.array(inside))
                for name in some:
                    pieces[name].append(taken[name])
                seen += len(batch)
            if seen != end - start:
                message = f"table `{view.pinned.name}`: expected {end - start} rows again, got {seen}; its files changed, so restore them"
                raise TrainingSetRefused(message)
    read: dict[str, pa.ChunkedArray] = {}
    for name in columns:
        whole = pa.chunked_array(pieces.pop(name), view.pinned.types[name]).combine_chunks()
        read[name] = pa.chunked_array([pc.take(whole, rows)])
    return {name: read[column] for name, column in view.features.items()}
