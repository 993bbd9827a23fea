"""Rows into an archive table without a Flink job: one Parquet file per topic partition and day, as the job does it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import parquet_files_to_data_files
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _OverwriteFiles
from pyiceberg.typedef import EMPTY_DICT

from infra.config import Settings
from lakehouse.append import fitted
from lakehouse.catalog import load_table, open_catalog


def put_records(settings: Settings, table: str, rows: pa.Table, properties: dict[str, str] | None = None) -> None:
    """One snapshot with the rows; needs topic_partition, topic_offset and event_time. `properties` go into its summary.

    PyIceberg cannot write files by day without a further package, but it registers files that lie in one day.
    """
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        held.add_files(_write(held, fitted(table, rows)), snapshot_properties=properties or {})


def rewrite_records(settings: Settings, table: str, change: Callable[[pa.Table], pa.Table] = lambda rows: rows) -> None:
    """One snapshot that puts a file per topic partition and day in the place of all there are, as the job's upkeep does.

    `change`: what becomes of the rows on the way; a sound rewrite leaves them alone.
    """
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        old = [task.file for task in held.scan().plan_files()]
        paths = _write(held, fitted(table, change(held.scan().to_arrow())))
        if held.name_mapping() is None:  # the files come without Iceberg's ids; add_files sees to this by itself
            with held.transaction() as transaction:
                transaction.set_properties({"schema.name-mapping.default": held.schema().name_mapping.model_dump_json()})
        with held.transaction() as transaction, _Rewrite(Operation.OVERWRITE, transaction, held.io) as rewrite:
            for file in old:
                rewrite.delete_data_file(file)
            for file in parquet_files_to_data_files(held.io, held.metadata, iter(paths)):
                rewrite.append_data_file(file)


class _Rewrite(_OverwriteFiles):
    """An overwrite that calls itself what Java's rewrites do; PyIceberg offers none."""

    def _summary(self, snapshot_properties: dict[str, str] = EMPTY_DICT) -> Summary:
        return Summary(Operation.REPLACE, **super()._summary(snapshot_properties).additional_properties)


def _write(held: IcebergTable, rows: pa.Table) -> list[str]:
    """Files of one topic partition and day each, beside the table's own, not yet part of it."""
    partition = rows["topic_partition"].combine_chunks()
    day = pc.floor_temporal(rows["event_time"].combine_chunks(), unit="day")
    folder = Path(held.location().removeprefix("file://")) / "data"
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for key in pa.table({"p": partition, "d": day}).group_by(["p", "d"]).aggregate([]).to_pylist():
        same = pc.and_(pc.equal(partition, key["p"]), pc.equal(day, pa.scalar(key["d"], day.type)))
        file = folder / f"{uuid.uuid4()}.parquet"
        pq.write_table(rows.filter(same), file, store_schema=False)  # as Flink writes: no Arrow types inside
        files.append(file.as_uri())
    return files
