"""Where what is declared and what runs do not agree, found by looking. Pure.

A part that did not answer gives no findings: nothing is said to be missing that nobody could look for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from infra.portal.catalogue import Catalogue
from infra.portal.live import Seen

INTERNAL = frozenset({"__cluster_metadata", "__consumer_offsets", "__remote_log_metadata", "__share_group_state", "__transaction_state"})
"""The broker's own topics. A name that only begins as theirs do may be anybody's."""
_DAY = timedelta(days=1)
_RANK = {"fault": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Finding:
    """One thing. `level`: fault, warning or note; `node`: what it is about, as `topic:orders`; `text`: what, and what to do."""

    kind: str
    level: str
    node: str
    text: str


def findings(catalogue: Catalogue, seen: Seen, dead_after: timedelta = timedelta(days=30)) -> list[Finding]:
    """All of them, the gravest first. `dead_after`: a topic in which nothing was written for so long is dead."""
    now = datetime.fromtimestamp(seen.at_ms / 1000, UTC)
    found = [finding for look in _LOOKS for finding in look(catalogue, seen)]
    found += [*_silent_topics(catalogue, seen, now, dead_after), *_past_their_end(catalogue, seen, now)]
    return sorted(found, key=lambda one: (_RANK[one.level], one.kind, one.node))


def _topics(catalogue: Catalogue, seen: Seen) -> Iterator[Finding]:
    if seen.topics is None:
        return
    there = {topic.name for topic in seen.topics}
    for topic in seen.topics:
        if topic.name in INTERNAL or catalogue.topic(topic.name):
            continue
        text = f"No contract names it; it holds {_amount(topic.records, topic.at_most)} records. Write its contract, or delete it."
        yield Finding("undeclared_topic", "fault", f"topic:{topic.name}", text)
    for declared in catalogue.topics:
        if declared.name not in there:
            yield Finding(
                "missing_topic", "fault", f"topic:{declared.name}", "The broker does not have it. `./streamhouse apply` makes it."
            )


def _silent_topics(catalogue: Catalogue, seen: Seen, now: datetime, dead_after: timedelta) -> Iterator[Finding]:
    """Dead letters are left out: where none come, all is well."""
    letters = {topic.dead_letter_topic for topic in catalogue.topics}
    for topic in seen.topics or ():
        if topic.name in letters or not (declared := catalogue.topic(topic.name)):
            continue
        if topic.written == 0:
            text = f"Nothing was ever written to it. Its producers are {_listed(declared.producers)}."
            yield Finding("dead_topic", "note", f"topic:{topic.name}", text)
        elif topic.last_ms is None:
            text = f"It is empty: retention ({declared.kept}) took all that was written. Its producers are {_listed(declared.producers)}."
            yield Finding("dead_topic", "warning", f"topic:{topic.name}", text)
        elif (silence := now - datetime.fromtimestamp(topic.last_ms / 1000, UTC)) > dead_after:
            text = f"Nothing was written to it for {silence // _DAY} days. Its producers are {_listed(declared.producers)}."
            yield Finding("dead_topic", "warning", f"topic:{topic.name}", text)


def _unread_topics(catalogue: Catalogue, seen: Seen) -> Iterator[Finding]:
    """A topic that holds records and has readers by contract that commit offsets, of which none ever did."""
    if seen.topics is None or seen.groups is None:
        return
    read = {topic for group in seen.groups for topic in group.lags}
    for topic in seen.topics:
        declared = catalogue.topic(topic.name)
        if declared is None or topic.name in read or not topic.records:
            continue
        if awaited := [program.name for program in catalogue.programs if topic.name in program.group]:
            held = _amount(topic.records, topic.at_most)
            text = f"It holds {held} records and nobody has read any. Its readers are {_listed(awaited)}; start one."
            yield Finding("unread_topic", "warning", f"topic:{topic.name}", text)


def _groups(catalogue: Catalogue, seen: Seen) -> Iterator[Finding]:
    """A group is declared for a topic when the contract names it among the consumers.

    Flink's jobs read without becoming members: such a group lives while its job does, and nothing is said while Flink is away.
    """
    if seen.groups is None:
        return
    for group in seen.groups:
        program = catalogue.program(group.name)
        strange = [topic for topic in group.lags if (known := catalogue.topic(topic)) is None or group.name not in known.consumers]
        lag, node = sum(group.lags.values()), f"group:{group.name}"
        waiting = f"{_amount(lag, bool(group.at_most))} records"
        if program is not None and program.kind == "job":
            if seen.jobs is not None and lag and all(job.name != group.name for job in seen.jobs):
                text = f"Its job does not run, and {waiting} wait. `./streamhouse submit {group.name}`"
                yield Finding("stopped_group", "warning", node, text)
        elif group.members == 0 and group.gone and not group.lags:
            text = f"It has no members, and {_listed(group.gone)}, which it read, is gone. Delete it."
            yield Finding("dead_group", "fault", node, text)
        elif group.members == 0 and strange:
            text = f"It has no members, and no contract names it as a reader of {_listed(strange)}; {waiting} wait. Delete it, "
            yield Finding("dead_group", "fault", node, text + "or add it to the contract's consumers.")
        elif group.members == 0 and lag:
            text = f"It has no members, and {waiting} of {_listed([t for t, n in group.lags.items() if n])} wait. Start it again."
            yield Finding("stopped_group", "warning", node, text)
        elif strange:
            text = f"It reads {_listed(strange)}, and no contract says so. Add it to the contract's consumers."
            yield Finding("undeclared_reader", "warning", node, text)


def _schemas(catalogue: Catalogue, seen: Seen) -> Iterator[Finding]:
    if seen.subjects is None:
        return
    declared: dict[str, set[int]] = {}
    for topic in catalogue.topics:
        for version in topic.versions:
            declared.setdefault(version.subject, set()).add(version.version)
            if version.version not in seen.subjects.get(version.subject, ()):
                text = f"The registry does not hold its schema under {version.subject}. `./streamhouse apply` registers it."
                yield Finding("unregistered_schema", "fault", f"event:{topic.name}/{version.event_type}", text)
    for subject in sorted(set(seen.subjects) - set(declared)):
        text = "The registry holds it, and no contract names it. Write its contract, or delete the subject."
        yield Finding("undeclared_schema", "warning", f"subject:{subject}", text)


def _tables(catalogue: Catalogue, seen: Seen) -> Iterator[Finding]:
    if seen.tables is None:
        return
    declared = {table.name for table in catalogue.tables if table.kind == "iceberg"}
    there = {table.name for table in seen.tables}
    for name in sorted(there - declared - {table.name for table in seen.tables if table.by_pattern}):
        yield Finding("undeclared_table", "fault", f"table:{name}", "Nothing declares it, and the catalog holds it. Declare or drop it.")
    for name in sorted(declared - there):
        yield Finding("missing_table", "fault", f"table:{name}", "The catalog does not have it. `./streamhouse apply` makes it.")


def _jobs(catalogue: Catalogue, seen: Seen) -> Iterator[Finding]:
    for name in seen.missing_jobs:
        yield Finding("missing_job", "fault", f"job:{name}", "It should run and does not; see `./streamhouse logs keeper`.")
    for job in seen.jobs or ():
        if job.trouble:
            yield Finding("job_trouble", "fault", f"job:{job.name}", f"It {job.trouble}; see `./streamhouse logs taskmanager`.")
        if catalogue.program(job.name) is None:
            yield Finding("undeclared_job", "warning", f"job:{job.name}", "Flink runs it, and no contract names it.")


def _past_their_end(catalogue: Catalogue, seen: Seen, now: datetime) -> Iterator[Finding]:
    for topic in seen.topics or ():
        declared = catalogue.topic(topic.name)
        seen_last = {(one.event_type, one.version): one.last_ms for one in topic.versions}
        for version in declared.versions if declared else ():
            last_ms = seen_last.get((version.event_type, version.version))
            if version.deprecated is None or last_ms is None:
                continue
            end, last = version.deprecated, datetime.fromtimestamp(last_ms / 1000, UTC)
            sent = f"Version {version.version} was last sent to {topic.name} on {last.date()}, and it"
            ask = f"Send {end.replacement} instead; {end.owner} answers for it."
            node = f"event:{topic.name}/{version.event_type}"
            if last.date().isoformat() > end.ends:
                yield Finding("past_its_end", "fault", node, f"{sent} ended on {end.ends}. {ask}")
            elif now.date().isoformat() <= end.ends:
                yield Finding("deprecated_sent", "note", node, f"{sent} ends on {end.ends}. {ask}")


def _amount(records: int, at_most: bool) -> str:
    return f"at most {records:,}" if at_most else f"{records:,}"


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names) or "none"


_LOOKS: tuple[Callable[[Catalogue, Seen], Iterator[Finding]], ...] = (_topics, _unread_topics, _groups, _schemas, _tables, _jobs)
