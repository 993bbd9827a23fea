"""In which order programs are released, so that none meets what it does not know yet. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from infra.contracts.compare import Finding
from infra.portal import things
from infra.portal.graph import READS, WRITES, Graph, Node, order

PROGRAMS = ("job", "service", "command", "party")
READERS_FIRST = frozenset(
    {
        *("version added", "event type added", "limit loosened", "type widened", "message size raised", "event-time window widened"),
        *("field removed", "field renamed", "made optional", "type changed", "unit changed", "topic removed"),
    }
)
"""Of which a reader must know before the first such event is sent; what breaks is sent in the new version that its sentence names."""
WRITERS_FIRST = frozenset(
    {
        *("version removed", "event type removed", "narrowed", "made required", "required field added", "message size lowered"),
        *("event-time window narrowed", "deprecation hastened"),
    }
)
"""Changes after which a reader refuses what writers may still send."""


@dataclass(frozen=True)
class Step:
    """Programs that are released together, behind all of the steps before; `because`: the changes that ask for their place."""

    programs: tuple[Node, ...]
    because: tuple[str, ...]


def release(findings: Iterable[Finding], graph: Graph) -> list[Step]:
    """Who is released first, and who then; empty where the order does not matter.

    Readers come before writers for what they must know first, writers before readers for what is taken away. Programs that must each
    come before the other stand in one step: they read and write, so each is released as a reader of the new before it writes it.
    """
    before: dict[Node, set[Node]] = {}
    because: dict[Node, set[str]] = {}
    for finding in findings:
        readers, writers = _programs(finding, graph)
        first, then = (readers, writers) if finding.what in READERS_FIRST else (writers, readers)
        if finding.what not in READERS_FIRST | WRITERS_FIRST or not (first and then):
            continue
        for node in {*first, *then}:
            because.setdefault(node, set()).add(f"{finding.place}: {finding.what}")
            before.setdefault(node, set())
        for late in then:
            before[late] |= first - {late}
    return [Step(nodes, tuple(sorted(set[str]().union(*(because[node] for node in nodes))))) for nodes in _layers(before)]


def _programs(finding: Finding, graph: Graph) -> tuple[set[Node], set[Node]]:
    """Who reads and who writes what changes."""
    topic, kind = finding.topic, finding.event_type
    if kind is None:
        events = [edge.target for edge in graph.following.get(things.topic(topic), ()) if edge.target.kind == "event"]
    else:
        events = [things.event(topic, kind)]
    places = [things.topic(topic)] if kind is None else [edge.target for event in events for edge in graph.following.get(event, ())]
    readers = {edge.target for place in places for edge in graph.following.get(place, ()) if edge.how == READS}
    writers = {edge.source for event in events for edge in graph.leading.get(event, ()) if edge.how == WRITES}
    return {node for node in readers if node.kind in PROGRAMS}, {node for node in writers if node.kind in PROGRAMS}


def _layers(before: dict[Node, set[Node]]) -> Iterator[tuple[Node, ...]]:
    """Each node behind those that must come before it; nodes in a circle together."""
    behind = {node: _reached(before, node) for node in before}
    placed: set[Node] = set()
    while len(placed) < len(before):
        # of the nodes before it, those that it must precede as well are in its circle
        ready = [
            node
            for node in before
            if node not in placed and all(other in placed or node in behind[other] for other in behind[node] - {node})
        ]
        placed |= set(ready)
        yield tuple(sorted(ready, key=order))


def _reached(before: dict[Node, set[Node]], start: Node) -> set[Node]:
    found, open_now = set[Node](), [start]
    while open_now:
        for node in before[open_now.pop()] - found:
            found.add(node)
            open_now.append(node)
    return found
