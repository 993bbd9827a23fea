"""The rows that features are asked for: a frame of any kind -> Arrow, its times in UTC, its keys as codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from numpy.typing import NDArray

from features.as_of import Integers
from features.dataset import HASHED, has_a_hash, plain_type
from features.pinned import TrainingSetRefused

_UTC = pa.timestamp("us", "UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _AFTER = -62_135_596_800, 253_402_300_800  # seconds; the years 1 to 9999, which Python can write
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
NO_TIME = np.iinfo(np.int64).min
"""The time of an entity row that has none; nothing is known then."""


@dataclass(frozen=True)
class EntityRows:
    """m rows as they were given: `table` in their order, `time_column` of it in UTC; `time` (m,) microseconds, cut down."""

    table: pa.Table
    time_column: str
    time: Integers

    @property
    def between(self) -> tuple[int, int] | None:
        """First and last time, in microseconds; None where no row has one."""
        timed = self.time[self.time != NO_TIME]
        return (int(timed.min()), int(timed.max())) if len(timed) else None


def moment(microseconds: int) -> datetime:
    """Microseconds since 1970 as a time in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def entity_rows(frame: object) -> EntityRows:
    """Take a pandas frame (its index is left out, as by Feast) or an Arrow table; times without a zone are UTC.

    Raises:
        TrainingSetRefused: something else, a name twice, columns that Arrow cannot hold or whose type no data-set has, times of no year.

    """
    if isinstance(frame, pd.DataFrame | pa.Table):
        _check_names(frame.columns if isinstance(frame, pd.DataFrame) else frame.column_names)
    if isinstance(frame, pd.DataFrame):
        name = infer_event_timestamp_from_entity_df(dict(zip(map(str, frame.columns), frame.dtypes, strict=True)))
        if not pd.api.types.is_datetime64_any_dtype(frame[name]):
            try:
                frame = frame.assign(**{name: pd.to_datetime(frame[name], utc=True)})
            except (ValueError, TypeError) as error:
                message = f"entity_df, column {name}: expected times, got {frame[name].dtype}: {error}; convert it with pandas.to_datetime"
                raise TrainingSetRefused(message) from error
        try:
            table = pa.Table.from_pandas(frame, preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            message = f"entity_df: expected columns of one type each, got {error}; convert the column that it names"
            raise TrainingSetRefused(message) from error
        except UnicodeEncodeError as error:
            message = f"entity_df, column {_not_written(frame)}: expected texts that UTF-8 can write, got {error.object!r}; correct it"
            raise TrainingSetRefused(message) from error
        _check_types(table.schema)
    elif isinstance(frame, pa.Table):
        table = frame
        _check_types(table.schema)
        name = infer_event_timestamp_from_entity_df(dict(frame.schema.empty_table().to_pandas().dtypes.items()))
    else:
        got = "a text (SQL)" if isinstance(frame, str) else type(frame).__name__
        message = (
            f"entity_df: expected a pandas DataFrame or an Arrow table with the join keys and event_timestamp, got {got};"
            " for rows of a query pass its result, as lakehouse.query or lakehouse.read give it"
        )
        raise TrainingSetRefused(message)
    times = table[name]
    if not (pa.types.is_timestamp(times.type) and times.type.tz == "UTC"):
        unit = times.type.unit if pa.types.is_timestamp(times.type) else "us"
        try:
            times = times.cast(pa.timestamp(unit, "UTC"))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            message = f"entity_df, column {name}: expected times, got {times.type}: {error}; convert it"
            raise TrainingSetRefused(message) from error
        table = table.set_column(table.column_names.index(name), name, times)
    _check_years(name, times)
    return EntityRows(table.replace_schema_metadata(None), name, _cut_down(times))


def microseconds(times: pa.Array | pa.ChunkedArray, missing: int = NO_TIME) -> Integers:
    """Times of a table as (n,) microseconds since 1970 UTC; `missing` where null."""
    numbers = times.cast(_UTC).cast(pa.int64())
    return np.asarray(pc.fill_null(numbers, missing), np.int64)


def _check_names(names: Iterable[object]) -> None:
    if twice := [name for name, n in Counter(map(str, names)).items() if n > 1]:
        message = f"entity_df: expected each column once, got {twice[0]!r} more than once; rename or drop one of them"
        raise TrainingSetRefused(message)


def _check_types(schema: pa.Schema) -> None:
    for field in schema:
        if not has_a_hash(field.type):
            message = f"entity_df, column {field.name}: expected {HASHED}, got {field.type}; leave it out or cast it"
            raise TrainingSetRefused(message)
        inner = plain_type(field.type)
        while pa.types.is_list(inner):
            inner = inner.value_type
        if pa.types.is_timestamp(inner):
            try:
                inner.to_pandas_dtype()
            except (KeyError, ValueError) as error:  # pytz's and zoneinfo's for a zone that they do not know are KeyErrors
                message = f"entity_df, column {field.name}: expected times of a known zone, got {inner.tz!r}; cast it to UTC"
                raise TrainingSetRefused(message) from error


def _check_years(name: str, times: pa.ChunkedArray) -> None:
    ticks, per_second = times.cast(pa.int64()), _PER_SECOND[times.type.unit]
    for extreme in pc.min_max(ticks).as_py().values():
        if extreme is not None and not _FIRST * per_second <= extreme < _AFTER * per_second:
            got = f"{extreme} {times.type.unit} since 1970 in row {pc.index(ticks, extreme).as_py()}"
            message = f"entity_df, column {name}: expected times of the years 1 to 9999, got {got}; correct it or leave the row out"
            raise TrainingSetRefused(message)


def _not_written(frame: pd.DataFrame) -> str:
    """The first column that holds what UTF-8 cannot write: Arrow does not say which."""
    for name in frame.columns:
        try:
            pa.Table.from_pandas(frame[[name]], preserve_index=False)
        except UnicodeEncodeError:
            return repr(name)
    return "?"


def _cut_down(times: pa.ChunkedArray) -> Integers:
    if times.type.unit != "ns":
        return microseconds(times)
    missing = np.asarray(times.is_null())
    numbers = np.asarray(pc.fill_null(times.cast(pa.int64()), 0), np.int64) // 1000  # never up: that would look ahead
    return np.where(missing, NO_TIME, numbers)


class Keys:
    """The distinct join keys of entity rows, numbered; c columns make one key.

    `columns`: (m,) each, of the entity rows. `types`: those of the feature table's columns, which decide what is equal.

    Raises:
        TrainingSetRefused: a column that does not fit the feature table's.

    """

    def __init__(self, names: Sequence[str], columns: Sequence[pa.ChunkedArray], types: Sequence[pa.DataType]) -> None:
        fitted = []
        for name, column, wanted in zip(names, columns, types, strict=True):
            try:
                fitted.append(column.cast(wanted) if column.type != wanted else column)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                message = f"entity_df, column {name}: expected {wanted} as in the table, got {column.type}: {error}; convert it"
                raise TrainingSetRefused(message) from error
        self.values: list[pa.Array] = [column.unique().drop_null() for column in fitted]
        self._pairs: list[Integers] = []
        self.of_rows = self._coded(fitted, learn=True)

    def __call__(self, columns: Sequence[pa.Array]) -> Integers:
        """The code (n,) of each feature row's key; -1: no entity row has it."""
        return self._coded(columns, learn=False)

    def _coded(self, columns: Sequence[pa.Array | pa.ChunkedArray], *, learn: bool) -> Integers:
        code: Integers | None = None
        for i, column in enumerate(columns):
            part: NDArray[np.int64] = np.asarray(pc.fill_null(pc.index_in(column, self.values[i], skip_nulls=True), -1), np.int64)
            if code is None:
                code = part
                continue
            # two codes become one, and stay small enough for another
            both = np.where((code < 0) | (part < 0), -1, code * max(1, len(self.values[i])) + part)
            if learn:
                self._pairs.append(np.unique(both[both >= 0]))
            pairs = self._pairs[i - 1]
            at = np.minimum(np.searchsorted(pairs, both), max(0, len(pairs) - 1))
            code = np.where((both >= 0) & (pairs[at] == both), at, -1) if len(pairs) else np.full(len(both), -1, np.int64)
        if code is None:
            message = "a view without entities: expected join keys; declare its entity"
            raise TrainingSetRefused(message)
        return code
