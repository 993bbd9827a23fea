"""Two states of the contracts -> what changed between them, and whether who reads and writes today can go on. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from infra.contracts import compare_fields
from infra.contracts.contract import Contracts, EventSchema, EventTime, Example, Topic


@dataclass(frozen=True)
class Finding:
    """One change. `safe`: everything that runs can go on; else the sentence says what to do instead.

    `what`: a code to count by, such as `field removed`. `event_type`, `version` and `field` are there as far as the change is of one.
    """

    topic: str
    what: str
    safe: bool
    sentence: str
    event_type: str | None = None
    version: int | None = None
    field: str | None = None

    @property
    def place(self) -> str:
        """Where it is, for people: `orders: OrderPlaced 1: data.cents`."""
        event = None if self.event_type is None else f"{self.event_type}{'' if self.version is None else f' {self.version}'}"
        return ": ".join(part for part in (self.topic, event, self.field) if part)

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence}"


def compare(before: Contracts, after: Contracts, today: date) -> list[Finding]:
    """Every change, by topic, what breaks first. `today` tells whether a deprecated version's time is over."""
    found: list[Finding] = []
    for name in sorted({*before.topics, *after.topics}):
        old, new = before.topics.get(name), after.topics.get(name)
        if old is None:
            found.append(Finding(name, "topic added", True, "new topic"))
        elif new is None:
            found.append(topic_removed(name))
        else:
            found += sorted([*settings(old, new), *events(before, after, name, today)], key=lambda finding: finding.safe)
    return found


def topic_removed(name: str) -> Finding:
    """A topic that no contract names any more."""
    return Finding(name, "topic removed", False, "gone; keep it until nobody writes or reads it")


def settings(old: Topic, new: Topic) -> Iterator[Finding]:
    """Changes of how a topic is kept and keyed, by two states of its contract, or by the broker and its contract."""
    fixed = (
        ("key field", old.key.field, new.key.field, "each record's place and order would change"),
        ("partitioner", old.key.partitioner, new.key.partitioner, "records of one key would lie in two partitions"),
        ("partitions", old.partitions, new.partitions, "keys would move between partitions and lose their order"),
        ("cleanup", old.cleanup, new.cleanup, "records that readers count on would be taken, or kept"),
        ("timestamp_type", old.timestamp_type, new.timestamp_type, "readers count on the broker's time"),
        ("compatibility", old.compatibility, new.compatibility, "the registry would hold schemas to another rule"),
    )
    for what, before, after, why in fixed:
        if before != after:
            text = f"{what} {before} -> {after}: {why}; make a new topic beside this one"
            yield Finding(old.name, f"{what} changed", False, text)
    yield from _amounts(old, new)
    yield from _optional(old, new)
    if _window(old.event_time) != _window(new.event_time):
        wider = _window(new.event_time)[0] <= _window(old.event_time)[0] and _window(new.event_time)[1] >= _window(old.event_time)[1]
        text = "the event-time window is wider" if wider else "the event-time window is narrower: what was taken becomes dead letters"
        remedy = "" if wider else "; leave not_before and ahead as they are, or wider"
        yield Finding(old.name, f"event-time window {'widened' if wider else 'narrowed'}", wider, text + remedy)
    for what in ("domain", "owner", "description", "producers", "consumers"):
        if getattr(old, what) != getattr(new, what):
            yield Finding(old.name, f"{what} changed", True, f"{what} said anew")
    shown = [{example.name: example for example in (*topic.valid, *topic.invalid)} for topic in (old, new)]
    if _plain(shown[0]) != _plain(shown[1]):
        added, gone = (", ".join(sorted(a.keys() - b.keys())) for a, b in (shown[::-1], shown))
        told = "; ".join(part for part in (f"added {added}" if added else "", f"taken away {gone}" if gone else "") if part)
        yield Finding(old.name, "examples changed", True, f"examples: {told or 'changed'}")


def _amounts(old: Topic, new: Topic) -> Iterator[Finding]:
    kept = [float("inf") if topic.retention_ms is None else topic.retention_ms for topic in (old, new)]
    if kept[1] < kept[0]:
        text = f"retention {_told(old.retention_ms)} -> {_told(new.retention_ms)}: records that a reader may still need are taken"
        yield Finding(old.name, "retention shortened", False, f"{text}; keep it, or move what needs them to the archive first")
    elif kept[1] > kept[0]:
        yield Finding(old.name, "retention lengthened", True, f"retention {_told(old.retention_ms)} -> {_told(new.retention_ms)}")
    if new.max_message_bytes < old.max_message_bytes:
        text = f"max_message_bytes {old.max_message_bytes} -> {new.max_message_bytes}: the broker refuses messages that it took"
        yield Finding(old.name, "message size lowered", False, f"{text}; leave it, or shorten what producers send first")
    elif new.max_message_bytes > old.max_message_bytes:
        text = f"max_message_bytes {old.max_message_bytes} -> {new.max_message_bytes}"
        yield Finding(old.name, "message size raised", True, text)


