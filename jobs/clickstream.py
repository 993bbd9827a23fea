"""A file of user actions (CSV or Parquet) -> events in event-time order, with ids that are the same each time it is read."""

from __future__ import annotations

import hashlib
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa

from infra.contracts.codec import rfc3339
from infra.errors import StreamhouseError

REQUIRED = ("user_id", "session_id", "action", "timestamp")
OPTIONAL = ("platform", "lifecycle", "channel", "cohort")
_BATCH = 10_000


@dataclass(frozen=True)
class Clickstream:
    """One input file and how its columns are named. `digest`: sha256 of its bytes, which names its events."""

    file: Path
    columns: dict[str, str]
    time_format: str
    digest: str

    @property
    def source(self) -> str:
        """The `source` of its events."""
        return f"clickstream/{self.file.name}#{self.digest[:12]}"


@dataclass(frozen=True)
class Row:
    """One action: its number in event-time order from 0, its user ("": the file names none), its time in ms, the encoded event."""

    number: int
    user_id: str
    time: int
    value: bytes


def open_clickstream(file: Path, mapping: Path | None = None) -> Clickstream:
    """Read the mapping that stands beside the file, or the one that is named.

    Raises:
        StreamhouseError: a missing file, or a mapping that leaves out or misnames a column.

    """
    if not file.is_file():
        message = f"input {str(file)!r} is not there; expected a CSV (.csv, .csv.gz) or Parquet file"
        raise StreamhouseError(message)
    mapping = mapping or file.parent / (file.name.split(".")[0] + ".toml")
    if not mapping.is_file():
        message = f"mapping {str(mapping)!r} is not there; write one as data/shop_clickstream.toml, or name it with --mapping"
        raise StreamhouseError(message)
    try:
        described = tomllib.loads(mapping.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        message = f"mapping {str(mapping)!r} is no TOML: {error}"
        raise StreamhouseError(message) from error
    columns = described.get("columns", {})
    if missing := [name for name in REQUIRED if name not in columns]:
        message = f"mapping {str(mapping)!r} names no column for {', '.join(missing)}; expected all of {', '.join(REQUIRED)}"
        raise StreamhouseError(message)
    if unknown := sorted(set(columns) - {*REQUIRED, *OPTIONAL}):
        message = f"mapping {str(mapping)!r} names {', '.join(unknown)}; expected only {', '.join((*REQUIRED, *OPTIONAL))}"
        raise StreamhouseError(message)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    clickstream = Clickstream(file, columns, described.get("timestamp", {}).get("format", "%Y-%m-%d %H:%M:%S"), digest)
    _check_columns(clickstream)
    return clickstream


def count(clickstream: Clickstream) -> int:
    """How many actions the file holds."""
    (rows,) = _connect(clickstream).execute("SELECT count(*) FROM actions").fetchone() or (0,)
    return int(rows)


def rows(clickstream: Clickstream) -> Iterator[Row]:
    """Every action in event-time order; ties in the file's order. Sorting spills to disk, so the file may be larger than memory."""
    result = _connect(clickstream).execute("SELECT * EXCLUDE (file_row) FROM actions ORDER BY time_ms, file_row")
    namespace = uuid.UUID(clickstream.digest[:32])
    number = 0
    while batch := result.fetchmany(_BATCH):
        for user_id, session_id, action, platform, lifecycle, _, _, time_ms in batch:
            event = {
                "eventType": "UserAction",
                "eventId": str(uuid.uuid5(namespace, str(number))),
                "timestamp": rfc3339(time_ms),
                "version": 1,
                "source": clickstream.source,
                "correlationId": session_id,
                "data": {
                    "userId": user_id,
                    "sessionId": session_id,
                    "action": action,
                    "platform": platform,
                    "lifecycle": lifecycle,
                },
            }
            yield Row(number, user_id or "", time_ms, orjson.dumps(event))
            number += 1


def profiles(clickstream: Clickstream) -> pa.Table:
    """One row per user for the table user_profiles: channel and cohort, known from the user's first action on."""
    table = (
        _connect(clickstream)
        .execute(
            """SELECT user_id, arg_min(channel, time_ms) AS channel, arg_min(cohort, time_ms) AS cohort, min(time_ms) AS known_from
               FROM actions WHERE user_id IS NOT NULL GROUP BY user_id ORDER BY user_id"""
        )
        .to_arrow_table()
    )
    known_from = table["known_from"].cast(pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))
    return table.drop_columns(["known_from"]).append_column("known_from", known_from).append_column("created", known_from)


def _connect(clickstream: Clickstream) -> duckdb.DuckDBPyConnection:
    """A connection with the view `actions`: our column names, text, and `time_ms`."""
    connection = duckdb.connect(config={"threads": 2})
    names = {name: f'"{clickstream.columns[name]}"' if name in clickstream.columns else "NULL" for name in (*REQUIRED, *OPTIONAL)}
    text = {name: f"CAST({column} AS VARCHAR)" for name, column in names.items()}
    connection.execute(f"CREATE VIEW file AS SELECT *, row_number() OVER () AS file_row FROM {_reader(clickstream.file)}")
    moment = f"try_strptime({text['timestamp']}, {_quoted(clickstream.time_format)})"
    bad = connection.execute(f"SELECT file_row, {text['timestamp']} FROM file WHERE {moment} IS NULL LIMIT 1").fetchone()
    if bad:
        message = (
            f"{clickstream.file.name} row {bad[0]}: timestamp {bad[1]!r} does not fit {clickstream.time_format!r};"
            " set [timestamp] format in the mapping"
        )
        raise StreamhouseError(message)
    connection.execute(
        f"""CREATE VIEW actions AS SELECT {text["user_id"]} AS user_id, {text["session_id"]} AS session_id, {text["action"]} AS action,
            {text["platform"]} AS platform, {text["lifecycle"]} AS lifecycle, {text["channel"]} AS channel, {text["cohort"]} AS cohort,
            epoch_ms({moment}) AS time_ms, file_row FROM file"""
    )
    return connection


def _check_columns(clickstream: Clickstream) -> None:
    connection = duckdb.connect()
    try:
        there = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {_reader(clickstream.file)}").fetchall()]
    except duckdb.Error as error:
        message = f"input {clickstream.file.name!r} cannot be read as CSV or Parquet: {str(error).splitlines()[0]}"
        raise StreamhouseError(message) from error
    if missing := [column for column in clickstream.columns.values() if column not in there]:
        message = f"input {clickstream.file.name!r} has no column {missing[0]!r}; it has {', '.join(there)}; mend the mapping"
        raise StreamhouseError(message)


def _reader(file: Path) -> str:
    if ".parquet" in file.name:
        return f"read_parquet({_quoted(str(file))})"
    return f"read_csv({_quoted(str(file))}, all_varchar = true, header = true)"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
