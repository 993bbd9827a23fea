"""What jobs read and write, as catalogs of lineage name it: topics, tables, models, files. Plain values; nothing is asked of a service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from infra.config import Settings
from infra.contracts.load import load_contracts
from lakehouse.tables import declared


@dataclass(frozen=True)
class Field:
    """A column or a field of an event."""

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class Data:
    """A dataset by its namespace and name, both as OpenLineage's naming has them for its kind.

    `version`: a table's snapshot or a model's version; None: not told. `storage`: the table format, empty where it is no table.
    `also`: namespace and name by which a catalog knows it, where that is another.
    """

    namespace: str
    name: str
    fields: tuple[Field, ...] = ()
    owner: str = ""
    description: str = ""
    version: str | None = None
    storage: str = ""
    also: tuple[str, str] | None = None


def topic(settings: Settings, name: str) -> Data:
    """A topic of the contracts: the fields of its events, the newest version of each."""
    contracts = load_contracts()
    held = contracts.topics[name]
    newest = {kind: max(version for of, version in held.events if of == kind) for kind, _ in held.events}
    fields: dict[str, Field] = {}
    for event in newest.items():
        own = contracts.schemas[event].document.get("properties", {}).get("data", {}).get("properties", {})
        for field, schema in own.items():
            fields.setdefault(field, Field(f"data.{field}", _json_type(schema), str(schema.get("description", ""))))
    server = settings.kafka.servers.split(",")[0].strip()
    return Data(f"kafka://{server}", name, tuple(fields.values()), held.owner, held.description)


def table(settings: Settings, name: str, snapshot_id: int | None = None) -> Data:
    """An Iceberg table as its declaration has it; `snapshot_id`: the state that was read or made."""
    held, lake = declared(name), settings.lake
    fields = tuple(Field(column.name, column.type, column.comment) for column in held.columns)
    where = f"{lake.warehouse.rstrip('/')}/{lake.namespace}/{name}"
    parts = urlsplit(where)
    namespace, path = ("file", parts.path) if parts.scheme == "file" else (f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/"))
    catalog = lake.rest_uri or lake.database.as_uri()
    version = None if snapshot_id is None else str(snapshot_id)
    return Data(namespace, path, fields, held.owner, held.doc, version, "iceberg", (catalog, f"{lake.namespace}.{name}"))


def tables(settings: Settings, snapshots: Mapping[str, int | None]) -> list[Data]:
    """Tables as of their snapshots, but for those that were empty."""
    return [table(settings, name, pinned) for name, pinned in snapshots.items() if pinned is not None]


def model(root: Path, name: str, version: str) -> Data:
    """A published model: the folder below `root` that holds it."""
    return Data("file", str(root / name / version), version=version, description=f"Published model {name}@{version}.")


def file(path: Path, description: str) -> Data:
    """A file or folder that is none of the others."""
    return Data("file", str(path.resolve()), description=description)


def _json_type(schema: Mapping[str, object]) -> str:
    kind = schema.get("type", "")
    return "|".join(map(str, kind)) if isinstance(kind, list) else str(kind)
