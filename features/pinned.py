"""One snapshot of the Iceberg table behind a Feast source, and its rows in an order that does not change while they are read.

The table is reached through Feast's own source, so PyIceberg is what Feast makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from feast.data_source import DataSource
from feast.infra.data_sources.contrib.iceberg_catalog.iceberg_source import IcebergSource
from feast.infra.offline_stores.duckdb import _load_pyiceberg_table_for_write  # what Feast's own reader does, short of reading

from features.dataset import plain_type
from infra.errors import StreamhouseError

_ROWS = 500_000  # files are read together up to so many rows
_CELLS = 16_000_000  # values in memory at a time while features are read; a single file may force more rows than that


class TrainingSetRefused(StreamhouseError):
    """Features were asked for in a way that cannot be answered; the sentence says what to pass instead."""


@dataclass(frozen=True)
class Pinned:
    """A table as of one snapshot; `snapshot_id` None: it is empty. `types`: the columns that it had then."""

    name: str
    table: Any
    snapshot_id: int | None
    types: dict[str, pa.DataType]


def pin(source: DataSource, tag: str | None) -> Pinned:
    """The snapshot that `tag` names, or the newest.

    Raises:
        TrainingSetRefused: no Iceberg source, no such table, or no such tag.

    """
    if not isinstance(source, IcebergSource):
        message = f"source {source.name}: expected an IcebergSource, got {type(source).__name__}; read it with Feast's store `duckdb`"
        raise TrainingSetRefused(message)
    name: str = source.iceberg_table
    try:
        table = _load_pyiceberg_table_for_write(source)
    except Exception as error:  # whatever the catalog raises
        message = f"table `{name}`: expected it in the catalog that Feast's registry names, got {error}; run `./streamhouse apply`"
        raise TrainingSetRefused(message) from error
    table.catalog.close()  # what was loaded is enough to read
    held = table.current_snapshot() if tag is None else table.snapshot_by_name(tag)
    if held is None and tag is not None:
        known = ", ".join(sorted(table.refs())) or "none"
        message = f"table `{name}`: expected a tag {tag!r}, got only {known}; make the tag, or set offline_store.tag to one of these"
        raise TrainingSetRefused(message)
    snapshot_id = None if held is None else int(held.snapshot_id)
    schema = table.scan(snapshot_id=snapshot_id).projection().as_arrow()
    return Pinned(name, table, snapshot_id, {field.name: plain_type(field.type) for field in schema})


class Rows:
    """The rows of a pinned table that meet a condition, in parts of whole files; each part can be read again and is the same.

    `where`: a filter as PyIceberg reads it, which also prunes files; "": every row.
    """

    def __init__(self, pinned: Pinned, where: str) -> None:
        condition = {"row_filter": where} if where else {}
        self._scan = pinned.table.scan(snapshot_id=pinned.snapshot_id, **condition)
        self._name, self._types = pinned.name, pinned.types
        tasks = [] if pinned.snapshot_id is None else sorted(self._scan.plan_files(), key=lambda task: str(task.file.file_path))
        self._parts: list[list[Any]] = []
        size = _ROWS
        for task in tasks:
            if size + task.file.record_count > _ROWS:
                self._parts.append([])
                size = 0
            self._parts[-1].append(task)
            size += task.file.record_count

    def __len__(self) -> int:
        """How many parts there are."""
        return len(self._parts)

    def batches(self, part: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of a part, some columns of them, in their plain types.

        Raises:
            TrainingSetRefused: a file is gone.

        """
        scan = self._scan.update(selected_fields=tuple(columns))
        tasks = self._parts[part]
        scan.plan_files = lambda: tasks  # this part alone: PyIceberg holds all that it reads at once
        schema = pa.schema([(name, self._types[name]) for name in columns])
        try:
            for batch in scan.to_arrow_batch_reader():
                yield batch.select(list(columns)).cast(schema)
        except FileNotFoundError as error:
            message = (
                f"table `{self._name}`, snapshot {scan.snapshot_id}: a file of it is gone ({error}); if the snapshot expired meanwhile,"
                " ask again, or read a tag, which keeps its snapshot"
            )
            raise TrainingSetRefused(message) from error

    def columns_at_once(self, part: int) -> int:
        """How many columns of a part may be in memory."""
        rows: int = sum(task.file.record_count for task in self._parts[part])
        return max(1, _CELLS // max(1, rows))
