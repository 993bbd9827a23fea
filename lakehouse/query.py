"""SQL over the tables, by their plain names, through DuckDB, which reads only the columns that are asked for.

./streamhouse query "SELECT action, count(*) FROM user_actions GROUP BY action"
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import IO, Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from duckdb.func import FunctionNullHandling
from pyiceberg.io.pyarrow import PyArrowFileIO, schema_to_pyarrow
from pyiceberg.table import Table as IcebergTable
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table as Printed

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from lakehouse.catalog import known_tables, load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.from_value import NEEDED, Plain, stand_ins, value_of
from lakehouse.tables import TABLES

MEMORY = "1GB"
_SHOWN_ROWS = 200
_ANY_WIDTH = 1_000_000
_STORED = " as stored"  # no table has a space in its name, so no statement reaches what is called so


def query(settings: Settings, sql: str) -> pa.Table:
    """Run one SQL statement over the newest snapshots of the tables that it names; times are UTC.

    Nothing is written, and no other file or address is read: the connection sees the tables alone.

    Raises:
        LakehouseError: a table that does not exist or a file of one that is gone, or SQL that DuckDB refuses, with its own words.

    """
    # no network and no files: settings that cannot be turned back by the statement itself
    safe: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
        "memory_limit": MEMORY,
    }
    with duckdb.connect(config=safe) as connection, open_catalog(settings) as catalog:
        tables, is_listing = _tables(connection, sql, known_tables(catalog, settings))
        try:
            for name in tables:
                held = load_table(catalog, settings, name)
                if is_listing:
                    connection.register(name, _lazily(held))
                else:
                    _register(connection, held, name, Plain(settings, name))
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET lock_configuration = true")
            return connection.execute(sql).to_arrow_table()
        except duckdb.Error as error:
            raise LakehouseError(_said(error)) from error
        except OSError as error:
            message = f"a file of {' or '.join(tables)} cannot be read: {error}; `./streamhouse audit` names what is lost"
            raise LakehouseError(message) from error


def _tables(connection: duckdb.DuckDBPyConnection, sql: str, known: Collection[str]) -> tuple[list[str], bool]:
    """The tables among those known that the statement reads, and whether it lists them all.

    By DuckDB's own parser, which also refuses all that does not only read.
    """
    # `get_table_names` would do, but it binds too, and fails on JOIN ... USING
    (text,) = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone() or ("{}",)
    parsed = json.loads(text)
    if parsed.get("error_type") == "not implemented":  # DuckDB serializes what only reads, and nothing else
        message = f"the query: expected a SELECT, or SHOW TABLES or DESCRIBE, got {sql.strip()[:80]!r}; only reading is allowed"
        raise LakehouseError(message)
    if parsed.get("error"):
        raise LakehouseError(_said(parsed["error_message"]))
    if len(parsed["statements"]) != 1:
        raise LakehouseError("the query: expected one statement, got several or none; send them one by one")
    nodes = list(_nodes(parsed))
    if any(node.get("show_type") == "SHOW_UNQUALIFIED" for node in nodes):
        return sorted(known), True
    named = {node["table_name"] for node in nodes if node.get("type") == "BASE_TABLE"}
    shadowed = {entry["key"].lower() for node in nodes if "cte_map" in node for entry in node["cte_map"]["map"]}
    if unknown := sorted(name for name in named if name.lower() not in shadowed.union(known)):
        message = f"table `{unknown[0]}`: expected one of {', '.join(sorted(known))}; correct the name"
        raise LakehouseError(message)
    return sorted({name.lower() for name in named}.intersection(known)), False


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - parsed JSON
    """Every object in a tree of objects and lists."""
    if isinstance(tree, dict):
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(part)


def _register(connection: duckdb.DuckDBPyConnection, held: IcebergTable, name: str, plain: Plain) -> None:
    """Under its name; columns that rows may hold in their value's bytes alone are filled in where the statement reads them."""
    stored, missing = _lazily(held), stand_ins(held)
    if not missing:
        connection.register(name, stored)
        return
    there = connection.register(f"{name}{_STORED}", stored).sql(f'FROM "{name}{_STORED}"')
    kinds = dict(zip(there.columns, there.types, strict=True))
    parts = []
    for column, field in missing.items():
        # row by row: of texts that a function over Arrow gave, `coalesce` has read memory that was free again
        function = f"{name}_{column}{_STORED}"
        connection.create_function(
            function,
            value_of(field, plain),
            [kinds[part] for part in NEEDED],
            kinds[column],
            null_handling=FunctionNullHandling.SPECIAL,
        )
        both = (f'"{column}"', f'"{function}"({", ".join(NEEDED)})')
        parts.append(f'coalesce({", ".join(both[::-1] if field.has_parts else both)}) AS "{column}"')
    connection.execute(f'CREATE TEMP VIEW "{name}" AS SELECT * REPLACE ({", ".join(parts)}) FROM "{name}{_STORED}"')


