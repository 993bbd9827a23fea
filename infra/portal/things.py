"""How the things of this system are called as nodes of the graph."""

from __future__ import annotations

from infra.portal.graph import Node


def topic(name: str) -> Node:
    """A topic."""
    return Node("topic", name)


def event(topic_name: str, event_type: str) -> Node:
    """An event type on its topic; dead letters lie on several."""
    return Node("event", f"{topic_name}/{event_type}")


def version(topic_name: str, event_type: str, number: int) -> Node:
    """A version of an event type."""
    return Node("version", f"{topic_name}/{event_type}/{number}")


def field(topic_name: str, event_type: str, number: int, path: str) -> Node:
    """A field of a version, by its path: `data.userId`, `data.items[].sku`."""
    return Node("field", f"{topic_name}/{event_type}/{number}/{path}")


def table(name: str) -> Node:
    """An Iceberg table."""
    return Node("table", name)


def column(owner: str, name: str) -> Node:
    """A column of a table or of a read model."""
    return Node("column", f"{owner}.{name}")


def feature(view: str, name: str) -> Node:
    """A feature, as models name it."""
    return Node("feature", f"{view}:{name}")
