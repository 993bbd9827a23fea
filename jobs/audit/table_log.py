"""The archive table of one topic partition, handed out beside the steps of its topic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from infra.config import Settings
from lakehouse.iceberg import arrow_schema
from lakehouse.read import read_log
from lakehouse.tables import declared

END = 2**63 - 1
"""Past every offset."""


class TableLog:
    """Rows of a pinned snapshot in offset order; each is handed out once. Those of a file that cannot be read are missing: see files.py."""

    def __init__(self, settings: Settings, table: str, partition: int, snapshot_id: int | None, columns: Sequence[str]) -> None:
        schema = arrow_schema(declared(table))
        self._waiting = schema.empty_table().select(list(columns))
        self._rest: Iterator[pa.RecordBatch] = (
            iter(())
            if snapshot_id is None
            else read_log(settings, table, partition, 0, END, columns, snapshot_id, leave_out_unreadable=True)
        )

    def below(self, offset: int) -> pa.Table:
        """Every row that was not handed out yet and lies below an offset."""
        parts, end = [self._waiting], 0
        while (end := _below(parts[-1], offset)) == len(parts[-1]) and (batch := next(self._rest, None)) is not None:
            parts.append(pa.Table.from_batches([batch]))
        self._waiting = parts[-1].slice(end)
        parts[-1] = parts[-1].slice(0, end)
        return pa.concat_tables(parts) if len(parts) > 1 else parts[0]

    def pieces_below(self, offset: int) -> Iterator[pa.Table]:
        """As `below`, a batch at a time; rows with the same offset are never parted."""
        while True:
            batch = next(self._rest, None)
            if batch is not None:
                self._waiting = pa.concat_tables([self._waiting, pa.Table.from_batches([batch])])
            last = int(self._waiting["topic_offset"][-1].as_py()) if len(self._waiting) else END
            piece = self.below(offset if batch is None else min(offset, last))
            if len(piece):
                yield piece
            if batch is None or last >= offset:
                return


def _below(rows: pa.Table, offset: int) -> int:
    return int(np.searchsorted(rows["topic_offset"].to_numpy(), offset))