def _lazily(table: IcebergTable) -> ds.Dataset | pa.Table:
    """The newest snapshot as a dataset, of which DuckDB reads the columns and row groups that it needs."""
    tasks = list(table.scan().plan_files())
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False).remove_metadata()
    if not tasks:
        return schema.empty_table()
    if any(task.delete_files for task in tasks) or not isinstance(table.io, PyArrowFileIO):
        return table.scan().to_arrow()  # only Iceberg's own reader knows which rows are gone
    scheme, netloc, _ = PyArrowFileIO.parse_location(tasks[0].file.file_path)
    paths = [PyArrowFileIO.parse_location(task.file.file_path)[2] for task in tasks]
    return ds.dataset(paths, schema=schema, format="parquet", filesystem=table.io.fs_by_scheme(scheme, netloc))


def _said(words: object) -> str:
    return f"the query: expected SQL as DuckDB speaks it, got {str(words).strip()}; correct the statement"


def show(rows: pa.Table, form: str, out: IO[str]) -> None:
    """Print rows as a `table` for people (the first 200), as `csv`, or as `json` with one object per line.

    A table that is wider than the terminal is printed as one `column: value` per line; where there is no terminal, no line is folded.
    """
    if form == "json":
        for row in rows.to_pylist():
            out.write(json.dumps(row, default=_plain, ensure_ascii=False) + "\n")
    elif form == "csv":
        writer = csv.writer(out)
        writer.writerow(rows.column_names)
        writer.writerows([_plain(value) for value in row.values()] for row in rows.to_pylist())
    else:
        shown = [[_cell(value) for value in row.values()] for row in rows.slice(0, _SHOWN_ROWS).to_pylist()]
        console, printed = Console(file=out), Printed(*(escape(name) for name in rows.column_names))
        for cells in shown:
            printed.add_row(*(escape(cell) for cell in cells))
        width = Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), printed).maximum
        if not console.is_terminal:
            Console(file=out, width=max(width, 1)).print(printed)
        elif width <= console.width:
            console.print(printed)
        else:
            for number, cells in enumerate(shown, 1):
                lines = [f"{name}: {cell}" for name, cell in zip(rows.column_names, cells, strict=True)]
                console.print("\n".join([f"-- row {number}", *lines]), markup=False, highlight=False, soft_wrap=True)
        more = f", the first {_SHOWN_ROWS} shown" if len(rows) > _SHOWN_ROWS else ""
        console.print(f"{len(rows)} rows{more}")


def _plain(value: Any) -> Any:  # noqa: ANN401 - any cell
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value) if not isinstance(value, str | int | float | None) else value


def _cell(value: Any) -> str:  # noqa: ANN401 - any cell
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(_plain(value))


def main(arguments: Sequence[str] | None = None, settings: Settings | None = None) -> int:
    """Run the query of the command line and print what it gives; 1 and one sentence when it cannot be run."""
    parser = argparse.ArgumentParser(prog="query", description="SQL over the Iceberg tables: " + ", ".join(sorted(TABLES)))
    parser.add_argument("sql")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_const", const="csv", dest="form")
    form.add_argument("--json", action="store_const", const="json", dest="form")
    chosen = parser.parse_args(arguments)
    try:
        show(query(settings or load_settings(), chosen.sql), chosen.form or "table", sys.stdout)
    except StreamhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
