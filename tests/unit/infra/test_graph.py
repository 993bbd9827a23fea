"""What a change hits, beside a definition that squares a matrix until nothing is added."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import numpy as np
import pytest

from infra.portal.graph import DATA, HOLDS, KINDS, MADE_FROM, READS, WRITES, Edge, Graph, Node, hit_by, order

HOWS = (HOLDS, READS, MADE_FROM, WRITES)


def planted(nodes: int, edges: int, seed: int) -> Graph:
    """At random, circles and doubled edges included."""
    drawn = random.Random(seed)
    made = [Node(drawn.choice(KINDS), f"n{i:03}") for i in range(nodes)]
    joined = [Edge(drawn.choice(made), drawn.choice(made), drawn.choice(HOWS)) for _ in range(edges)]
    return Graph([*joined, *joined[:5]], {node: {} for node in made})


def by_definition(graph: Graph, starts: list[Node], over: frozenset[str]) -> dict[Node, int]:
    """How many edges lie between the starts and each node that they reach: from powers of the matrix of edges."""
    index = {node: i for i, node in enumerate(graph.nodes)}
    joined = np.zeros((len(index), len(index)), bool)
    for edge in graph.edges:
        if edge.how in over:
            joined[index[edge.source], index[edge.target]] = True
    reached = np.zeros(len(index), bool)
    reached[[index[start] for start in starts]] = True
    distance = dict.fromkeys(starts, 0)
    for step in range(1, len(index) + 1):
        reached = reached | (reached.astype(int) @ joined.astype(int) > 0)
        for node, i in index.items():
            if reached[i]:
                distance.setdefault(node, step)
    return {node: steps for node, steps in distance.items() if steps}


@pytest.mark.parametrize("seed", range(20))
def test_what_is_hit_is_exact_on_planted_graphs_of_200_nodes(seed: int) -> None:
    graph = planted(200, 120 + 20 * seed, seed)
    drawn = random.Random(-seed)
    starts = drawn.sample(graph.nodes, drawn.randint(1, 4))
    for over in (frozenset(HOWS), DATA):
        began = time.perf_counter()
        hits = hit_by(graph, starts, over)
        took = time.perf_counter() - began
        assert {hit.node: hit.steps for hit in hits} == by_definition(graph, starts, over)
        assert hits == sorted(hits, key=lambda hit: (hit.steps, order(hit.node)))
        for hit in hits:
            assert len(hit.path) == hit.steps
            assert hit.path[0].source in starts
            assert hit.path[-1].target == hit.node
            assert all(a.target == b.source for a, b in pairwise(hit.path))
            assert {edge.how for edge in hit.path} <= over
        assert took < 1, "the promise is a second"


def test_twenty_thousand_nodes_and_a_long_chain_are_walked() -> None:
    chain = [Node("topic", f"n{i:05}") for i in range(3_000)]
    crowd = [Node("column", f"c{i:05}") for i in range(17_000)]
    edges = [Edge(a, b, READS) for a, b in pairwise(chain)]
    edges += [Edge(chain[i % 3_000], node, MADE_FROM) for i, node in enumerate(crowd)]
    edges.append(Edge(chain[-1], chain[0], WRITES))
    hits = hit_by(Graph(edges), [chain[0]])
    assert len(hits) == 19_999
    assert max(hit.steps for hit in hits) == len(max(hits, key=lambda hit: hit.steps).path) == 3_000


def test_services_that_answer_each_other_are_each_named_once_and_without_what_they_write_not_at_all() -> None:
    orders, payments = Node("event", "orders/OrderPlaced"), Node("event", "payments/PaymentProcessed")
    order_service, payment = Node("service", "order"), Node("service", "payment")
    graph = Graph(
        [
            Edge(orders, payment, READS),
            Edge(payment, payments, WRITES),
            Edge(payments, order_service, READS, "notes it"),
            Edge(order_service, orders, WRITES),
        ]
    )
    assert [hit.node for hit in hit_by(graph, [orders])] == [payment, payments, order_service]
    assert [hit.node for hit in hit_by(graph, [orders], DATA)] == [payment]
    assert hit_by(graph, [orders])[-1].why == (
        "service order reads event payments/PaymentProcessed (notes it),"
        " which is written by service payment, which reads event orders/OrderPlaced"
    )


def test_a_start_that_nobody_knows_hits_nothing() -> None:
    assert hit_by(planted(10, 20, 1), [Node("topic", "other")]) == []
