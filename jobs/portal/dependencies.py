"""The dependency graph of this system, gathered from what declares each part: nothing in it is written down a second time.

Contracts say topics, events, fields, producers and consumers; the services' message classes which fields they decode; `features.made_from`
from which fields a feature is folded; manifests what a model takes; `lakehouse.tables` the tables, `jobs.archive_columns` which job writes
which of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from features.made_from import EVENT, TABLES, TOPIC
from features.made_from import MADE_FROM as FEATURES
from infra.config import Settings
from infra.contracts.contract import Contracts
from infra.contracts.fields import fields_of
from infra.contracts.load import load_contracts
from infra.portal import things
from infra.portal.contract_graph import contract_graph, stands_as
from infra.portal.graph import HAS, HOLDS, MADE_FROM, READS, WRITES, Edge, Graph, Node
from infra.stack.services import SHOP
from jobs.archive_columns import ARCHIVED
from jobs.participants import participants
from jobs.portal import endpoints
from jobs.portal.columns import column_edges
from jobs.portal.iceberg import tables_under
from jobs.portal.readings import readings
from jobs.shop import analytics, notification, project
from jobs.submit import ALL_JOBS, SCORER
from lakehouse.tables import RECEIPTS
from models.manifest import FILE, PUBLISHED, Manifest, load_manifest

ANSWERED = ("data.score", "data.decision", "data.features")
"""What of a prediction its model makes."""
_FOLD = "rebuild_features"


def gather(settings: Settings, contracts: Contracts | None = None) -> Graph:
    """The graph under these contracts; ours when left out."""
    contracts = contracts or load_contracts()
    said = contract_graph(contracts, readings(settings), kind_of(settings))
    edges = [*said.edges, *_groups(settings), *_tables(contracts), *_features(contracts), *_read_models(contracts)]
    about = {**said.about, **_described(contracts)}
    for manifest in manifests():
        edges += _model(contracts, manifest, scores=manifest.id == settings.score_events.model)
        about[Node("model", manifest.id)] = {"owner": manifest.owner, "description": manifest.description}
    return Graph(list(dict.fromkeys(edges)), about)


def kind_of(settings: Settings) -> Callable[[str], str]:
    """Tells of a producer's or consumer's name in a contract what it is."""
    services = {*SHOP, *participants(settings), project.NAME, analytics.GROUP, notification.GROUP, "meter", "keeper"}

    def kind(name: str) -> str:
        if name.startswith("./streamhouse"):
            return "command"
        if name in services:
            return "service"
        return "job" if name in (*ALL_JOBS, _FOLD) else "party"

    return kind


def manifests(root: Path = PUBLISHED) -> list[Manifest]:
    """Of every published model, by name and version.

    Raises:
        ModelRefused: one of them cannot be read.

    """
    found = [load_manifest(file.parent) for file in root.glob(f"*/*/{FILE}")]
    return sorted(found, key=lambda manifest: (manifest.name, int(manifest.version)))


def _groups(settings: Settings) -> Iterator[Edge]:
    """Consumer groups, called as who reads in them."""
    reads = {("service", one.name): one.topics for one in participants(settings).values()}
    reads |= {("service", one.GROUP): tuple(sorted({kind.topic for kind in one.HEARS})) for one in (notification, analytics)}
    reads |= {("job", SCORER): (TOPIC,)} | {("job", job): topics for job, topics in ARCHIVED.items()}
    for (kind, name), topics in reads.items():
        group = Node("group", name)
        yield Edge(group, Node(kind, name), HOLDS, "a member of it")
        yield from (Edge(things.topic(topic), group, READS) for topic in topics)


def _tables(contracts: Contracts) -> Iterator[Edge]:
    jobs = {topic: job for job, topics in ARCHIVED.items() for topic in topics}
    for table in tables_under(contracts).values():
        yield from (Edge(things.table(table.name), things.column(table.name, column.name), HOLDS) for column in table.columns)
    for topic in contracts.topics.values():
        if topic.table is None:
            continue
        yield Edge(things.topic(topic.name), things.table(topic.table), MADE_FROM, "its archive")
        yield Edge(things.table(topic.table), things.table(RECEIPTS.name), MADE_FROM, "a receipt of each snapshot")
        if topic.name in jobs:
            yield Edge(Node("job", jobs[topic.name]), things.table(topic.table), WRITES)
        yield from column_edges(topic, contracts)
    yield Edge(Node("job", _FOLD), things.table(TABLES["user_activity"]), WRITES)


def _features(contracts: Contracts) -> Iterator[Edge]:
    topic = contracts.topics.get(TOPIC)
    for view, features in FEATURES.items():
        at, table = Node("feature_view", view), TABLES[view]
        for feature, paths in features.items():
            made, column = things.feature(view, feature), things.column(table, feature)
            yield Edge(at, made, HOLDS)
            yield Edge(made, column, MADE_FROM) if paths else Edge(column, made, MADE_FROM)
            for number in topic.versions(EVENT) if topic else ():
                for path in paths:
                    found = stands_as(topic, contracts, EVENT, path, number) if topic else None
                    if found:
                        yield Edge(things.field(TOPIC, EVENT, number, found), made, MADE_FROM)


def _model(contracts: Contracts, manifest: Manifest, *, scores: bool) -> Iterator[Edge]:
    """What a model takes and, of the one that scores now, what is made of it."""
    model = Node("model", manifest.id)
    for column in manifest.inputs:
        view, _, name = column.source.partition(":")
        if view != "action":
            yield Edge(things.feature(view, name), model, MADE_FROM, f"input {column.name}")
            continue
        topic = contracts.topics.get(TOPIC)
        for number in topic.versions(EVENT) if topic else ():
            path = stands_as(topic, contracts, EVENT, f"data.{_camel(name)}", number) if topic else None
            if path:
                yield Edge(things.field(TOPIC, EVENT, number, path), model, MADE_FROM, f"input {column.name}")
    yield from (Edge(things.table(table), model, MADE_FROM, "trained on it") for table in sorted(manifest.training.snapshot_ids))
    if scores:
        yield Edge(model, Node("job", SCORER), READS)
        answers = contracts.topics.get("predictions")
        for kind, number in answers.events if answers else ():
            schema = contracts.schemas.get((kind, number))
            there = () if schema is None else fields_of(schema)
            yield from (Edge(model, things.field("predictions", kind, number, path), MADE_FROM) for path in ANSWERED if path in there)


def _read_models(contracts: Contracts) -> Iterator[Edge]:
    web = Node("service", endpoints.SERVICE)
    for projection in project.PROJECTIONS:
        model = Node("read_model", projection.name)
        yield from (Edge(model, things.column(projection.name, column.name), HAS) for column in projection.view.c)
        yield Edge(model, web, READS)
        yield Edge(Node("service", project.NAME), model, WRITES)
    counts = Node("read_model", analytics.COUNTS.name)
    yield from (Edge(counts, things.column(counts.name, column.name), HAS) for column in analytics.COUNTS.c)
    yield Edge(Node("service", analytics.GROUP), counts, WRITES)
    yield from (Edge(web, Node("endpoint", name), HAS) for name in endpoints.names())


def _described(contracts: Contracts) -> dict[Node, Mapping[str, str]]:
    found: dict[Node, Mapping[str, str]] = {}
    for table in tables_under(contracts).values():
        found[things.table(table.name)] = {"owner": table.owner, "description": table.doc}
        for column in table.columns:
            found[things.column(table.name, column.name)] = {"description": column.doc, "unit": column.unit, "type": column.type}
    return found


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
