"""Who is released first: readers before writers of what is new, writers before readers of what is taken away."""

from __future__ import annotations

from infra.contracts.compare import Finding
from infra.portal import things
from infra.portal.graph import HOLDS, READS, WRITES, Edge, Graph, Node
from infra.portal.release import release


def stream(topic: str, writers: str, readers: str) -> list[Edge]:
    """A topic with one event of one version, between services."""
    event, version = things.event(topic, "Said"), things.version(topic, "Said", 1)
    edges = [Edge(things.topic(topic), event, HOLDS), Edge(event, version, HOLDS)]
    edges += [Edge(Node("service", name), event, WRITES) for name in writers]
    edges += [Edge(place, Node("service", name), READS) for name in readers for place in (version, things.topic(topic))]
    return [*edges, Edge(version, things.table(topic), READS)]


def steps(what: str, edges: list[Edge], *topics: str) -> list[str]:
    findings = [Finding(topic, what, True, "", "Said", 1) for topic in topics]
    return ["".join(node.name for node in step.programs) for step in release(findings, Graph(edges))]


def test_readers_learn_a_new_version_before_it_is_written() -> None:
    assert steps("version added", stream("t", "wx", "ab"), "t") == ["ab", "wx"]


def test_writers_stop_before_readers_forget() -> None:
    assert steps("version removed", stream("t", "wx", "ab"), "t") == ["wx", "ab"]


def test_an_optional_field_asks_for_no_order() -> None:
    assert steps("field added", stream("t", "w", "a"), "t") == []


def test_changes_of_two_topics_are_put_in_one_order() -> None:
    edges = [*stream("t", "w", "m"), *stream("u", "m", "z")]
    assert steps("version added", edges, "t", "u") == ["z", "m", "w"]
    assert steps("version removed", edges, "t", "u") == ["w", "m", "z"]


def test_a_service_that_reads_what_it_writes_stands_between_the_others() -> None:
    assert steps("version added", stream("t", "mw", "ma"), "t") == ["a", "m", "w"]


def test_services_that_answer_each_other_are_released_together() -> None:
    edges = [*stream("t", "a", "b"), *stream("u", "b", "ac")]
    assert steps("version added", edges, "t", "u") == ["c", "ab"]


def test_a_change_of_a_topic_asks_for_the_order_of_all_that_write_and_read_it() -> None:
    found = release([Finding("t", "event-time window narrowed", False, "")], Graph(stream("t", "w", "a")))
    assert [[str(node) for node in step.programs] for step in found] == [["service w"], ["service a"]]
    assert found[0].because == ("t: event-time window narrowed",)
