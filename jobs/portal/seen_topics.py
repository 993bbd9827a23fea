"""The broker's topics: how many records each holds, when the latest came, and what the latest ones are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from confluent_kafka import IsolationLevel, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported in silence

from infra.config import Settings
from infra.contracts.codec import DEPTH, nests_deeper
from infra.contracts.framing import payload
from infra.portal.catalogue import Catalogue
from infra.portal.findings import INTERNAL
from infra.portal.live import DeadLetters, SeenTopic, SeenVersion
from jobs.committed_records import read_to_end

_SECONDS = 4.0
_LATEST = 20  # offsets of a partition that are looked at for the versions that are sent
_COUNTED = 200  # and where a partition has no more than these, all of them, so that its records are counted
_LETTERS = 500  # and those of a topic of dead letters, for their reasons
_LONGEST_NAME = 200
Place = tuple[str, int]


class _Event(msgspec.Struct, rename="camel"):
    event_type: str = ""
    version: int = 0


class _Error(msgspec.Struct):
    step: str = ""
    reason: str = ""


class _Data(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


class _Letter(msgspec.Struct):
    data: _Data = msgspec.field(default_factory=_Data)


_event, _letter = msgspec.json.Decoder(_Event), msgspec.json.Decoder(_Letter)


@dataclass(frozen=True)
class _Read:
    """What was read of a topic. `at`: where its partitions began and ended; `is_all`: whether all that it holds was looked at."""

    at: tuple[int, ...]
    versions: tuple[SeenVersion, ...]
    reasons: Mapping[str, int]
    looked_at: int
    is_all: bool


class Topics:
    """Looks at the topics; what it read of the latest records is kept while no more come."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._letters = {topic.dead_letter_topic for topic in catalogue.topics} - {None}
        self._read: dict[str, _Read] = {}

    def look(self) -> tuple[tuple[SeenTopic, ...], tuple[DeadLetters, ...]]:
        """Every topic but the broker's own, and the dead letters on those that hold such.

        Raises:
            KafkaException, TimeoutError: the broker does not answer.

        """
        client = AdminClient({**self._settings.kafka.client(), "log_level": "0"})
        told = client.list_topics(timeout=_SECONDS).topics
        places = [(name, number) for name in sorted(told) if name not in INTERNAL for number in sorted(told[name].partitions)]
        first = _offsets(client, places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        ends = _offsets(client, places, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        latest = _offsets(client, places, OffsetSpec.max_timestamp())  # type: ignore[no-untyped-call]
        self._read_anew(first, ends)
        topics, letters = [], []
        for name in dict.fromkeys(name for name, _ in places):
            own = [place for place in places if place[0] == name]
            offsets = sum(ends[place][0] - first[place][0] for place in own)
            last_ms = max((latest[place][1] for place in own), default=-1)
            read, written = self._read[name], sum(ends[place][0] for place in own)
            records, at_most = (read.looked_at, False) if read.is_all else (offsets, True)
            seen_last = last_ms if offsets and last_ms >= 0 else None
            topics.append(SeenTopic(name, len(own), records, written, seen_last, read.versions, at_most))
            if name in self._letters:
                letters.append(DeadLetters(name, records, read.looked_at, read.reasons, at_most))
        return tuple(topics), tuple(letters)

    def _read_anew(self, first: Mapping[Place, tuple[int, int]], ends: Mapping[Place, tuple[int, int]]) -> None:
        """The latest records of each topic whose beginnings or ends have moved."""
        now: dict[str, tuple[int, ...]] = {}
        for place in sorted(ends):
            now[place[0]] = (*now.get(place[0], ()), first[place][0], ends[place][0])
        moved = {name for name, at in now.items() if name not in self._read or self._read[name].at != at}
        begin, partly = [], set()
        for (name, partition), (end, _) in ends.items():
            start = first[name, partition][0]
            if end - start > (_LETTERS if name in self._letters else _COUNTED):
                start = end - (_LETTERS if name in self._letters else _LATEST)
                partly.add(name)
            if name in moved and start < end:
                begin.append(TopicPartition(name, partition, start))
        found: dict[str, list[Message]] = {name: [] for name in moved}
        for messages in read_to_end(self._settings, begin) if begin else ():
            for message in messages:
                name, partition = message.topic() or "", message.partition() or 0
                if (message.offset() or 0) < ends[name, partition][0]:  # what came since is seen with the next look
                    found[name].append(message)
        for name, messages in found.items():
            reasons = _reasons(messages) if name in self._letters else {}
            self._read[name] = _Read(now[name], _versions(messages), reasons, len(messages), name not in partly)
        for gone in set(self._read) - set(now):
            del self._read[gone]


def _versions(messages: Iterable[Message]) -> tuple[SeenVersion, ...]:
    found: dict[tuple[str, int], int] = {}
    for message in messages:
        try:
            event = _event.decode(_said(message))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if event.event_type:
            key = (event.event_type[:_LONGEST_NAME], event.version)
            found[key] = max(found.get(key, 0), message.timestamp()[1])
    return tuple(SeenVersion(*key, at) for key, at in sorted(found.items()))


def _reasons(messages: Iterable[Message]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for message in messages:
        try:
            error = _letter.decode(_said(message)).data.error
        except (msgspec.DecodeError, UnicodeDecodeError):
            found["no dead letter"] += 1
            continue
        found[f"{error.step}: {error.reason}"[:_LONGEST_NAME]] += 1
    return dict(found.most_common())


def _said(message: Message) -> bytes:
    """A value as JSON; nothing where it nests deeper than a decoder may follow it: anybody's records lie in a topic."""
    value = payload(message.value()) or b""
    return b"" if nests_deeper(value, DEPTH) else value


def _offsets(client: AdminClient, places: Iterable[Place], spec: OffsetSpec) -> dict[Place, tuple[int, int]]:
    """By place, the offset and its time in ms since 1970, -1 where it has none."""
    asked: dict[Any, OffsetSpec] = {TopicPartition(*place): spec for place in places}
    if not asked:
        return {}
    answers = client.list_offsets(asked, request_timeout=_SECONDS, isolation_level=IsolationLevel.READ_COMMITTED)
    found = {}
    for place, future in answers.items():
        result: Any = future.result(_SECONDS)
        found[place.topic, place.partition] = (int(result.offset), int(result.timestamp))
    return found
