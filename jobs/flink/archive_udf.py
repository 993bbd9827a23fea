"""Typed columns for records of many topics as one vectorised UDF, so that one Python worker serves a whole archive."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import pandas as pd
from pyflink.table import DataTypes
from pyflink.table.udf import FunctionContext, ScalarFunction, udf

from infra.config import load_settings
from infra.contracts.in_effect import Contract
from jobs.archive_columns import COLUMNS, ENVELOPE, EVENT_TOPICS
from jobs.archive_rows import NO_HEADERS, archive_row

_TYPES = {
    "STRING": DataTypes.STRING(),
    "INT": DataTypes.INT(),
    "BIGINT": DataTypes.BIGINT(),
    "FLOAT": DataTypes.FLOAT(),
    "BOOLEAN": DataTypes.BOOLEAN(),
    "ARRAY<FLOAT>": DataTypes.ARRAY(DataTypes.FLOAT()),
    "ARRAY<STRING>": DataTypes.ARRAY(DataTypes.STRING()),
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


def typed_columns(topics: Sequence[str]) -> dict[str, str]:
    """The typed columns of all of them, each once, with their Flink types."""
    return {**ENVELOPE, **{name: kind for topic in topics for name, kind in COLUMNS[topic].items()}}


def result(topics: Sequence[str]) -> Any:  # noqa: ANN401 - a pyflink type
    """What the UDF answers. Times leave as BIGINT milliseconds: a TIMESTAMP_LTZ in it would stop the job without a word."""
    return DataTypes.ROW(
        [DataTypes.FIELD(name, kind) for name, kind in PASSED.items()]
        + [DataTypes.FIELD("event_ms", DataTypes.BIGINT())]
        + [DataTypes.FIELD(name, _TYPES[kind]) for name, kind in typed_columns(topics).items()]
    )


class ArchiveRecords(ScalarFunction):
    """Every column that the tables need goes through here and back, so that the planner runs it once."""

    _contract: Contract

    def __init__(self, topics: Sequence[str]) -> None:
        super().__init__()
        self._typed = list(typed_columns(topics))
        self._reads_headers = not set(topics).isdisjoint(EVENT_TOPICS)

    def open(self, function_context: FunctionContext) -> None:
        """Follow the contracts."""
        from infra.contracts.changes import Changes, Followed

        self._contract = Followed(Changes(load_settings()))

    def eval(self, *columns: pd.Series[Any]) -> pd.DataFrame:
        """One batch: the passed columns in, the row out."""
        passed = dict(zip(PASSED, columns, strict=True))
        headers: Any = repeat(NO_HEADERS, len(columns[0]))
        if self._reads_headers:
            headers = (dict(zip(*pair, strict=True)) for pair in zip(passed["header_names"], passed["header_values"], strict=True))
        records = zip(passed["topic"], passed["record_value"], passed["kafka_ms"], passed["record_key"], headers, strict=True)
        rows = [archive_row(topic, value, kafka_ms, self._contract, key, head) for topic, value, kafka_ms, key, head in records]
        answer: dict[str, Any] = dict(passed)
        answer["event_ms"] = [row["event_ms"] for row in rows]
        for name in self._typed:
            answer[name] = pd.Series([row.get(name) for row in rows], dtype=object)
        return pd.DataFrame(answer)


def archive_records(topics: Sequence[str]) -> Any:  # noqa: ANN401 - a pyflink wrapper
    """The UDF for records of these topics."""
    return udf(ArchiveRecords(topics), result_type=result(topics), func_type="pandas", deterministic=True)
