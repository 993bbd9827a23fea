"""What depends on what: nodes, edges from what is read to what is made of it, and what a change at some of them hits. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

KINDS = (
    *("domain", "topic", "event", "version", "field"),
    *("job", "service", "group", "command", "party"),
    *("table", "column", "read_model", "feature_view", "feature", "feature_service", "model", "endpoint"),
)
"""From what is said to what is made of it; lists are sorted so. `command`: of `./streamhouse`; `party`: people and programs elsewhere."""
HOLDS, READS, MADE_FROM, WRITES, HAS = "holds", "reads", "made from", "writes", "has"
"""How an edge holds: the source contains the target; the target reads it; is made from it; is what the source writes; or belongs to it.

Over `DATA` a change reaches what reads a thing and what is computed from it. Over `WRITES` it also reaches all that services say because
of it, and over `HAS` each part of a whole of which some part is hit.
"""
DATA = frozenset({HOLDS, READS, MADE_FROM})
_VERBS = {HOLDS: "is part of", READS: "reads", MADE_FROM: "is made from", WRITES: "is written by", HAS: "belongs to"}
_RANK = {kind: rank for rank, kind in enumerate(KINDS)}


@dataclass(frozen=True)
class Node:
    """One thing. `name` is unique within its kind: `orders`, `orders/OrderPlaced/1/data.cents`, `predictions.score`, `purchase_30m@1`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.name}"


@dataclass(frozen=True)
class Edge:
    """A change of `source` hits `target`. `how`: one of the words above; `why`: what says so, where the words do not."""

    source: Node
    target: Node
    how: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.target} {_VERBS.get(self.how, self.how)} {self.source}" + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True)
class Graph:
    """Nodes with what is known of each, and edges; a node that an edge names is there even where it is not listed."""

    edges: Collection[Edge]
    about: Mapping[Node, Mapping[str, str]] = field(default_factory=dict)
    """Owner, description and the like, by node."""

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All of them, by kind and name."""
        ends = (node for edge in self.edges for node in (edge.source, edge.target))
        return tuple(sorted({*self.about, *ends}, key=order))

    @cached_property
    def following(self) -> Mapping[Node, tuple[Edge, ...]]:
        """The edges that leave each node, in the order of their targets."""
        return _gathered((edge.source, edge) for edge in sorted(self.edges, key=lambda edge: order(edge.target)))

    @cached_property
    def leading(self) -> Mapping[Node, tuple[Edge, ...]]:
        """The edges that lead to each node, in the order of their sources."""
        return _gathered((edge.target, edge) for edge in sorted(self.edges, key=lambda edge: order(edge.source)))

    def of_kind(self, *kinds: str) -> tuple[Node, ...]:
        """The nodes of some kinds."""
        return tuple(node for node in self.nodes if node.kind in kinds)


@dataclass(frozen=True)
class Hit:
    """A node that a change reaches. `steps`: how many edges lie on a shortest way from where the change is."""

    node: Node
    steps: int
    by: Mapping[Node, Edge | None] = field(repr=False, compare=False)
    """The last edge of the way to each node that is reached, None for the starts: shared by all hits, for there may be many long ways."""

    @cached_property
    def path(self) -> tuple[Edge, ...]:
        """A shortest way, edge by edge from where the change is."""
        edges: list[Edge] = []
        edge = self.by[self.node]
        while edge is not None:
            edges.append(edge)
            edge = self.by[edge.source]
        return tuple(edges[::-1])

    @property
    def why(self) -> str:
        """The way in words, from the node back to the change."""
        return ", which ".join([str(self.path[-1]), *(str(edge).removeprefix(f"{edge.target} ") for edge in self.path[-2::-1])])


def order(node: Node) -> tuple[int, str, str]:
    """By kind, then name."""
    return _RANK.get(node.kind, len(KINDS)), node.kind, node.name


def hit_by(graph: Graph, starts: Iterable[Node], over: Collection[str] | None = None) -> list[Hit]:
    """All that a change of `starts` reaches over edges of some kinds (None: all), nearest first, then by kind and name.

    The starts themselves are not among them. Circles are walked once.
    """
    begun = sorted(set(starts), key=order)
    by: dict[Node, Edge | None] = dict.fromkeys(begun)
    found: list[Hit] = []
    ring, steps = begun, 0
    while ring:
        reached: dict[Node, Edge] = {}
        for node in ring:
            for edge in graph.following.get(node, ()):
                if edge.target not in by and (over is None or edge.how in over):
                    reached.setdefault(edge.target, edge)
        ring, steps = sorted(reached, key=order), steps + 1
        by |= {node: reached[node] for node in ring}
        found += [Hit(node, steps, by) for node in ring]
    return found


def _gathered(pairs: Iterable[tuple[Node, Edge]]) -> dict[Node, tuple[Edge, ...]]:
    found: dict[Node, list[Edge]] = {}
    for node, edge in pairs:
        found.setdefault(node, []).append(edge)
    return {node: tuple(edges) for node, edges in found.items()}
