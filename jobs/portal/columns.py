"""From the fields of a topic's events to the columns of its archive that hold them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.contracts.columns import FieldColumn, field_columns
from infra.contracts.contract import Contracts, Topic
from infra.contracts.fields import fields_of
from infra.portal import things
from infra.portal.contract_graph import stands_as
from infra.portal.graph import HOLDS, MADE_FROM, Edge
from jobs.archive_columns import EVENT_TOPICS
from jobs.portal.iceberg import tables_under

_ENVELOPE = {"eventType": "event_type", "eventId": "event_id", "timestamp": "event_time", "version": "event_version"}
_ENVELOPE |= {"source": "source", "correlationId": "correlation_id"}
_OF_ENVELOPE = frozenset(_ENVELOPE.values())
_ABOUT = {"data.topic": "source_topic", "data.partition": "source_partition"}  # of the records that an event is about, beside its own place


def column_edges(topic: Topic, contracts: Contracts) -> Iterator[Edge]:
    """Of every version of every event on an archived topic; columns that these contracts add to the table are there, too."""
    table = tables_under(contracts).get(topic.archive)
    derived = field_columns(contracts.schemas, topic) if all(event in contracts.schemas for event in topic.events) else ()
    yield from (Edge(things.table(topic.archive), things.column(topic.archive, one.name), HOLDS) for one in derived)
    names = ({column.name for column in table.columns} if table else set()) - {name for one in derived for name in (one.name, *one.was)}
    for kind, number in topic.events:
        schema = contracts.schemas.get((kind, number))
        for path in () if schema is None else fields_of(schema):
            held = [one.name for one in derived if one.event_type == kind and _holds(one, number, path)]
            held += [
                name for name in _by_name(topic, contracts, kind, path) if name in names and (path in _ENVELOPE) == (name in _OF_ENVELOPE)
            ]
            for name in dict.fromkeys(held):
                yield Edge(things.field(topic.name, kind, number, path), things.column(topic.archive, name), MADE_FROM)


def _holds(column: FieldColumn, number: int, path: str) -> bool:
    """A field as a whole: what lies inside of an object or a list stands in its column."""
    whole = f"data.{column.fields.get(number)}"
    return path == whole or path.startswith((f"{whole}.", f"{whole}["))


def _by_name(topic: Topic, contracts: Contracts, event_type: str, path: str) -> Iterator[str]:
    """What a column is called where the archive has one for the field: `data.userId` is `user_id`, in whichever version it is called so.

    A field of an object has the object's name before its own (`model_name`), an error's its own (`step`), a place of other records
    `source_` (`source_topic`); events of the shop and the bank are held whole.
    """
    if path in _ENVELOPE:
        yield _ENVELOPE[path]
    elif path in _ABOUT:
        yield _ABOUT[path]
    elif topic.name in EVENT_TOPICS:
        yield "data"
        if path == topic.key.field:
            yield "aggregate_id"
    elif "[]" not in path:
        alike = {stands_as(topic, contracts, event_type, path, number) for number in topic.versions(event_type)}
        for one in sorted(name for name in {path, *alike} if name):
            parts = one.removeprefix("data.").split(".")
            yield _snake("_".join(parts))
            if parts[0] == "error" and len(parts) > 1:
                yield _snake(parts[1])


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?<!_)(?=[A-Z])", "_", name).lower()
