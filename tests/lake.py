"""Rows into an archive table without a Flink job: one Parquet file per topic partition and day, as the job does it."""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.config import Settings
from lakehouse.append import fitted
from lakehouse.catalog import load_table, open_catalog


def put_records(settings: Settings, table: str, rows: pa.Table) -> None:
    """One snapshot with the rows; needs topic_partition, topic_offset and event_time.

    PyIceberg cannot write files by day without a further package, but it registers files that lie in one day.
    """
    rows = fitted(table, rows)
    partition, day = (
        rows["topic_partition"].combine_chunks(),
        pc.floor_temporal(rows["event_time"].combine_chunks(), unit="day"),
    )
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        folder = Path(held.location().removeprefix("file://")) / "data"
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for key in pa.table({"p": partition, "d": day}).group_by(["p", "d"]).aggregate([]).to_pylist():
            same = pc.and_(pc.equal(partition, key["p"]), pc.equal(day, pa.scalar(key["d"], day.type)))
            file = folder / f"{uuid.uuid4()}.parquet"
            pq.write_table(rows.filter(same), file, store_schema=False)  # as Flink writes: no Arrow types inside
            files.append(file.as_uri())
        held.add_files(files)
