"""Which events of each topic were applied, so that `apply` refuses to take them away before the day that was promised.

Files say what is declared now, registry and broker also hold what others put there: only what `apply` noted itself was ours for sure. It
notes it in topic contract-changes, before schemas are registered; what user-actions holds is announced there by `contract_history`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import uuid4

import msgspec
from confluent_kafka.admin import AdminClient

from infra.clock import Clock, system_clock
from infra.config import Settings
from infra.contracts import changes
from infra.contracts.actions import TOPIC
from infra.contracts.change import Change
from infra.contracts.changes import CHANGES, Said
from infra.contracts.compare import Finding, events, topic_removed
from infra.contracts.compare_fields import names
from infra.contracts.contract import Contracts, Deprecation, EventSchema, Upcast
from infra.contracts.in_effect import event_document
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs.asking import asking
from jobs.committed_records import read_all

_KIND = "contract"
_SECONDS = 15.0
_NOTHING = json.dumps({"events": []})
"""On record for a topic that was let go: neither a contract nor the broker has it."""


class _Event(msgspec.Struct):
    type: str
    version: int
    deprecated: Deprecation | None = None
    upcast: Upcast | None = None
    fields: list[str] = []


class _Noted(msgspec.Struct):
    events: list[_Event]


def plan(settings: Settings, contracts: Contracts | None = None, clock: Clock = system_clock) -> list[Change]:
    """What `apply` would do, a line for each topic but user-actions.

    A topic or an event that was applied and is declared no more is refused with the sentence of `contracts check`; an event that was
    deprecated may go after its last day, a topic when the broker does not have it any more.

    Raises:
        StreamhouseError: the broker does not answer, or what is on record cannot be read by this code.

    """
    with asking("which contracts were applied"):
        there, held = _there_and_held(settings)
    return _planned(contracts or load_contracts(), held, there, clock)


def apply(
    settings: Settings,
    contracts: Contracts | None = None,
    *,
    clock: Clock = system_clock,
    new_id: Callable[[], str] = lambda: str(uuid4()),
) -> list[Change]:
    """Note what is declared now; raises as `plan`."""
    contracts = contracts or load_contracts()
    with asking("the record of what is applied"):
        there, held = _there_and_held(settings)
        done = _planned(contracts, held, there, clock)
        said = [
            Said(change.name, _document(contracts, change.name), change.name not in held, new_id())
            for change in done
            if change.action in ("create", "update")
        ]
        if said:
            changes.append(settings, said, clock())
    return done


def applied(settings: Settings, contracts: Contracts) -> dict[str, Contracts]:
    """By topic that the broker has, it alone with the events on record; user-actions and what is not on record are missing.

    Raises:
        StreamhouseError: as `plan`.

    """
    with asking("which contracts were applied"):
        there, held = _there_and_held(settings)
    known = {name: document for name, document in held.items() if name in there and name != TOPIC and document != _NOTHING}
    return {name: _before(contracts, name, document) for name, document in sorted(known.items())}


def findings(before: Contracts, after: Contracts, name: str, today: date) -> list[Finding]:
    """What changed of a topic since it was applied, but for fields: the registry holds them, and is compared by itself."""
    return [finding for finding in events(before, after, name, today) if finding.field is None]


def _planned(contracts: Contracts, held: Mapping[str, str], there: frozenset[str], clock: Clock) -> list[Change]:
    today = datetime.fromtimestamp(clock() / 1000, UTC).date()
    found = [_change(contracts, name, held.get(name), today) for name in sorted(contracts.topics) if name != TOPIC]
    for name in sorted(held.keys() - contracts.topics.keys() - {TOPIC}):
        if name in there and held[name] != _NOTHING:
            found.append(Change(_KIND, name, "refuse", str(topic_removed(name))))
        elif held[name] != _NOTHING:
            found.append(Change(_KIND, name, "update", "let go: neither a contract nor the broker has it"))
    return found


def _change(contracts: Contracts, name: str, document: str | None, today: date) -> Change:
    if document is None:
        has = ", ".join(f"{kind} {version}" for kind, version in sorted(contracts.topics[name].events))
        return Change(_KIND, name, "create", f"note that it has {has}")
    if document == _document(contracts, name):
        return Change(_KIND, name, "keep")
    found = findings(_before(contracts, name, document), contracts, name, today)
    if broken := [str(finding) for finding in found if not finding.safe]:
        return Change(_KIND, name, "refuse", "; ".join(broken))
    said = "; ".join(str(finding).removeprefix(f"{name}: ") for finding in found)
    return Change(_KIND, name, "update", said or "note its fields, and how its events follow from each other")


def _before(contracts: Contracts, name: str, document: str) -> Contracts:
    """A topic alone as it is on record; what is not on record is as declared."""
    noted = {(event.type, event.version): event for event in _read(name, document).events}
    ends = {key: event.deprecated for key, event in noted.items() if event.deprecated is not None}
    upcasts = {key: event.upcast for key, event in noted.items() if event.upcast is not None}
    # an upcast may fill in more of a new field alone; else schemas are as declared, for the registry is compared by itself
    schemas = {key: _without_new(contracts.schemas[key], event.fields) for key, event in noted.items() if key in contracts.schemas}
    declared = contracts.topics.get(name) or next(iter(contracts.topics.values()))  # of one that is gone, its events alone count
    topic = replace(declared, name=name, events=tuple(noted), deprecations=ends, upcasts=upcasts)
    return Contracts(contracts.folder, {name: topic}, schemas, frozenset())


def _read(name: str, document: str) -> _Noted:
    try:
        return msgspec.json.decode(document, type=_Noted)
    except (msgspec.MsgspecError, ValueError) as error:
        sentence = (
            f"topic {CHANGES}: expected the events of {name}, as `apply` notes them, got {document[:80]!r} ({error}); run a newer release"
        )
        raise StreamhouseError(sentence) from error


def _without_new(schema: EventSchema, fields: Collection[str]) -> EventSchema:
    data = schema.document["properties"]["data"]
    kept = {name: part for name, part in data.get("properties", {}).items() if name in fields}
    narrowed = {**data, "properties": kept, "required": [name for name in data.get("required", ()) if name in fields]}
    return replace(schema, document={**schema.document, "properties": {**schema.document["properties"], "data": narrowed}})


def _document(contracts: Contracts, name: str) -> str:
    if (topic := contracts.topics.get(name)) is None:
        return _NOTHING
    noted = [{**event_document(topic, *event), "fields": sorted(names(contracts.schemas[event]))} for event in sorted(topic.events)]
    return json.dumps({"events": noted}, sort_keys=True, ensure_ascii=False)


def _there_and_held(settings: Settings) -> tuple[frozenset[str], dict[str, str]]:
    """The topics that the broker has, and by topic the latest contract on record."""
    client = AdminClient({**settings.kafka.client(), "log_level": "0"})
    there = frozenset(client.list_topics(timeout=_SECONDS).topics)
    messages = read_all(settings, CHANGES, 1) if CHANGES in there else ()
    return there, dict(said for message in messages if (said := changes.document_of(message)) is not None)
