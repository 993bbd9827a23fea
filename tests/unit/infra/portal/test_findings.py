from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from infra.portal.catalogue import Catalogue
from infra.portal.findings import findings
from infra.portal.live import Seen, SeenGroup, SeenJob, SeenTable, SeenTopic, SeenVersion
from tests.portal import DAY, NOW, deprecated, ours, planted, well

Found = list[tuple[str, str, str]]


@pytest.fixture
def catalogue() -> Catalogue:
    return ours()


@pytest.fixture
def seen(catalogue: Catalogue) -> Seen:
    return well(catalogue)


def found(catalogue: Catalogue, seen: Seen) -> Found:
    return [(one.kind, one.level, one.node) for one in findings(catalogue, seen)]


def with_topic(seen: Seen, name: str, **changes: object) -> Seen:
    assert seen.topics is not None
    topics = tuple(dataclasses.replace(one, **changes) if one.name == name else one for one in seen.topics)  # type: ignore[arg-type]
    return dataclasses.replace(seen, topics=topics)


def with_group(seen: Seen, group: SeenGroup) -> Seen:
    return dataclasses.replace(seen, groups=(*(one for one in seen.groups or () if one.name != group.name), group))


def test_a_system_that_runs_as_declared_has_none(catalogue: Catalogue, seen: Seen) -> None:
    assert found(catalogue, seen) == []


def test_what_was_planted_is_found_and_nothing_else(catalogue: Catalogue, seen: Seen) -> None:
    assert found(catalogue, planted(seen)) == [
        ("dead_group", "fault", "group:old-dashboard"),
        ("undeclared_topic", "fault", "topic:orders-copy-of-tuesday"),
        ("stopped_group", "warning", "group:notification"),
        ("dead_topic", "note", "topic:command-replays"),
    ]


def test_nothing_is_said_of_a_part_that_did_not_answer(catalogue: Catalogue, seen: Seen) -> None:
    assert found(catalogue, Seen(NOW, silent={"broker": "It did not answer in time."})) == []
    for part in ("topics", "groups", "subjects", "jobs", "tables"):
        assert found(catalogue, dataclasses.replace(seen, **{part: None})) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"])
def test_the_brokers_own_topics_are_no_ones_fault(catalogue: Catalogue, seen: Seen, name: str) -> None:
    own = SeenTopic(name, 4, 9, 9, NOW)
    assert found(catalogue, dataclasses.replace(seen, topics=(*(seen.topics or ()), own))) == []


@pytest.mark.parametrize("name", ["__mine", "__consumer_offsets_copy", "_schemas"])
def test_a_topic_that_is_only_called_like_the_brokers_own_is_found(catalogue: Catalogue, seen: Seen, name: str) -> None:
    planted_one = SeenTopic(name, 4, 9, 9, NOW)
    topics = (*(seen.topics or ()), planted_one)
    assert found(catalogue, dataclasses.replace(seen, topics=topics)) == [("undeclared_topic", "fault", f"topic:{name}")]


def test_a_declared_topic_that_is_not_there(catalogue: Catalogue, seen: Seen) -> None:
    there = tuple(one for one in seen.topics or () if one.name != "orders")
    assert found(catalogue, dataclasses.replace(seen, topics=there)) == [("missing_topic", "fault", "topic:orders")]


@pytest.mark.parametrize(
    ("name", "changes", "level"),
    [
        ("orders", {"written": 0, "records": 0, "last_ms": None}, "note"),
        ("orders", {"records": 0, "last_ms": None}, "warning"),
        ("orders", {"last_ms": NOW - 31 * DAY}, "warning"),
        ("orders", {"last_ms": NOW - 29 * DAY}, None),
        ("user-actions-dlq", {"written": 0, "records": 0, "last_ms": None}, None),  # where no letters come, all is well
        ("user-actions-dlq", {"last_ms": NOW - 400 * DAY}, None),
    ],
)
def test_a_topic_is_dead_when_nothing_is_written_to_it(
    catalogue: Catalogue, seen: Seen, name: str, changes: dict[str, object], level: str | None
) -> None:
    wanted = [] if level is None else [("dead_topic", level, f"topic:{name}")]
    assert found(catalogue, with_topic(seen, name, **changes)) == wanted


def test_how_long_is_dead_is_asked(catalogue: Catalogue, seen: Seen) -> None:
    quiet = with_topic(seen, "orders", last_ms=NOW - 3 * DAY)
    assert [one.text for one in findings(catalogue, quiet, timedelta(days=2))] == [
        "Nothing was written to it for 3 days. Its producers are order."
    ]


def test_a_topic_whose_readers_never_read(catalogue: Catalogue, seen: Seen) -> None:
    groups = tuple(dataclasses.replace(one, lags={t: n for t, n in one.lags.items() if t != "shipping"}) for one in seen.groups or ())
    assert found(catalogue, dataclasses.replace(seen, groups=groups)) == [("unread_topic", "warning", "topic:shipping")]


