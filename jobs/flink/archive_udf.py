"""Typed columns for records of every topic as one vectorised UDF, so that one Python worker serves the whole archive."""

from __future__ import annotations

from typing import Any

import pandas as pd
from pyflink.table import DataTypes
from pyflink.table.udf import FunctionContext, ScalarFunction, udf

from infra.contracts.codec import EventTimeWindow
from jobs.archive_rows import COLUMNS, ENVELOPE, archive_row

_TYPES = {
    "STRING": DataTypes.STRING(),
    "INT": DataTypes.INT(),
    "BIGINT": DataTypes.BIGINT(),
    "FLOAT": DataTypes.FLOAT(),
    "BOOLEAN": DataTypes.BOOLEAN(),
    "ARRAY<FLOAT>": DataTypes.ARRAY(DataTypes.FLOAT()),
    "ARRAY<STRING>": DataTypes.ARRAY(DataTypes.STRING()),
}
_TYPED = {**ENVELOPE, **{name: kind for columns in COLUMNS.values() for name, kind in columns.items()}}
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
# times leave as BIGINT milliseconds: a TIMESTAMP_LTZ in the result would stop the job without a word
RESULT = DataTypes.ROW(
    [DataTypes.FIELD(name, kind) for name, kind in PASSED.items()]
    + [DataTypes.FIELD("event_ms", DataTypes.BIGINT())]
    + [DataTypes.FIELD(name, _TYPES[kind]) for name, kind in _TYPED.items()]
)


class ArchiveRecords(ScalarFunction):
    """Every column that the tables need goes through here and back, so that the planner runs it once."""

    _window: EventTimeWindow

    def open(self, function_context: FunctionContext) -> None:
        """Read the contracts."""
        from jobs.scoring_parts import rules

        self._window = rules().window

    def eval(self, *columns: pd.Series[Any]) -> pd.DataFrame:
        """One batch: the passed columns in, the row out."""
        passed = dict(zip(PASSED, columns, strict=True))
        rows = [
            archive_row(topic, value, kafka_ms, self._window)
            for topic, value, kafka_ms in zip(passed["topic"], passed["record_value"], passed["kafka_ms"], strict=True)
        ]
        answer: dict[str, Any] = dict(passed)
        answer["event_ms"] = [row["event_ms"] for row in rows]
        for name in _TYPED:
            answer[name] = pd.Series([row.get(name) for row in rows], dtype=object)
        return pd.DataFrame(answer)


def archive_records() -> Any:  # noqa: ANN401 - a pyflink wrapper
    """The UDF."""
    return udf(ArchiveRecords(), result_type=RESULT, func_type="pandas", deterministic=True)
