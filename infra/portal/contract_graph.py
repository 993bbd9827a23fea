"""What the contracts alone say of the graph: domains, topics, events, versions, fields, who writes and who reads them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from infra.contracts.contract import Contracts, EventSchema, Topic
from infra.contracts.fields import Field, fields_of
from infra.contracts.lineage import data_fields, line
from infra.portal import things
from infra.portal.graph import HOLDS, MADE_FROM, READS, WRITES, Edge, Graph, Node

ENVELOPE = frozenset({"eventType", "eventId", "timestamp", "version", "source", "correlationId"})
"""What every reader reads."""


@dataclass(frozen=True)
class Reading:
    """That code reads an event type of a topic, or its topic alone where `event_type` is empty. `fields`: paths, None: all of it.

    `how`: it reads them, or is made from them.
    """

    reader: Node
    topic: str
    event_type: str = ""
    fields: Collection[str] | None = None
    how: str = READS


def contract_graph(contracts: Contracts, readings: Iterable[Reading], kind_of: Callable[[str], str]) -> Graph:
    """The graph of the contracts and of what is said to read their events.

    A consumer of whose reading nothing is known is taken to read all of each event on its topic. `kind_of`: of a producer or consumer.
    """
    edges: list[Edge] = []
    about: dict[Node, Mapping[str, str]] = {}
    said = list(readings)
    for topic in contracts.topics.values():
        about |= _about(topic)
        edges += _held(topic, contracts)
        edges += _upcast(topic, contracts)
        known = {reading.reader for reading in said if reading.topic == topic.name}
        consumers = [Node(kind_of(name), name) for name in topic.consumers]
        whole = [Reading(node, topic.name, kind) for node in consumers if node not in known for kind in _types(topic)]
        for reading in [*(one for one in said if one.topic == topic.name), *whole]:
            edges += read_edges(topic, contracts, reading)
        producers = (Node(kind_of(name), name) for name in topic.producers)
        edges += [Edge(node, things.event(topic.name, kind), WRITES) for node in producers for kind in _types(topic)]
    return Graph(list(dict.fromkeys(edges)), about)


def read_edges(topic: Topic, contracts: Contracts, reading: Reading) -> Iterator[Edge]:
    """From the topic, the event's versions and their fields to who reads them. Fields are named as in any version."""
    yield Edge(things.topic(topic.name), reading.reader, READS)
    for number in topic.versions(reading.event_type):
        yield Edge(things.version(topic.name, reading.event_type, number), reading.reader, reading.how)
        schema = contracts.schemas.get((reading.event_type, number))
        for path in () if schema is None else _read(topic, contracts, reading, schema):
            yield Edge(things.field(topic.name, reading.event_type, number, path), reading.reader, reading.how)


def stands_as(topic: Topic, contracts: Contracts, event_type: str, path: str, number: int) -> str | None:
    """The path, in one version of an event, of a field that has this path in some version; None: that version has none."""
    schema = contracts.schemas.get((event_type, number))
    if schema is None:
        return None
    if path in fields_of(schema):
        return path
    name, rest = _first(path)
    for other in topic.versions(event_type)[::-1]:
        there = contracts.schemas.get((event_type, other))
        if there is None or not name or name not in data_fields(there):
            continue
        found = line(topic, event_type, name, other, number).name
        if found is not None and f"data.{found}{rest}" in fields_of(schema):
            return f"data.{found}{rest}"
    return None


def _first(path: str) -> tuple[str, str]:
    """`data.items[].sku` -> `items`, `[].sku`; an empty name for a field of the envelope."""
    if not path.startswith("data."):
        return "", ""
    name = path.removeprefix("data.").split(".")[0].removesuffix("[]")
    return name, path[len("data.") + len(name) :]


def _read(topic: Topic, contracts: Contracts, reading: Reading, schema: EventSchema) -> Iterator[str]:
    if reading.fields is None:
        yield from fields_of(schema)
        return
    wanted = {stands_as(topic, contracts, reading.event_type, path, schema.version) for path in reading.fields}
    yield from sorted(path for path in wanted if path is not None)


def _types(topic: Topic) -> list[str]:
    return sorted({kind for kind, _ in topic.events})


def _held(topic: Topic, contracts: Contracts) -> Iterator[Edge]:
    at = things.topic(topic.name)
    yield Edge(Node("domain", topic.domain), at, HOLDS)
    if topic.dead_letter_topic is not None:
        yield Edge(at, things.topic(topic.dead_letter_topic), MADE_FROM, "its dead letters")
    for kind, number in topic.events:
        event, version = things.event(topic.name, kind), things.version(topic.name, kind, number)
        yield Edge(at, event, HOLDS)
        yield Edge(event, version, HOLDS)
        schema = contracts.schemas.get((kind, number))
        for field in () if schema is None else fields_of(schema).values():
            within = field.within.rstrip("[]")
            holder = things.field(topic.name, kind, number, within) if within else version
            yield Edge(holder, things.field(topic.name, kind, number, field.path), HOLDS)


def _upcast(topic: Topic, contracts: Contracts) -> Iterator[Edge]:
    """An old version's field reaches readers as the field of the next version that it becomes."""
    for kind, number in topic.events:
        before = [one for one in topic.versions(kind) if one < number]
        if not before or (kind, before[-1]) not in contracts.schemas or (kind, number) not in contracts.schemas:
            continue
        for field in fields_of(contracts.schemas[kind, before[-1]]).values():
            after = _becomes(topic, contracts, kind, field, before[-1], number)
            if after is not None:
                old, new = (things.field(topic.name, kind, n, path) for n, path in ((before[-1], field.path), (number, after)))
                yield Edge(old, new, MADE_FROM, "upcast")


def _becomes(topic: Topic, contracts: Contracts, kind: str, field: Field, before: int, number: int) -> str | None:
    name, rest = _first(field.path)
    found = line(topic, kind, name, before, number).name if name else None
    path = f"data.{found}{rest}" if found else field.path
    return path if path in fields_of(contracts.schemas[kind, number]) else None


def _about(topic: Topic) -> dict[Node, Mapping[str, str]]:
    found: dict[Node, Mapping[str, str]] = {
        things.topic(topic.name): {"owner": topic.owner, "description": topic.description, "file": topic.file.name}
    }
    for (kind, number), gone in topic.deprecations.items():
        instead = f"{gone.replacement[0]} {gone.replacement[1]}"
        found[things.version(topic.name, kind, number)] = {"deprecated": gone.ends.isoformat(), "owner": gone.owner, "replacement": instead}
    return found
