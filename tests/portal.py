"""A catalogue as it is declared here, and a look at a system on which everything runs as declared: tests plant in it what they look for."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

from infra.config import load_settings
from infra.portal.catalogue import Catalogue, Deprecated, Topic
from infra.portal.findings import findings
from infra.portal.live import DeadLetters, OnlineStore, Seen, SeenGroup, SeenJob, SeenTable, SeenTopic, SeenVersion
from infra.portal.render import live_document

NOW = 1_796_000_000_000
"""In November 2026."""
MINUTE, DAY = 60_000, 86_400_000


@cache
def ours() -> Catalogue:
    """What this repository declares. Made once: it imports Feast."""
    from jobs.portal.declared import declared

    return declared(load_settings({}))


def deprecated(catalogue: Catalogue, topic: str, event_type: str, ends: str) -> Catalogue:
    """The same, with version 1 of an event type deprecated, and a version 2 beside it that renames nothing."""

    def changed(one: Topic) -> Topic:
        if one.name != topic:
            return one
        old = next(version for version in one.versions if version.event_type == event_type)
        ending = Deprecated(ends, one.owner, f"{event_type} 2")
        return dataclasses.replace(
            one,
            versions=(
                *(version for version in one.versions if version is not old),
                dataclasses.replace(old, deprecated=ending),
                dataclasses.replace(old, version=2, subject=f"{old.subject}-v2", follows=("all names stay",)),
            ),
        )

    return dataclasses.replace(catalogue, topics=tuple(changed(one) for one in catalogue.topics))


def well(catalogue: Catalogue) -> Seen:
    """All that is declared runs, every topic was written to a minute ago, and every reader has read all."""
    reading: dict[str, dict[str, int]] = {}
    for program in catalogue.programs:
        if program.group:
            reading[program.name] = dict.fromkeys(program.group, 0)
    jobs = {program.name for program in catalogue.programs if program.kind == "job"}
    letters = sorted({topic.dead_letter_topic for topic in catalogue.topics if topic.dead_letter_topic})
    subjects: dict[str, frozenset[int]] = {}
    for topic in catalogue.topics:
        for version in topic.versions:
            subjects[version.subject] = subjects.get(version.subject, frozenset()) | {version.version}
    return Seen(
        at_ms=NOW,
        topics=tuple(
            SeenTopic(
                topic.name,
                topic.partitions,
                1200,
                1200,
                NOW - MINUTE,
                tuple(SeenVersion(one.event_type, one.version, NOW - MINUTE) for one in topic.versions if one.deprecated is None),
            )
            for topic in catalogue.topics
        ),
        groups=tuple(
            SeenGroup(name, "empty" if name in jobs else "stable", 0 if name in jobs else 1, lags) for name, lags in sorted(reading.items())
        ),
        subjects=subjects,
        jobs=tuple(SeenJob(name, "RUNNING", 5400.0, 0, 0.4) for name in sorted(jobs & set(reading))),
        tables=tuple(SeenTable(table.name, 31_106, NOW - MINUTE) for table in catalogue.tables if table.kind == "iceberg"),
        dead_letters=tuple(DeadLetters(name, 0, 0) for name in letters),
        online=OnlineStore(2_400, 31 << 20),
    )


def planted(seen: Seen) -> Seen:
    """The same, with an undeclared topic, a dead group, and a few things that a person would want to know."""
    assert seen.topics is not None
    assert seen.groups is not None
    topics = [
        dataclasses.replace(one, records=0, written=0, last_ms=None, versions=()) if one.name == "command-replays" else one
        for one in seen.topics
    ]
    groups = [
        dataclasses.replace(one, members=0, state="empty", lags={**one.lags, "orders": 1_340}) if one.name == "notification" else one
        for one in seen.groups
    ]
    return dataclasses.replace(
        seen,
        topics=(*topics, SeenTopic("orders-copy-of-tuesday", 1, 812, 812, NOW - 3 * DAY)),
        groups=(*groups, SeenGroup("old-dashboard", "empty", 0, {"predictions": 48_210}, at_most=("predictions",))),
        dead_letters=tuple(
            DeadLetters(one.topic, 37, 37, {"validate: unknown_version": 21, "decode: invalid_json": 11, "validate: wrong_partition": 5})
            if one.topic == "user-actions-dlq"
            else one
            for one in seen.dead_letters or ()
        ),
    )


def document(catalogue: Catalogue, seen: Seen) -> dict[str, Any]:
    """As the server answers it."""
    return live_document(seen, findings(catalogue, seen))
