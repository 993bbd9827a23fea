"""Single rows of an archive table by their offsets: only the files that may hold one are opened, whatever lies between them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyiceberg.expressions import EqualTo
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import FileScanTask

from infra.config import Settings
from lakehouse.catalog import load_table, open_catalog, past_snapshot
from lakehouse.log_files import LogFiles
from lakehouse.parquet_files import reading
from lakehouse.read import LogPlan
from lakehouse.scans import stretch

_OPEN_BYTES = 64 << 20  # decoded bytes of one file that is read whole; a larger one is read on from row to row
_UNLIMITED = 1 << 62


def picked(plan: LogPlan, partition: int, wanted: NDArray[np.int64]) -> Iterator[tuple[str, pa.Table]]:
    """The rows at these offsets (ascending) of one partition: each data file that holds some, by its path, and they in offset order.

    A file out of order gives rows out of order with those of others; an offset that no file holds gives none.
    """
    whole = LogFiles(plan.held, plan.projection, partition, _OPEN_BYTES, plan.by, plan.filling)
    first, last, low, high = np.array([file[:4] for file in plan.files], np.int64).reshape(-1, 4).T
    begins, ends = np.searchsorted(wanted, low), np.searchsorted(wanted, high, "right")
    for number in np.flatnonzero((first <= partition) & (partition <= last) & (begins < ends)).tolist():
        here, task = wanted[begins[number] : ends[number]], plan.files[number][4]
        rows = _with_deletes(plan, task, partition, here) if task.delete_files else _of_file(whole, number, task, here)
        rows = rows.filter(pc.is_in(rows[plan.by[1]], pa.array(here)))
        if len(rows):
            yield task.file.file_path, plan.asked(rows)


class ByText:
    """Rows of a small table, of no topic's records, by a text in one of its columns, as of one snapshot; opened once for many readings."""

    def __init__(self, settings: Settings, table: str, column: str, columns: tuple[str, ...], snapshot_id: int) -> None:
        """Find the table.

        Raises:
            LakehouseError: no such table or snapshot.

        """
        with open_catalog(settings) as catalog:
            self._held = load_table(catalog, settings, table)
        past_snapshot(self._held, table, snapshot_id)
        self._column, self._columns, self._snapshot = column, columns, snapshot_id

    def rows(self, text: str) -> pa.Table:
        """Those in which the column holds this very text, whatever letters it is made of."""
        is_it = EqualTo(self._column, text)  # type: ignore[call-arg, arg-type]  # its own __init__ takes these two
        return self._held.scan(row_filter=is_it, selected_fields=self._columns, snapshot_id=self._snapshot).to_arrow()


def _of_file(whole: LogFiles, number: int, task: FileScanTask, here: NDArray[np.int64]) -> pa.Table:
    whole.open([(number, task)])
    rows = whole.rows(number, int(here[0]), int(here[-1]) + 1)
    if rows is None:
        each = (whole.piecewise(number, task, at, at + 1, _UNLIMITED) for at in here.tolist())
        rows = pa.concat_tables([part for part in each if part is not None])
    whole.close(number)
    return rows


def _with_deletes(plan: LogPlan, task: FileScanTask, partition: int, here: NDArray[np.int64]) -> pa.Table:
    """Only Iceberg's own reader knows which rows are gone."""
    inside = stretch(plan.by, partition, here[0], here[-1] + 1)
    scan = ArrowScan(plan.held.metadata, plan.held.io, plan.projection, inside, case_sensitive=True)
    with reading(task.file.file_path):
        rows = scan.to_table([FileScanTask(task.file, task.delete_files, inside)])
    return plan.filled(rows)