def _optional(old: Topic, new: Topic) -> Iterator[Finding]:
    for what, before, after, why in (
        ("dead_letter_topic", old.dead_letter_topic, new.dead_letter_topic, "what is refused would be lost, or looked for in vain"),
        ("table", old.table, new.table, "new records would be missing where they are looked for"),
    ):
        if before is None and after is not None:
            yield Finding(old.name, f"{what} added", True, f"{what} {after}")
        elif before != after:
            text = f"{what} {before} -> {after}: {why}; leave it as it is"
            yield Finding(old.name, f"{what} removed" if after is None else f"{what} changed", False, text)


def events(before: Contracts, after: Contracts, topic: str, today: date) -> Iterator[Finding]:
    """Changes of what may lie on a topic that is there before and after."""
    old, new = before.topics[topic], after.topics[topic]
    for kind, version in sorted({*old.events, *new.events}):
        event, at = (kind, version), (kind, version, None)
        if event not in old.events:
            is_first = not old.versions(kind)
            text = "new event type" if is_first else "new version: whoever reads the event learns it before anybody sends it"
            yield Finding(topic, "event type added" if is_first else "version added", True, text, *at)
        elif event not in new.events:
            yield _removed(old, event, today, last=not new.versions(kind))
        elif event in before.schemas and event in after.schemas:
            yield from _deprecations(old, new, event, today)
            yield from _upcasts(old, new, event, (before.schemas[event], after.schemas[event]))
            for change in compare_fields.changes(before.schemas[event], after.schemas[event], max(new.versions(kind))):
                yield Finding(topic, change.what, change.safe, change.sentence, kind, version, change.path)


def _removed(old: Topic, event: tuple[str, int], today: date, *, last: bool) -> Finding:
    gone = old.deprecations.get(event)
    at, what = (*event, None), "event type removed" if last else "version removed"
    if gone is None:
        text = "removed, and it was never deprecated: who sends or reads it learns it by failing; put it back and mark it `deprecated`"
        return Finding(old.name, what, False, f"{text} with the last day, an owner and a replacement", *at)
    if today <= gone.ends:
        text = f"removed, though it may be sent until {gone.ends}; put it back until then, or ask {gone.owner}"
        return Finding(old.name, what, False, text, *at)
    return Finding(
        old.name, what, True, f"removed, as its last day was {gone.ends}; {gone.replacement[0]} {gone.replacement[1]} follows", *at
    )


def _deprecations(old: Topic, new: Topic, event: tuple[str, int], today: date) -> Iterator[Finding]:
    before, after = old.deprecations.get(event), new.deprecations.get(event)
    at = (*event, None)
    if before == after:
        return
    if after is None:
        yield Finding(old.name, "deprecation withdrawn", True, "is not deprecated any more", *at)
    elif before is not None and after.ends < before.ends:
        text = f"ends {after.ends}, sooner than the {before.ends} that was promised; leave the day, or make it later"
        yield Finding(old.name, "deprecation hastened", False, text, *at)
    elif (before is None or before.ends != after.ends) and after.ends < today:
        text = f"deprecated, and its last day {after.ends} is over: who sends it would hear of it too late; name a day from {today} on"
        yield Finding(old.name, "deprecated too late", False, text, *at)
    else:
        instead = f"{after.replacement[0]} {after.replacement[1]}"
        yield Finding(old.name, "deprecated", True, f"deprecated: until {after.ends}; {instead} follows; ask {after.owner}", *at)


def _upcasts(old: Topic, new: Topic, event: tuple[str, int], schemas: tuple[EventSchema, EventSchema]) -> Iterator[Finding]:
    """What older events become is a part of what readers were given: only a field that is new in this change may be filled anew."""
    before, after = old.upcasts.get(event), new.upcasts.get(event)
    if before == after or before is None or after is None:
        return
    added = set(compare_fields.names(schemas[1])) - set(compare_fields.names(schemas[0]))
    kept = {name: value for name, value in after.filled.items() if name not in added}
    if before.renamed == after.renamed and dict(before.filled) == kept:
        yield Finding(old.name, "upcast fills a new field", True, f"older events have {', '.join(sorted(added))} as `filled` says", *event)
    else:
        text = "the upcast changed: events that were read already would be read differently; leave it, and say it in a new version"
        yield Finding(old.name, "upcast changed", False, text, *event)


def _window(window: EventTime | None) -> tuple[float, float]:
    return (float("-inf"), float("inf")) if window is None else (window.not_before_ms, window.ahead_ms)


def _plain(examples: Mapping[str, Example]) -> dict[str, tuple[object, ...]]:
    """Examples without the paths of their files, which lie in other folders."""
    return {name: (e.value, e.step, e.reason, e.partition, e.kafka_time_ms) for name, e in examples.items()}


def _told(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "unlimited"
    for unit, name in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m")):
        if milliseconds % unit == 0:
            return f"{milliseconds // unit}{name}"
    return f"{milliseconds // 1000}s"
