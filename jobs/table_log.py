"""An archive table in offset order, handed out beside the steps of another log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from infra.config import Settings
from lakehouse.held_columns import columns_read
from lakehouse.log_files import POSITION
from lakehouse.read import LogPlan, read_log, read_planned

END = 2**63 - 1
"""Past every offset."""


class TableLog:
    """Rows of a pinned snapshot in offset order; each is handed out once. `by`: the columns of partition and offset."""

    def __init__(
        self,
        settings: Settings,
        table: str,
        partition: int,
        snapshot_id: int | None,
        columns: Sequence[str],
        *,
        by: tuple[str, str] = POSITION,
        first: int = 0,
        end: int = END,
        plan: LogPlan | None = None,
        leave_out_unreadable: bool = False,
        as_stored: bool = False,
    ) -> None:
        """`plan`: the table's files, where they are listed already. `leave_out_unreadable`: rows of others are missing, not a fault.

        `as_stored`: columns that a row holds in its value's bytes alone stay null.
        """
        # of the table, not of its declaration: files that are older or newer than what was applied declare other columns and types
        schema = columns_read(settings, table, columns) if plan is None else plan.schema
        self._offset = by[1]
        self._waiting = schema.empty_table()
        self._rest: Iterator[pa.RecordBatch] = iter(())
        if plan is not None:
            self._rest = read_planned(plan, partition, first, end)
        elif snapshot_id is not None:
            self._rest = read_log(
                settings,
                table,
                partition,
                first,
                end,
                columns,
                snapshot_id,
                by=by,
                leave_out_unreadable=leave_out_unreadable,
                as_stored=as_stored,
            )

    def below(self, offset: int) -> pa.Table:
        """Every row that was not handed out yet and lies below an offset."""
        parts, end = [self._waiting], 0
        while (end := self._below(parts[-1], offset)) == len(parts[-1]) and (batch := next(self._rest, None)) is not None:
            parts.append(pa.Table.from_batches([batch]))
        self._waiting = parts[-1].slice(end)
        parts[-1] = parts[-1].slice(0, end)
        some = [part for part in parts if len(part)]  # none of which need be as wide as what is empty before the first
        return pa.concat_tables(some) if len(some) > 1 else some[0] if some else parts[0]

    def pieces_below(self, offset: int) -> Iterator[pa.Table]:
        """As `below`, a batch at a time; rows with the same offset are never parted."""
        while True:
            batch = next(self._rest, None)
            if batch is not None:
                self._waiting = pa.concat_tables([self._waiting, pa.Table.from_batches([batch])])
            last = int(self._waiting[self._offset][-1].as_py()) if len(self._waiting) else END
            piece = self.below(offset if batch is None else min(offset, last))
            if len(piece):
                yield piece
            if batch is None or last >= offset:
                return

    def _below(self, rows: pa.Table, offset: int) -> int:
        return int(np.searchsorted(rows[self._offset].to_numpy(), offset))
