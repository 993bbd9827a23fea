"""What a declared Iceberg table is: columns with meaning and unit, layout, owner, retention. Plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType

from infra.contracts.columns import FieldColumn

FIELDS = "streamhouse.fields"
"""Property: how the field of each column is read from a value, as JSON by column: also in versions that no contract names any more."""
FROM_VALUE = "streamhouse.from-value"
"""Property: columns of fields that older rows, or those of a running archiver, may hold in the value's bytes alone; comma-separated."""


@dataclass(frozen=True)
class Column:
    """A nullable column. `type`: an Iceberg primitive, `list<primitive>` or `map<string,primitive>`.

    `field`: the field of a topic's events that it holds; its names before, the latest first, are `was`.
    """

    name: str
    type: str
    doc: str
    unit: str
    field: FieldColumn | None = None

    @property
    def was(self) -> tuple[str, ...]:
        """What the column was called before, the latest name first."""
        return () if self.field is None else self.field.was

    @property
    def comment(self) -> str:
        """What the table's own metadata says of the column."""
        return f"{self.doc} [{self.unit}]"


@dataclass(frozen=True)
class Table:
    """One table. `partition`: (column, transform) pairs; `sort`: columns in which readers may want the rows."""

    name: str
    doc: str
    owner: str
    retention: str
    columns: tuple[Column, ...]
    partition: tuple[tuple[str, str], ...] = ()
    sort: tuple[str, ...] = ()
    properties: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def all_properties(self) -> dict[str, str]:
        """Iceberg's table properties: the shared ones, the table's own, and who answers for it."""
        return {
            **_SHARED,
            **self.properties,
            "comment": self.doc,
            "streamhouse.owner": self.owner,
            "streamhouse.retention": self.retention,
        }


_SHARED = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.distribution-mode": "none",  # no shuffle between a topic's partition and its rows
    # two jobs and a reader share one catalog: a lost race is tried again, for minutes rather than for ever
    "commit.retry.num-retries": "20",
    "commit.retry.min-wait-ms": "50",
    "commit.retry.max-wait-ms": "2000",
    "commit.retry.total-timeout-ms": "120000",
    # one metadata file per commit would otherwise stay for ever
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
