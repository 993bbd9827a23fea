"""Which contract of user-actions holds for which records. Pure.

A contract takes effect at a moment of the broker's clock, which stamps each record as it appends it. So a record is decoded by its own
bytes and its place in the log alone, today and whenever it is read again: what came before the moment is read as it was then.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from infra.contracts.actions import TOPIC, ActionDecoder
from infra.contracts.codec import EventTimeWindow
from infra.contracts.columns import Extractor, field_columns
from infra.contracts.contract import Contracts, Deprecation, EventSchema, EventTime, Topic, Upcast
from infra.contracts.events import Rejected, UserAction
from infra.contracts.load import load_contracts

BEGINNING = -(2**63)
"""From when the first contract holds: whatever a log begins with."""
Times = NDArray[np.int64]


@dataclass(frozen=True)
class Revision:
    """What decoding needs of a contract, as text that says all of it, and from which broker time it holds, in ms since 1970.

    `change_id`: the event id of its announcement; empty where it was not announced.
    """

    from_ms: int
    document: str
    change_id: str = ""

    @property
    def sha256(self) -> str:
        """Of the document; two contracts that decode alike and describe alike have the same."""
        return hashlib.sha256(self.document.encode()).hexdigest()


@dataclass(frozen=True)
class ActionContract:
    """One contract, ready to decode."""

    topic: Topic
    schemas: Mapping[tuple[str, int], EventSchema]
    decoder: ActionDecoder
    window: EventTimeWindow

    @cached_property
    def columns(self) -> Extractor:
        """Reads the columns of every version that it names."""
        return Extractor(field_columns(self.schemas, self.topic))


class Contract(Protocol):
    """By what records are decoded: the contracts of a log that is known (`InEffect`), or of one that goes on (`changes.Followed`)."""

    def at(self, kafka_ms: int) -> ActionContract:
        """The contract of a record that the broker appended then."""
        ...

    def decode(self, values: Sequence[bytes | None], kafka_ms: Times) -> list[UserAction | Rejected]:
        """Each value by the contract of its record; `kafka_ms` (n,)."""
        ...

    def windows(self, kafka_ms: Times) -> tuple[Times, Times]:
        """Which event times are believed of records that were appended at `kafka_ms` (n,): from (n,) ms, up to (n,) ms after them."""
        ...

    @property
    def newest(self) -> ActionContract:
        """The one that begins last of those that are known, be it in effect already or announced."""
        ...


class InEffect:
    """The contracts that a log was written under, by the time of its records."""

    def __init__(self, revisions: Sequence[Revision]) -> None:
        """Of two that begin at one moment the later in the sequence holds; before the first one begins, the first holds.

        Raises:
            StreamhouseError: one of them cannot be decoded by this code.

        """
        ordered = sorted(revisions, key=lambda revision: revision.from_ms)
        self.revisions = tuple(ordered)
        self._contracts = [_ready(revision.document) for revision in ordered]
        self._from = [revision.from_ms for revision in ordered]

    def __reduce__(self) -> tuple[type[InEffect], tuple[tuple[Revision, ...]]]:
        """Another process makes the decoders anew."""
        return InEffect, (self.revisions,)

    @property
    def newest(self) -> ActionContract:
        """The one that begins last of those that are known, be it in effect already or announced."""
        return self._contracts[-1]

    def at(self, kafka_ms: int) -> ActionContract:
        """The contract of a record that the broker appended then."""
        return self._contracts[max(0, bisect_right(self._from, kafka_ms) - 1)] if len(self._from) > 1 else self._contracts[0]

    def decode(self, values: Sequence[bytes | None], kafka_ms: Times) -> list[UserAction | Rejected]:
        """Each value by the contract of its record; `kafka_ms` (n,)."""
        if not len(kafka_ms):
            return []
        first, last = self.at(int(kafka_ms.min())), self.at(int(kafka_ms.max()))
        if first is last:  # as nearly always: one contract for the whole batch
            return first.decoder.decode_all(values)
        return [self.at(moment).decoder.decode(value) for value, moment in zip(values, kafka_ms.tolist(), strict=True)]

    def windows(self, kafka_ms: Times) -> tuple[Times, Times]:
        """Which event times are believed of records that were appended at `kafka_ms` (n,): from (n,) ms, up to (n,) ms after them."""
        which = np.clip(np.searchsorted(np.array(self._from, np.int64), kafka_ms, "right") - 1, 0, None)
        windows = [contract.window for contract in self._contracts]
        return np.array([w.not_before for w in windows], np.int64)[which], np.array([w.ahead for w in windows], np.int64)[which]


def described(contracts: Contracts) -> str:
    """What decoding user-actions needs of these contracts."""
    topic = contracts.topics[TOPIC]
    window = topic.event_time
    document = {
        "events": [event_document(topic, *event) for event in sorted(topic.events)],
        "eventTime": None if window is None else {"notBeforeMs": window.not_before_ms, "aheadMs": window.ahead_ms},
        "schemas": [
            {"type": event_type, "version": version, "schema": contracts.schemas[event_type, version].document}
            for event_type, version in sorted(topic.events)
        ],
    }
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def of_files(contracts: Contracts | None = None) -> InEffect:
    """The contract files of this code, as if they had always held."""
    return InEffect([Revision(BEGINNING, described(contracts or load_contracts()))])


def decode_user_action(value: bytes | None) -> UserAction | Rejected:
    """Decode by the contract files of this code, whatever was in effect when the value was sent."""
    return _own().newest.decoder.decode(value)


@cache
def _own() -> InEffect:
    return of_files()


def event_document(topic: Topic, event_type: str, version: int) -> dict[str, Any]:
    """A version of an event as a contract on record says it."""
    event: dict[str, Any] = {"type": event_type, "version": version}
    if (upcast := topic.upcasts.get((event_type, version))) is not None:
        event["upcast"] = {"renamed": dict(upcast.renamed), "filled": dict(upcast.filled)}
    if (ending := topic.deprecations.get((event_type, version))) is not None:
        event["deprecated"] = {"ends": ending.ends.isoformat(), "owner": ending.owner, "replacement": list(ending.replacement)}
    return event


@cache
def _ready(document: str) -> ActionContract:
    """The contract of a document; what decoding does not need is that of this code's files."""
    told = json.loads(document)
    events = {(event["type"], event["version"]): event for event in told["events"]}
    topic = replace(
        load_contracts().topics[TOPIC],
        events=tuple(events),
        event_time=EventTime(told["eventTime"]["notBeforeMs"], told["eventTime"]["aheadMs"]),
        upcasts={key: Upcast(event["upcast"]["renamed"], event["upcast"]["filled"]) for key, event in events.items() if "upcast" in event},
        deprecations={key: deprecation(event["deprecated"]) for key, event in events.items() if "deprecated" in event},
    )
    schemas = {
        (part["type"], part["version"]): EventSchema(part["type"], part["version"], Path(TOPIC), part["schema"]) for part in told["schemas"]
    }
    window = EventTimeWindow(told["eventTime"]["notBeforeMs"], told["eventTime"]["aheadMs"])
    return ActionContract(topic, schemas, ActionDecoder(topic, schemas), window)


def deprecation(told: Mapping[str, Any]) -> Deprecation:
    """Of a version of an event, as a contract on record says it."""
    return Deprecation(date.fromisoformat(told["ends"]), told["owner"], tuple(told["replacement"]))
