"""Everything that is declared -> the catalogue: contracts, feature definitions, model manifests, tables, services, commands."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import msgspec

from features.described import described
from infra.config import Settings
from infra.contracts.contract import Contracts, Upcast
from infra.contracts.contract import Topic as Contract
from infra.contracts.load import load_contracts
from infra.contracts.registry import subject_of
from infra.portal.catalogue import (
    Catalogue,
    Column,
    Deprecated,
    EventVersion,
    Example,
    Feature,
    FeatureView,
    Model,
    ModelInput,
    Program,
    Table,
    Topic,
)
from infra.portal.graph import READS, Graph, Node
from infra.stack.services import SHOP
from jobs.portal.commands import command_help
from jobs.portal.dependencies import gather, kind_of
from jobs.portal.iceberg import tables_under
from jobs.portal.schema_fields import fields
from jobs.shop import analytics
from jobs.shop.project import PROJECTIONS
from jobs.submit import ALL_JOBS
from models.manifest import list_published, load_manifest, published

_COMMAND = "./streamhouse "
_WITHOUT_FILE = {"carrier": "Takes parcels that are ready, and says which left: stands for a carrier's own system."}
_DAY_MS = 86_400_000


def declared(settings: Settings, contracts: Contracts | None = None) -> Catalogue:
    """The catalogue of these settings. The first call imports Feast, which takes seconds; nothing that runs is asked."""
    contracts = contracts or load_contracts()
    graph = gather(settings, contracts)
    return Catalogue(
        topics=tuple(_topic(contracts, topic, settings.root) for topic in contracts.topics.values()),
        tables=(*_iceberg_tables(contracts), *_read_models()),
        views=_views(settings),
        models=_models(settings),
        programs=_programs(settings, contracts, graph),
        graph=graph,
        links={"Flink": settings.flink.rest_url, "Registry": settings.registry.url, "Feast": settings.portal.feast_url},
    )


def _topic(contracts: Contracts, topic: Contract, root: Path) -> Topic:
    return Topic(
        name=topic.name,
        domain=topic.domain,
        owner=topic.owner,
        description=topic.description,
        key=topic.key.field or "the key of the record that it answers",
        partitioner=topic.key.partitioner,
        partitions=topic.partitions,
        kept=kept(topic),
        compatibility=topic.compatibility,
        max_message_bytes=topic.max_message_bytes,
        producers=topic.producers,
        consumers=topic.consumers,
        dead_letter_topic=topic.dead_letter_topic,
        table=topic.table,
        versions=tuple(_version(contracts, topic, *event) for event in sorted(topic.events)),
        examples=tuple(_example(one.name, one.value) for one in topic.valid if one.value is not None),
        file=str(topic.file.relative_to(root)) if topic.file.is_relative_to(root) else topic.file.name,
        is_compacted=topic.cleanup == "compact",
    )


def kept(topic: Contract) -> str:
    """How long records stay, in words."""
    if topic.cleanup == "compact":
        return "the latest record of each key"
    return "without limit" if topic.retention_ms is None else f"{topic.retention_ms / _DAY_MS:g} days"


def _version(contracts: Contracts, topic: Contract, event_type: str, version: int) -> EventVersion:
    schema = contracts.schemas[event_type, version].document
    ending = topic.deprecations.get((event_type, version))
    upcast = topic.upcasts.get((event_type, version))
    return EventVersion(
        event_type=event_type,
        version=version,
        description=str(schema.get("description", "")),
        subject=subject_of(topic.name, event_type, version),
        fields=fields(schema),
        schema=schema,
        deprecated=None if ending is None else Deprecated(ending.ends.isoformat(), ending.owner, " ".join(map(str, ending.replacement))),
        follows=() if upcast is None else _followed(upcast),
    )


def _followed(upcast: Upcast) -> tuple[str, ...]:
    renamed = [f"{old} becomes {new}" for old, new in upcast.renamed.items()]
    filled = [f"{name} is filled with {json.dumps(value)}" for name, value in upcast.filled.items()]
    return (*renamed, *filled) or ("all names stay",)


def _example(name: str, value: bytes) -> Example:
    document = json.loads(value)
    return Example(name, str(document.get("eventType", "")), int(document.get("version", 0)), document)


def _iceberg_tables(contracts: Contracts) -> tuple[Table, ...]:
    topics = {topic.table: topic.name for topic in contracts.topics.values() if topic.table}
    return tuple(
        Table(
            name=table.name,
            kind="iceberg",
            owner=table.owner,
            description=table.doc,
            retention=table.retention,
            layout=", ".join(column if how == "identity" else f"{how} of {column}" for column, how in table.partition),
            columns=tuple(Column(column.name, column.type, column.unit, column.doc) for column in table.columns),
            topics=(topics[table.name],) if table.name in topics else (),
        )
        for table in tables_under(contracts).values()
    )


def _read_models() -> tuple[Table, ...]:
    kept = "as its events; made again from them"
    made = [
        Table(
            name=projection.name,
            kind="read model",
            owner="order-team",
            description=f"Version {projection.version}, made of events by the service read-models; query the view of this name.",
            retention=kept,
            layout="",
            columns=tuple(_column(column) for column in projection.query(*projection.tables).selected_columns),
            topics=tuple(projection.topics),
        )
        for projection in PROJECTIONS
    ]
    counts, said = analytics.COUNTS, "Orders by status and hour, counted by the service analytics."
    topics = tuple(sorted({kind.topic for kind in analytics.HEARS}))
    return (*made, Table(counts.name, "read model", "order-team", said, kept, "", tuple(_column(one) for one in counts.c), topics))


def _column(column: Any) -> Column:  # noqa: ANN401 - SQLAlchemy's columns, of a table or of a query
    """Its comment says what it is, and its unit in the brackets at its end."""
    text, _, unit = (column.comment or "").removesuffix(".").rpartition(" (")
    return Column(column.name, str(column.type).lower(), unit.removesuffix(")"), f"{text}." if text else "")


def _views(settings: Settings) -> tuple[FeatureView, ...]:
    return tuple(
        FeatureView(
            name=view.name,
            owner=view.owner,
            description=view.description,
            entity=view.entity,
            freshness=view.freshness,
            table=view.table,
            features=tuple(Feature(f"{view.name}:{one.name}", one.name, one.type, one.unit, one.description) for one in view.features),
            services=view.services,
        )
        for view in described(settings)
    )


def _models(settings: Settings) -> tuple[Model, ...]:
    root = settings.root / "models" / "published"
    found = []
    for name in list_published(root):
        manifest = load_manifest(published(root, name))
        model, baseline = (msgspec.to_builtins(scores) for scores in (manifest.metrics.model, manifest.metrics.baseline))
        found.append(
            Model(
                id=name,
                owner=manifest.owner,
                description=manifest.description,
                sha256=manifest.sha256,
                threshold=manifest.threshold,
                meaning=manifest.output.meaning,
                label=manifest.training.label,
                feature_service=manifest.feature_service,
                inputs=tuple(ModelInput(one.name, one.source, one.default, one.vocabulary or ()) for one in manifest.inputs),
                metrics={metric: (value, baseline[metric]) for metric, value in model.items()},
                trained_from=tuple(sorted(manifest.training.snapshot_ids)),
                serves=settings.score_events.model == name,
            )
        )
    return tuple(found)


def _programs(settings: Settings, contracts: Contracts, graph: Graph) -> tuple[Program, ...]:
    topics = contracts.topics.values()
    kinds = kind_of(settings)
    names = {name for topic in topics for name in (*topic.producers, *topic.consumers)} | set(ALL_JOBS) | set(SHOP)
    found = []
    for name in sorted(names, key=str.lower):
        file, text = _told(settings.root, name)
        found.append(
            Program(
                name=name,
                kind=kinds(name),
                description=text,
                file=file,
                reads=tuple(topic.name for topic in topics if name in topic.consumers),
                writes=tuple(topic.name for topic in topics if name in topic.producers),
                group=tuple(edge.source.name for edge in graph.leading.get(Node("group", name), ()) if edge.how == READS),
            )
        )
    return tuple(found)


def _told(root: Path, name: str) -> tuple[str, str]:
    """File and description of a program; of a party elsewhere nothing is known."""
    if name.startswith(_COMMAND):
        return "", command_help(name.removeprefix(_COMMAND))
    module = SHOP[name][0].replace(".", "/") if name in SHOP and SHOP[name][0] != "jobs.serve" else f"jobs/{name}"
    places = (f"{module}.py", f"jobs/shop/{name}.py", f"jobs/bank/{name}.py", f"jobs/{name}/run.py")
    found = next((place for place in places if (root / place).is_file()), None)
    return ("", _WITHOUT_FILE.get(name, "")) if found is None else _first_sentence(root, found)


def _first_sentence(root: Path, file: str) -> tuple[str, str]:
    """A module's file, and the first line of what it says of itself, but for the words that start it."""
    said = ast.get_docstring(ast.parse((root / file).read_text("utf-8"))) or ""
    return file, re.sub(r": `python -m [\w.]+`", "", said.partition("\n")[0])
