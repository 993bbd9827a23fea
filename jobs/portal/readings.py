"""What the code of our services says that it reads: the message classes of participants, subscribers and projections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import inspect

from infra.config import Settings
from infra.portal.contract_graph import ENVELOPE, Reading
from infra.portal.graph import MADE_FROM, READS, Node
from jobs.participants import participants
from jobs.patterns.message import Message
from jobs.shop import analytics, notification, project


def readings(settings: Settings) -> Iterator[Reading]:
    """Of each service, by topic and event type, the fields that it decodes."""
    for one in participants(settings).values():
        service = Node("service", one.name)
        own = () if one.aggregate is None else (*one.aggregate.commands, *one.aggregate.events)
        yield from of_classes(service, (*own, *one.reactions))
        yield from (Reading(service, topic) for topic in one.topics)  # its dead letters come again there
    for projection in project.PROJECTIONS:
        yield from of_classes(Node("service", project.NAME), projection.events)
        yield from of_classes(Node("read_model", projection.name), projection.events, MADE_FROM)
    for listener in (notification, analytics):
        yield from of_classes(Node("service", listener.GROUP), listener.HEARS)
    yield from of_classes(Node("read_model", analytics.COUNTS.name), analytics.HEARS, MADE_FROM)


def of_classes(reader: Node, classes: Iterable[type[Message]], how: str = READS) -> Iterator[Reading]:
    """The reading of who decodes messages into these classes."""
    for kind in classes:
        yield Reading(reader, kind.topic, kind.__name__, ENVELOPE | set(paths(kind)), how)


def paths(kind: type[msgspec.Struct]) -> Iterator[str]:
    """The fields of a message class as the schema calls them: `data.items[].sku`."""
    yield "data"
    yield from _paths(inspect.type_info(kind), "data")


def _paths(kind: inspect.Type, at: str) -> Iterator[str]:
    if isinstance(kind, inspect.StructType):
        for field in kind.fields:
            path = f"{at}.{field.encode_name}"
            yield path
            yield from _paths(field.type, path)
    elif isinstance(kind, inspect.ListType | inspect.VarTupleType):
        yield from _paths(kind.item_type, f"{at}[]")
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _paths(one, at)