@pytest.mark.parametrize(
    ("group", "wanted"),
    [
        (SeenGroup("visitor", "stable", 1, {"orders": 0}), ("undeclared_reader", "warning")),
        (SeenGroup("visitor", "empty", 0, {"orders": 0}), ("dead_group", "fault")),
        (SeenGroup("visitor", "empty", 0, {}, ("gone",)), ("dead_group", "fault")),
        (SeenGroup("visitor", "empty", 0, {}), None),  # it never committed anything
        (SeenGroup("analytics", "empty", 0, {"orders": 0}), None),  # stopped, and nothing waits for it
        (SeenGroup("analytics", "empty", 0, {"orders": 7}), ("stopped_group", "warning")),
        (SeenGroup("analytics", "stable", 1, {"orders": 7}), None),
        (SeenGroup("analytics", "empty", 0, {"payments": 0}), ("dead_group", "fault")),  # no contract lets it read payments
        (SeenGroup("score_events", "empty", 0, {"user-actions": 7}), None),  # its job runs: Flink's readers are no members
    ],
)
def test_groups(catalogue: Catalogue, seen: Seen, group: SeenGroup, wanted: tuple[str, str] | None) -> None:
    expected = [] if wanted is None else [(*wanted, f"group:{group.name}")]
    assert found(catalogue, with_group(seen, group)) == expected


@pytest.mark.parametrize(("at_most", "said"), [(False, " 1,207 records"), (True, " at most 1,207 records")])
def test_what_was_not_counted_is_not_said_to_be(catalogue: Catalogue, seen: Seen, at_most: bool, said: str) -> None:
    of = ("orders",) if at_most else ()
    seen = with_group(seen, SeenGroup("analytics", "empty", 0, {"orders": 1207}, at_most=of))
    seen = with_group(seen, SeenGroup("lost", "empty", 0, {"orders": 1207}, at_most=of))
    seen = dataclasses.replace(seen, topics=(*(seen.topics or ()), SeenTopic("strange", 1, 1207, 1207, NOW, at_most=at_most)))
    texts = [one.text for one in findings(catalogue, seen)]
    assert len(texts) == 3
    assert all(said in text and ("at most" in text) == at_most for text in texts)


def test_a_jobs_group_stands_still_when_its_job_does_not_run(catalogue: Catalogue, seen: Seen) -> None:
    behind = with_group(seen, SeenGroup("score_events", "empty", 0, {"user-actions": 7}))
    stopped = dataclasses.replace(behind, jobs=tuple(one for one in behind.jobs or () if one.name != "score_events"))
    assert found(catalogue, stopped) == [("stopped_group", "warning", "group:score_events")]
    assert found(catalogue, dataclasses.replace(behind, jobs=None)) == []


def test_schemas(catalogue: Catalogue, seen: Seen) -> None:
    assert seen.subjects is not None
    other = {**seen.subjects, "orders-OrderPlaced": frozenset[int](), "orders-OrderLost": frozenset[int]()}
    assert found(catalogue, dataclasses.replace(seen, subjects=other)) == [
        ("unregistered_schema", "fault", "event:orders/OrderPlaced"),
        ("undeclared_schema", "warning", "subject:orders-OrderLost"),
    ]


def test_tables(catalogue: Catalogue, seen: Seen) -> None:
    there = [one for one in seen.tables or () if one.name != "orders"]
    there += [SeenTable("scratch", 3, NOW), SeenTable("scores_purchase_30m_v2", 3, NOW, by_pattern=True)]
    assert found(catalogue, dataclasses.replace(seen, tables=tuple(there))) == [
        ("missing_table", "fault", "table:orders"),
        ("undeclared_table", "fault", "table:scratch"),
    ]


def test_jobs(catalogue: Catalogue, seen: Seen) -> None:
    jobs = (
        *(seen.jobs or ()),
        SeenJob("guess", "RUNNING", 5.0),
        SeenJob("archive_shop", "RESTARTING", 9.0, 3, trouble="is RESTARTING (restart 3)"),
    )
    assert found(catalogue, dataclasses.replace(seen, jobs=jobs, missing_jobs=("score_events",))) == [
        ("job_trouble", "fault", "job:archive_shop"),
        ("missing_job", "fault", "job:score_events"),
        ("undeclared_job", "warning", "job:guess"),
    ]


@pytest.mark.parametrize(
    ("ends", "sent_ms", "wanted"),
    [
        ("2026-12-31", NOW, ("deprecated_sent", "note")),
        ("2026-10-31", NOW, ("past_its_end", "fault")),
        ("2026-10-31", NOW - 60 * DAY, None),  # it was sent for the last time in time
        ("2026-12-31", None, None),
    ],
)
def test_a_deprecated_version_that_is_still_sent(
    catalogue: Catalogue, ends: str, sent_ms: int | None, wanted: tuple[str, str] | None
) -> None:
    catalogue = deprecated(catalogue, "orders", "OrderPlaced", ends)
    versions = () if sent_ms is None else (SeenVersion("OrderPlaced", 1, sent_ms),)
    assert found(catalogue, with_topic(well(catalogue), "orders", versions=versions)) == (
        [] if wanted is None else [(*wanted, "event:orders/OrderPlaced")]
    )
