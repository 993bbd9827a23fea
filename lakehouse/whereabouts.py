"""Where an archive table holds a record: the data file, the snapshot that added it, and the receipt of the append that brought it."""

from __future__ import annotations

from dataclasses import dataclass

from pyiceberg.manifest import ManifestContent
from pyiceberg.table.snapshots import Snapshot

from infra.config import Settings
from lakehouse.ledger import book, recorded_at, unrecorded
from lakehouse.read import LogPlan
from lakehouse.receipts import APPEND, EXPIRED, Receipt


@dataclass(frozen=True)
class Version:
    """A state of a table; `committed_ms` and `operation` None where it has expired, so that only its files tell of it."""

    snapshot_id: int
    committed_ms: int | None
    operation: str | None


@dataclass(frozen=True)
class Held:
    """`read_at`: the state that was looked at; `added_by`: the one that brought the file, a rewrite where files were merged.

    `receipts`: of the appends that held the offset, one where the table is sound.
    """

    table: str
    file: str
    file_records: int
    read_at: Version
    added_by: Version | None
    receipts: tuple[Receipt, ...]


class Whereabouts:
    """Of one archive table as a plan lists it; manifests and what the ledger lacks are read once."""

    def __init__(self, settings: Settings, table: str, plan: LogPlan) -> None:
        """Read them.

        Raises:
            LakehouseError: they cannot be read, or there is no ledger.

        """
        self._table, self._plan = table, plan
        self._unrecorded = unrecorded(settings, table)
        self._book = book(settings)  # behind what it lacks, so that nothing is recorded unseen in between
        self._records = {task.file.file_path: task.file.record_count for *_, task in plan.files}
        self._added = self._added_by()
        self._read_at = self._version(self._snapshot.snapshot_id)

    def held(self, path: str, partition: int, offset: int) -> Held:
        """Of a record that lies in the data file `path`."""
        added = self._added.get(path)
        found = {
            receipt.snapshot_id: receipt
            for receipt in [*self._unrecorded, *recorded_at(self._book, self._table, partition, offset)]
            if receipt.operation in (APPEND, EXPIRED) and receipt.topic_partition == partition and _holds(receipt, offset)
        }
        receipts = tuple(sorted(found.values(), key=lambda receipt: receipt.sequence_number))
        version = None if added is None else self._version(added)
        return Held(self._table, path, self._records[path], self._read_at, version, receipts)

    @property
    def _snapshot(self) -> Snapshot:
        snapshot = self._plan.scan.snapshot()
        assert snapshot is not None  # or there is no file
        return snapshot

    def _added_by(self) -> dict[str, int | None]:
        """By path, the snapshot that brought each live file."""
        held = self._plan.held
        return {
            entry.data_file.file_path: entry.snapshot_id
            for manifest in self._snapshot.manifests(held.io)
            if manifest.content == ManifestContent.DATA
            for entry in manifest.fetch_manifest_entry(held.io)
        }

    def _version(self, snapshot_id: int) -> Version:
        snapshot = self._plan.held.snapshot_by_id(snapshot_id)
        if snapshot is None:
            return Version(snapshot_id, None, None)
        return Version(snapshot_id, snapshot.timestamp_ms, snapshot.summary.operation.value if snapshot.summary else None)


def _holds(receipt: Receipt, offset: int) -> bool:
    return receipt.first_offset is not None and receipt.last_offset is not None and receipt.first_offset <= offset <= receipt.last_offset
