"""Data files of archive tables as they are: what the metadata says of each beside what its rows say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.manifest import DataFileContent

from infra.config import Settings
from lakehouse.catalog import load_table, open_catalog
from lakehouse.errors import LakehouseError
from lakehouse.log_files import POSITION
from lakehouse.parquet_files import file_columns, unreadable
from lakehouse.read import offsets


@dataclass(frozen=True)
class MeasuredFile:
    """A live data file: what the table's metadata says of it, and what its rows say. Offsets are inclusive.

    `adder`: the snapshot that added it. `times`: how often the snapshot names it. `found`: by topic partition the first offset, the
    last one and the number of rows. `unreadable`: why nothing is found, None where the file can be read.
    """

    path: str
    adder: int
    times: int
    partition: int
    first: int
    last: int
    records: int
    found: dict[int, tuple[int, int, int]]
    unreadable: str | None = None

    @property
    def is_as_said(self) -> bool:
        """Whether rows and metadata agree."""
        return self.found == ({self.partition: (self.first, self.last, self.records)} if self.records else {})


def measured_files(settings: Settings, table: str, snapshot_id: int) -> Iterator[MeasuredFile]:
    """Every live data file of a snapshot, once, by path; reads the two columns of the position alone.

    Raises:
        LakehouseError: no such snapshot, or a file without bounds.

    """
    with open_catalog(settings) as catalog:
        held = load_table(catalog, settings, table)
        newest = held.snapshot_by_id(snapshot_id)
        if newest is None:
            message = f"table `{table}`: expected snapshot {snapshot_id}, got none such; it expired meanwhile, so start again"
            raise LakehouseError(message)
        live = [entry for manifest in newest.manifests(held.io) for entry in manifest.fetch_manifest_entry(held.io)]
        data = [entry for entry in live if entry.data_file.content == DataFileContent.DATA]
        times = Counter(entry.data_file.file_path for entry in data)
        by_path = {entry.data_file.file_path: entry for entry in data}
        for path, entry in sorted(by_path.items()):
            file = entry.data_file
            first, last = offsets(held, file)
            why = unreadable(held, path)
            yield MeasuredFile(
                path,
                entry.snapshot_id or 0,
                times[path],
                int(file.partition[0]),
                first,
                last,
                file.record_count,
                _found(file_columns(held, path, list(POSITION))) if why is None else {},
                why,
            )


def _found(rows: pa.Table) -> dict[int, tuple[int, int, int]]:
    offset = ("topic_offset", "min"), ("topic_offset", "max"), ("topic_partition", "count")
    groups = rows.group_by("topic_partition").aggregate(list(offset)).to_pylist()
    return {row["topic_partition"]: (row["topic_offset_min"], row["topic_offset_max"], row["topic_partition_count"]) for row in groups}
