"""What versions of one event type must keep to, so that every reader can take each of them for the newest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

from jsonschema import Draft7Validator

from infra.contracts.accepts import narrower
from infra.contracts.actions import EVENT, TOPIC, misfits
from infra.contracts.columns import clashes
from infra.contracts.contract import Contracts, EventSchema, Topic, Upcast
from infra.contracts.lineage import data_fields, required_fields

Rule = Callable[[Contracts], Iterator[str]]


def deprecations_name_what_follows(contracts: Contracts) -> Iterator[str]:
    """Who still sends an old version learns until when it may, whom to ask, and what to send instead."""
    there = {event: topic for topic in contracts.topics.values() for event in topic.events}
    for topic in contracts.topics.values():
        for (event_type, version), deprecation in topic.deprecations.items():
            where = f"{topic.file}: {event_type} {version}: deprecated"
            if not deprecation.owner:
                yield f"{where}: expected an owner, got nothing; say who answers for the change"
            instead = deprecation.replacement
            told = f"{instead[0]} {instead[1]}"
            if instead == (event_type, version) or instead not in there:
                yield f"{where}: expected a replacement among the events of a topic, got {told}; write its schema and list it"
            elif instead in there[instead].deprecations and there[instead].deprecations[instead].ends <= deprecation.ends:
                yield f"{where}: expected a replacement that outlives it, got {told}, which ends no later; name the newest version"


def versions_follow_from_each_other(contracts: Contracts) -> Iterator[str]:
    """Old and new events lie on one topic, and readers want one shape: each version says how the one before becomes it."""
    for topic in contracts.topics.values():
        for event_type in sorted({kind for kind, _ in topic.events}):
            versions = topic.versions(event_type)
            if (event_type, versions[0]) in topic.upcasts:
                yield f"{topic.file}: {event_type} {versions[0]}: expected no upcast, as no version is before it, got one; take it away"
            for old, new in pairwise(versions):
                where = f"{topic.file}: {event_type} {new}"
                upcast = topic.upcasts.get((event_type, new))
                if upcast is None:
                    yield f"{where}: expected `upcast`, how {old} becomes {new}, got nothing; write it, or {{}} where all names stay"
                elif (event_type, old) in contracts.schemas and (event_type, new) in contracts.schemas:
                    before, after = contracts.schemas[event_type, old], contracts.schemas[event_type, new]
                    yield from (f"{where}: upcast: {what}" for what in _misfits(before, after, upcast))
                    yield from _not_deprecated(topic, event_type, old, new, before, after)


def _misfits(old: EventSchema, new: EventSchema, upcast: Upcast) -> Iterator[str]:
    before, after = data_fields(old), data_fields(new)
    kept = {upcast.renamed.get(name, name): name for name in before if upcast.renamed.get(name, name) in after}
    for name, other in upcast.renamed.items():
        if name not in before or other not in after or (name in after and name != other):
            yield f"expected {name} in version {old.version} alone and {other} in version {new.version}; correct `renamed`"
        elif other in before:
            yield f"expected a new name, got {other}, which version {old.version} has too; choose another"
    for name, value in upcast.filled.items():
        if name not in after or name in kept:
            yield f"expected in `filled` a field of version {new.version} that {old.version} lacks, got {name}; take it away"
        elif not Draft7Validator(dict(after[name])).is_valid(value):
            yield f"expected what {name} is filled with to fit its schema, got {value!r}; correct it"
    for name in sorted(required_fields(new)):
        if name not in upcast.filled and kept.get(name) not in required_fields(old):
            yield f"expected {name}, which is required, from a required field or in `filled`, got neither; fill it"
    for name, was in kept.items():
        for how in narrower(before[was], after[name], f"data.{name}"):
            yield f"expected {name} to take all that {was} held, got {how}; give it a new name"


def _not_deprecated(topic: Topic, event_type: str, old: int, new: int, before: EventSchema, after: EventSchema) -> Iterator[str]:
    gone = sorted(set(data_fields(before)) - set(data_fields(after)))
    if gone and (event_type, old) not in topic.deprecations:
        yield (
            f"{topic.file}: {event_type} {old}: expected `deprecated`, as version {new} has no {gone[0]}, got nothing;"
            " say when it ends, who answers and what follows"
        )


def actions_can_be_decoded(contracts: Contracts) -> Iterator[str]:
    """The decoder is made of the contract, while jobs run: what it cannot be made of is refused here."""
    topic = contracts.topics.get(TOPIC)
    if topic is None:
        return
    for version in topic.versions(EVENT):
        if (EVENT, version) in contracts.schemas:
            for what in misfits(topic, contracts.schemas[EVENT, version]):
                yield f"{topic.file}: {what}"
    for event in topic.events:
        if event[0] != EVENT:
            yield f"{topic.file}: expected {EVENT} alone, got {event[0]}; give it a topic of its own"
    if topic.event_time is None:
        yield f"{topic.file}: expected event_time, which actions are held to, got none; state not_before and ahead"


def fields_have_columns_of_their_own(contracts: Contracts) -> Iterator[str]:
    """`cartTotal` and `cart_total` would be one column, and what one holds would be lost."""
    for topic in contracts.topics.values():
        if all(event in contracts.schemas for event in topic.events):
            for name in clashes(contracts.schemas, topic):
                yield f"{topic.file}: expected one field for column {name}, got several; give the newer one another name"


VERSION_RULES: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        deprecations_name_what_follows,
        versions_follow_from_each_other,
        actions_can_be_decoded,
        fields_have_columns_of_their_own,
    )
}
