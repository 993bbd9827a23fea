"""Typed columns for records of many topics as one vectorised UDF, so that one Python worker serves a whole archive."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import repeat
from typing import TYPE_CHECKING, Any

import pandas as pd
from pyflink.table import DataTypes
from pyflink.table.udf import FunctionContext, ScalarFunction, udf

from infra.config import load_settings
from infra.contracts.columns import Extractor
from infra.contracts.framing import is_framed
from infra.contracts.in_effect import Contract
from jobs.archive_columns import ENVELOPE, EVENT_TOPICS, FIELDS
from jobs.archive_rows import NO_HEADERS, Row, archive_row

if TYPE_CHECKING:
    from jobs.followed_decisions import FollowedDecisions

ACTIONS = "user-actions"
_DECIDED_WITHIN = 30.0  # seconds that an action waits here for its schema id to be decided about; its typed columns are null then
_FITS = (-(2**31), 2**31 - 1)
_TYPES = {
    "STRING": DataTypes.STRING(),
    "INT": DataTypes.INT(),
    "BIGINT": DataTypes.BIGINT(),
    "FLOAT": DataTypes.FLOAT(),
    "BOOLEAN": DataTypes.BOOLEAN(),
    "DOUBLE": DataTypes.DOUBLE(),
    "TIMESTAMP_LTZ(3)": DataTypes.BIGINT(),  # in milliseconds: converted in SQL
    "ARRAY<FLOAT>": DataTypes.ARRAY(DataTypes.FLOAT()),
    "ARRAY<STRING>": DataTypes.ARRAY(DataTypes.STRING()),
    "ARRAY<INT>": DataTypes.ARRAY(DataTypes.INT()),
    "ARRAY<BIGINT>": DataTypes.ARRAY(DataTypes.BIGINT()),
    "ARRAY<DOUBLE>": DataTypes.ARRAY(DataTypes.DOUBLE()),
    "ARRAY<BOOLEAN>": DataTypes.ARRAY(DataTypes.BOOLEAN()),
}
PASSED = {
    "topic": DataTypes.STRING(),
    "topic_partition": DataTypes.INT(),
    "topic_offset": DataTypes.BIGINT(),
    "record_key": DataTypes.BYTES(),
    "record_value": DataTypes.BYTES(),
    "header_names": DataTypes.ARRAY(DataTypes.STRING()),  # a Kafka header map does not pass Arrow: its keys may be null
    "header_values": DataTypes.ARRAY(DataTypes.BYTES()),
    "kafka_ms": DataTypes.BIGINT(),
}


Typed = Mapping[str, Mapping[str, str]]
"""By topic, its typed columns with their Flink types, without those of the envelope."""


def typed_columns(topics: Typed) -> dict[str, str]:
    """The typed columns of all topics, each once, with their Flink types, by what the UDF calls them."""
    return {**ENVELOPE, **{given(topics, topic, name): kind for topic, columns in topics.items() for name, kind in columns.items()}}


def given(topics: Typed, topic: str, name: str) -> str:
    """What the UDF calls a column of a topic: two topics may have one of a name, and of different types."""
    kinds = {columns[name] for columns in topics.values() if name in columns}
    return name if len(kinds) == 1 else f"{name}_of_{topic.replace('-', '_')}"


def result(topics: Typed) -> Any:  # noqa: ANN401 - a pyflink type
    """What the UDF answers. Times leave as BIGINT milliseconds: a TIMESTAMP_LTZ in it would stop the job without a word."""
    return DataTypes.ROW(
        [DataTypes.FIELD(name, kind) for name, kind in PASSED.items()]
        + [DataTypes.FIELD("event_ms", DataTypes.BIGINT())]
        + [DataTypes.FIELD(name, _TYPES[kind]) for name, kind in typed_columns(topics).items()]
    )


class ArchiveRecords(ScalarFunction):
    """Every column that the tables need goes through here and back, so that the planner runs it once."""

    _contract: Contract
    _schemas: FollowedDecisions

    def __init__(self, topics: Typed) -> None:
        super().__init__()
        self._typed = list(typed_columns(topics))
        self._renamed = [(t, name, to) for t, columns in topics.items() for name in columns if (to := given(topics, t, name)) != name]
        # as they are now: the worker may run when the contract files say more
        self._fields = tuple(column for column in FIELDS if column.name in topics.get(ACTIONS, ()))
        self._small = [name for name, kind in topics.get(ACTIONS, {}).items() if kind == "INT"]
        self._reads_headers = not set(topics).isdisjoint(EVENT_TOPICS)

    def open(self, function_context: FunctionContext) -> None:
        """Follow the contracts."""
        from infra.contracts.changes import Changes, Followed
        from jobs.followed_decisions import FollowedDecisions

        self._contract = Followed(Changes(load_settings()))
        self._extractor = Extractor(self._fields)
        self._schemas = FollowedDecisions(load_settings(), ACTIONS, _DECIDED_WITHIN)

    def eval(self, *columns: pd.Series[Any]) -> pd.DataFrame:
        """One batch: the passed columns in, the row out."""
        passed = dict(zip(PASSED, columns, strict=True))
        headers: Any = repeat(NO_HEADERS, len(columns[0]))
        if self._reads_headers:
            headers = (dict(zip(*pair, strict=True)) for pair in zip(passed["header_names"], passed["header_values"], strict=True))
        values = self._plain(passed)
        records = zip(passed["topic"], values, passed["kafka_ms"], passed["record_key"], headers, strict=True)
        rows = [
            self._row(topic, archive_row(topic, value, kafka_ms, self._contract, key, head, self._extractor))
            for topic, value, kafka_ms, key, head in records
        ]
        answer: dict[str, Any] = dict(passed)
        answer["event_ms"] = [row["event_ms"] for row in rows]
        for name in self._typed:
            answer[name] = pd.Series([row.get(name) for row in rows], dtype=object)
        return pd.DataFrame(answer)

    def _row(self, topic: str, row: Row) -> Row:
        if topic == ACTIONS:
            for name in self._small:  # the contract may have grown past the column that this job was started with
                if (number := row.get(name)) is not None and not _FITS[0] <= number <= _FITS[1]:
                    row[name] = None
        for where, name, to in self._renamed:
            if where == topic and name in row:
                row[to] = row.pop(name)
        return row

    def _plain(self, passed: dict[str, pd.Series[Any]]) -> list[bytes | None]:
        """The values with framed actions as plain JSON; None where an id is unknown, or not decided within the time."""
        values = passed["record_value"].tolist()
        framed = [i for i, value in enumerate(values) if is_framed(value) and passed["topic"].iat[i] == ACTIONS]
        if framed:
            places = [(int(passed["topic_partition"].iat[i]), int(passed["topic_offset"].iat[i])) for i in framed]
            for i, plain in zip(framed, self._schemas.plain(places, [values[i] for i in framed]), strict=True):
                values[i] = plain
        return values


def archive_records(topics: Typed) -> Any:  # noqa: ANN401 - a pyflink wrapper
    """The UDF for records of these topics."""
    return udf(ArchiveRecords(topics), result_type=result(topics), func_type="pandas", deterministic=True)
