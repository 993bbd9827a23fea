"""A file of user actions (CSV or Parquet) -> events in event-time order, with ids that are the same each time it is read."""

from __future__ import annotations

import hashlib
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa

from infra.contracts.codec import rfc3339
from infra.errors import StreamhouseError

REQUIRED = ("user_id", "session_id", "action", "timestamp")
OPTIONAL = ("platform", "lifecycle", "channel", "cohort")
KEYS: dict[str, tuple[str, ...] | None] = {  # what a mapping may hold; None: any key
    "columns": (*REQUIRED, *OPTIONAL),
    "timestamp": ("format",),
    "csv": ("delimiter",),
    "actions": None,
}
_BATCH = 10_000


@dataclass(frozen=True, eq=False)
class Clickstream:
    """One input file and how its columns and actions are named; a second look at the same file is another one, as it may have changed.

    `digest`: sha256 of its bytes, which names its events. `size`: how many actions it holds.
    """

    file: Path
    columns: dict[str, str]
    time_format: str
    delimiter: str
    actions: dict[str, str]
    digest: str
    size: int

    @property
    def source(self) -> str:
        """The `source` of its events."""
        return f"clickstream/{self.file.name}#{self.digest[:12]}"


@dataclass(frozen=True)
class Row:
    """One action: its number in event-time order from 0, its user ("": the file names none), its time in ms, the encoded event.

    A row without a readable time has that of the row before it, or 0; its event carries the file's own text, which the contract refuses.
    """

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
    described = _described(mapping)
    columns = described.get("columns", {})
    if missing := [name for name in REQUIRED if name not in columns]:
        message = f"mapping {str(mapping)!r} names no column for {', '.join(missing)}; expected all of {', '.join(REQUIRED)}"
        raise StreamhouseError(message)
    delimiter = described.get("csv", {}).get("delimiter", ",")
    if len(delimiter.encode()) != 1 or delimiter in '"\r\n':
        message = f"mapping {str(mapping)!r}: expected one character as [csv] delimiter, for example ';', got {delimiter!r}"
        raise StreamhouseError(message)
    clickstream = Clickstream(
        file=file,
        columns=columns,
        time_format=described.get("timestamp", {}).get("format", "%Y-%m-%d %H:%M:%S"),
        delimiter=delimiter,
        actions=described.get("actions", {}),
        digest=hashlib.sha256(file.read_bytes()).hexdigest(),
        size=0,
    )
    try:
        _check_columns(clickstream)
        return replace(clickstream, size=_checked_rows(clickstream))
    except duckdb.Error as error:
        raise StreamhouseError(_unreadable(clickstream, str(error))) from error


def _described(mapping: Path) -> dict[str, dict[str, str]]:
    """The tables of a mapping file, in which nothing is unknown and every value is a text."""
    try:
        described = tomllib.loads(mapping.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"mapping {str(mapping)!r} is no TOML: {error}"
        raise StreamhouseError(message) from error
    for table, values in described.items():
        if table not in KEYS or not isinstance(values, dict):
            message = f"mapping {str(mapping)!r} names {table}; expected only the tables {', '.join(f'[{name}]' for name in KEYS)}"
            raise StreamhouseError(message)
        keys = KEYS[table]
        if keys is not None and (unknown := sorted(set(values) - set(keys))):
            message = f"mapping {str(mapping)!r} names {', '.join(unknown)}; expected only {', '.join(keys)} in [{table}]"
            raise StreamhouseError(message)
        if wrong := [key for key, value in values.items() if not isinstance(value, str)]:
            message = f"mapping {str(mapping)!r}: expected a text for {wrong[0]} in [{table}], got {values[wrong[0]]!r}; put it in quotes"
            raise StreamhouseError(message)
    return described


def rows(clickstream: Clickstream) -> Iterator[Row]:
    """Every action in event-time order, those without a readable time last; ties in the file's order.

    Sorting spills to disk, so the file may be larger than memory.
    """
    result = _connect(clickstream).execute(
        """SELECT user_id, session_id, action, platform, lifecycle, time_text, time_ms
           FROM actions ORDER BY time_ms NULLS LAST, file_row"""
    )
    namespace = uuid.UUID(clickstream.digest[:32])
    number = time = 0
    while batch := result.fetchmany(_BATCH):
        for user_id, session_id, action, platform, lifecycle, time_text, time_ms in batch:
            time = time if time_ms is None else time_ms
            event = {
                "eventType": "UserAction",
                "eventId": str(uuid.uuid5(namespace, str(number))),
                "timestamp": time_text if time_ms is None else rfc3339(time_ms),
                "version": 1,
                "source": clickstream.source,
                "correlationId": session_id,
                "data": {
                    "userId": user_id,
                    "sessionId": session_id,
                    "action": clickstream.actions.get(action, action),
                    "platform": platform,
                    "lifecycle": lifecycle,
                },
            }
            yield Row(number, user_id or "", time, orjson.dumps(event))
            number += 1


def profiles(clickstream: Clickstream) -> pa.Table:
    """One row per user for the table user_profiles: channel and cohort, known from the user's first action on."""
    table = (
        _connect(clickstream)
        .execute(
            """SELECT user_id, arg_min(channel, time_ms) AS channel, arg_min(cohort, time_ms) AS cohort, min(time_ms) AS known_from
               FROM actions WHERE user_id IS NOT NULL AND time_ms IS NOT NULL GROUP BY user_id ORDER BY user_id"""
        )
        .to_arrow_table()
    )
    known_from = table["known_from"].cast(pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))
    return table.drop_columns(["known_from"]).append_column("known_from", known_from).append_column("created", known_from)


