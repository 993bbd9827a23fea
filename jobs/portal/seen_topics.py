"""The broker's topics: how many records each holds, when the latest came, and what the latest ones are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import IsolationLevel, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported in silence

from infra.config import Settings
from infra.portal.catalogue import Catalogue
from infra.portal.findings import INTERNAL
from infra.portal.live import DeadLetters, SeenTopic, SeenVersion
from jobs.portal.seen_records import Note, Place, Records, Span

_SECONDS = 4.0
_LATEST = 20  # offsets of a partition that are looked at for the versions that are sent
_COUNTED = 200  # and where a partition has no more than these, all of them, so that its records are counted
_LETTERS = 500  # and those of a topic of dead letters, for their reasons


class Topics:
    """Looks at the topics; what it read of the latest records is kept, and read on from there."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._letters = {topic.dead_letter_topic for topic in catalogue.topics if topic.dead_letter_topic}
        self._compacted = {topic.name for topic in catalogue.topics if topic.is_compacted}
        self._records = Records(settings, self._letters)

    def look(self) -> tuple[tuple[SeenTopic, ...], tuple[DeadLetters, ...]]:
        """Every topic but the broker's own, and the dead letters on those that hold such, in four seconds.

        Of a topic whose records were not read in this time it says how many it holds at most, and the next look reads on. So it does of
        a compacted one: what goes there moves neither its beginning nor its end.

        Raises:
            KafkaException, TimeoutError: the broker does not answer.

        """
        until = time.monotonic() + _SECONDS
        client = AdminClient({**self._settings.kafka.client(), "log_level": "0"})
        told = client.list_topics(timeout=_left(until)).topics
        names = [name for name in sorted(told) if name not in INTERNAL]
        places = [(name, number) for name in names for number in sorted(told[name].partitions)]
        ids = _ids(client, names, until)
        first = _offsets(client, places, OffsetSpec.earliest(), until)  # type: ignore[no-untyped-call]
        ends = _offsets(client, places, OffsetSpec.latest(), until)  # type: ignore[no-untyped-call]
        latest = _offsets(client, places, OffsetSpec.max_timestamp(), until)  # type: ignore[no-untyped-call]
        spans = {place: self._span(place, ids[place[0]], first[place][0], ends[place][0]) for place in places}
        self._records.read(spans, until)
        topics, letters = [], []
        for name in names:
            own = [place for place in places if place[0] == name]
            offsets = sum(ends[place][0] - first[place][0] for place in own)
            last_ms = max((latest[place][1] for place in own), default=-1)
            notes = [note for place in own for note in self._records.notes(place)]
            is_all = all(spans[place].start == first[place][0] and self._records.end(place) == ends[place][0] for place in own)
            at_most = not is_all or name in self._compacted
            records, written = offsets if at_most else len(notes), sum(ends[place][0] for place in own)
            seen_last = last_ms if offsets and last_ms >= 0 else None
            topics.append(SeenTopic(name, len(own), records, written, seen_last, _versions(notes), at_most))
            if name in self._letters:
                reasons = Counter(note.reason for note in notes if note.reason is not None)
                letters.append(DeadLetters(name, records, len(notes), dict(reasons.most_common()), at_most))
        return tuple(topics), tuple(letters)

    def _span(self, place: Place, topic_id: str, first: int, end: int) -> Span:
        """All that a partition holds where that is little; else the latest."""
        is_letters = place[0] in self._letters
        if end - first > (_LETTERS if is_letters else _COUNTED):
            first = end - (_LETTERS if is_letters else _LATEST)
        return Span(topic_id, min(first, end), end)


def _versions(notes: Iterable[Note]) -> tuple[SeenVersion, ...]:
    found: dict[tuple[str, int], int] = {}
    for note in notes:
        if note.event is not None:
            found[note.event] = max(found.get(note.event, 0), note.at_ms)
    return tuple(SeenVersion(*event, at) for event, at in sorted(found.items()))


def _ids(client: AdminClient, names: list[str], until: float) -> Mapping[str, str]:
    """The broker's own names of topics, by which one that was made anew is another."""
    if not names:
        return {}
    asked = client.describe_topics(TopicCollection(names), request_timeout=_left(until))
    return {name: str(future.result(_left(until)).topic_id) for name, future in asked.items()}


def _offsets(client: AdminClient, places: Iterable[Place], spec: OffsetSpec, until: float) -> dict[Place, tuple[int, int]]:
    """By place, the offset and its time in ms since 1970, -1 where it has none."""
    asked: dict[Any, OffsetSpec] = {TopicPartition(*place): spec for place in places}
    if not asked:
        return {}
    answers = client.list_offsets(asked, request_timeout=_left(until), isolation_level=IsolationLevel.READ_COMMITTED)
    found = {}
    for place, future in answers.items():
        result: Any = future.result(_left(until))
        found[place.topic, place.partition] = (int(result.offset), int(result.timestamp))
    return found


def _left(until: float) -> float:
    """Seconds that are left, and one where none are: each question is asked, and a broker that is slow is not away."""
    return max(1.0, until - time.monotonic())