def _connect(clickstream: Clickstream) -> duckdb.DuckDBPyConnection:
    """A connection with the view `actions`: our column names, text, `time_ms` (null: not readable) and the row's place in the file."""
    connection = duckdb.connect(config={"threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    names = {name: _name(clickstream.columns[name]) if name in clickstream.columns else "NULL" for name in (*REQUIRED, *OPTIONAL)}
    text = {name: f"CAST({column} AS VARCHAR)" for name, column in names.items()}
    (kind,) = connection.execute(f"SELECT typeof({names['timestamp']}) FROM {_reader(clickstream)} LIMIT 1").fetchone() or ("VARCHAR",)
    if kind.startswith(("TIMESTAMP", "DATE")):  # a Parquet column that holds times, not their texts
        moment = f"CAST({names['timestamp']} AS TIMESTAMP)"
    else:
        moment = f"CAST(try_strptime({text['timestamp']}, {_quoted(clickstream.time_format)}) AS TIMESTAMP)"
    connection.execute(
        f"""CREATE VIEW actions AS SELECT {text["user_id"]} AS user_id, {text["session_id"]} AS session_id, {text["action"]} AS action,
            {text["platform"]} AS platform, {text["lifecycle"]} AS lifecycle, {text["channel"]} AS channel, {text["cohort"]} AS cohort,
            {text["timestamp"]} AS time_text, row_number() OVER () AS file_row,
            CASE WHEN year({moment}) BETWEEN 1 AND 9999 THEN epoch_ms({moment}) END AS time_ms FROM {_reader(clickstream)}"""
    )
    return connection


def _check_columns(clickstream: Clickstream) -> None:
    connection = duckdb.connect()
    there = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {_reader(clickstream)}").fetchall()]
    if missing := [column for column in clickstream.columns.values() if column not in there]:
        if there == ["column0"] and not connection.execute(f"SELECT 1 FROM {_reader(clickstream)} LIMIT 1").fetchone():
            message = f"input {clickstream.file.name!r} is empty; expected a line that names the columns and a row for each action"
            raise StreamhouseError(message)
        message = f"input {clickstream.file.name!r} has no column {missing[0]!r}; it has {', '.join(there)}; mend the mapping"
        raise StreamhouseError(message)


def _checked_rows(clickstream: Clickstream) -> int:
    """How many rows there are; reads the file once whole.

    A few times that cannot be read are a matter of those rows; more than half, one of the mapping.
    """
    connection = _connect(clickstream)
    columns = ", ".join(f"count({name})" for name in ("user_id", "session_id", "action", *OPTIONAL))  # so that each is decoded
    found = connection.execute(f"SELECT count(*), count(time_ms), {columns} FROM actions").fetchone() or (0, 0)
    if found[1] * 2 >= found[0]:
        return int(found[0])
    bad = connection.execute("SELECT file_row, time_text FROM actions WHERE time_ms IS NULL LIMIT 1").fetchone() or (0, "")
    message = (
        f"{clickstream.file.name} row {bad[0]}: timestamp {bad[1]!r} does not fit {clickstream.time_format!r};"
        " set [timestamp] format in the mapping"
    )
    raise StreamhouseError(message)


def _unreadable(clickstream: Clickstream, said: str) -> str:
    """Why DuckDB could not read the file, without its advice, which speaks of options that a mapping does not have."""
    line = next((part.strip() for part in said.splitlines() if part.startswith("Invalid Input Error: CSV Error on Line")), "")
    if "not utf-8 encoded" in said:
        where = f" (line {line.rpartition(' ')[2]})" if line else ""
        return f"input {clickstream.file.name!r}{where} is not in UTF-8; convert it, for example with `iconv -f LATIN1 -t UTF-8`"
    if "sniffing" in said:
        return (
            f"input {clickstream.file.name!r}: expected CSV with the delimiter {clickstream.delimiter!r}, every quote closed;"
            " mend the file, or set [csv] delimiter in the mapping"
        )
    return f"input {clickstream.file.name!r} cannot be read as CSV or Parquet: {said.splitlines()[0]}"


def _reader(clickstream: Clickstream) -> str:
    file = _quoted(str(clickstream.file))
    if ".parquet" in clickstream.file.name:
        return f"read_parquet({file})"
    # nothing is guessed; a short row is padded, what is too much in a long one is left out. One reader: with padding, DuckDB's
    # parallel one refuses a quoted line break
    return (
        f"read_csv({file}, all_varchar = true, header = true, delim = {_quoted(clickstream.delimiter)}, quote = '\"', escape = '\"',"
        " comment = '', null_padding = true, strict_mode = false, parallel = false)"
    )


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
