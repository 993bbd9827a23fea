"""Consumer groups as the broker knows them: how far each has committed, what lies behind that, and how many members it has."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported in silence

from infra.config import Settings
from infra.contracts.load import load_contracts

OWN = frozenset(
    {
        *("streamhouse-audit", "streamhouse-chaos-ends", "streamhouse-chaos-reader", "streamhouse-consume", "streamhouse-contracts"),
        *("streamhouse-dlq", "streamhouse-groups", "streamhouse-meter", "streamhouse-project", "streamhouse-read-to-end"),
        *("streamhouse-replies", "streamhouse-status", "streamhouse-watch"),
    }
)
"""The groups of the commands themselves. Of these alone nothing is told: a name that only begins so may be anybody's."""
_SECONDS = 4.0
_COUNTED = 200  # offsets that are looked at, record by record
Place = tuple[str, int]


@dataclass(frozen=True)
class GroupPart:
    """A group in one partition. `committed`: the offset that it reads next, None before its first commit; `lag`: records from there on.

    Where a partition has more than 200 offsets left, or they were not read in time, `lag` is their number and `is_counted` false: so many
    records at most, as the broker's own marks between transactions and what was aborted have offsets, too.
    """

    group: str
    topic: str
    partition: int
    committed: int | None
    end: int
    lag: int
    members: int
    is_counted: bool = True


@dataclass(frozen=True)
class GroupLag:
    """A group in all partitions of a topic."""

    group: str
    topic: str
    lag: int
    members: int


@dataclass(frozen=True)
class Group:
    """A group and all that it has read. `state`: the broker's word; `gone`: topics of which it has offsets and that are no more."""

    name: str
    state: str
    members: int
    parts: tuple[GroupPart, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True)
class Members:
    """Who is in a group: names for people, and the places that they were given."""

    names: tuple[str, ...] = ()
    places: frozenset[Place] = frozenset()


class _Until:
    """What is left of the time that a look may take."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.05, self._end - time.monotonic())

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end


def lags(settings: Settings) -> list[GroupLag]:
    """By group and topic; nothing where the broker does not answer within four seconds."""
    try:
        return summed(parts(settings))
    except (KafkaException, TimeoutError):
        return []


def summed(found: Iterable[GroupPart]) -> list[GroupLag]:
    """Partitions put together."""
    by: dict[tuple[str, str], GroupLag] = {}
    for part in found:
        key = (part.group, part.topic)
        by[key] = GroupLag(*key, part.lag + (by[key].lag if key in by else 0), part.members)
    return [by[key] for key in sorted(by)]


def parts(settings: Settings, seconds: float = _SECONDS) -> list[GroupPart]:
    """Every group that reads a topic of the contracts, but for those of the commands themselves.

    Raises:
        KafkaException, TimeoutError: the broker does not answer in time.

    """
    topics = load_contracts().topics
    return [part for group in known(settings, seconds) for part in group.parts if part.topic in topics]


def known(settings: Settings, seconds: float = _SECONDS) -> list[Group]:
    """Every group but those of the commands themselves, whatever it reads.

    Raises:
        KafkaException, TimeoutError: as `parts`.

    """
    until, client = _Until(seconds), _client(settings)
    listed = client.list_consumer_groups(request_timeout=until.left).result(until.left)
    states = {group.group_id: group.state.name.lower() for group in listed.valid if group.group_id not in OWN}
    names = sorted(states)
    members = _members(client, names, until)
    asked = {name: client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)], request_timeout=until.left) for name in names}
    committed: dict[tuple[str, Place], int | None] = {}
    for name, futures in asked.items():
        committed |= {(name, place): None for place in members[name].places}
        answer: Any = futures[name].result(until.left)
        committed |= {(name, (one.topic, one.partition)): one.offset for one in answer.topic_partitions if one.offset >= 0}
    places = {place for _, place in committed}
    ends = _offsets(client, places, OffsetSpec.latest(), until)  # type: ignore[no-untyped-call]
    first = _offsets(client, places, OffsetSpec.earliest(), until)  # type: ignore[no-untyped-call]
    committed_or_first = {(name, place): first[place] if at is None else at for (name, place), at in committed.items() if place in ends}
    near = {key: at for key, at in committed_or_first.items() if first[key[1]] <= at < ends[key[1]] <= at + _COUNTED}
    starts = {place: min(at for (_, other), at in near.items() if other == place) for place in {place for _, place in near}}
    seen = _records(settings, starts, until)
    found: dict[str, list[GroupPart]] = {name: [] for name in names}
    for (name, place), at in sorted(committed_or_first.items()):
        counted = seen.get(place) if (name, place) in near else None
        lag = max(0, ends[place] - at) if counted is None else sum(offset >= at for offset in counted)
        found[name].append(
            GroupPart(name, *place, committed[name, place], ends[place], lag, len(members[name].names), not lag or counted is not None)
        )
    gone = {name: tuple(sorted({place[0] for one, place in committed if one == name and place not in ends})) for name in names}
    return [Group(name, states[name], len(members[name].names), tuple(found[name]), gone[name]) for name in names]


def members_of(settings: Settings, group: str) -> Members:
    """Who is in one group.

    Raises:
        KafkaException, TimeoutError: as `parts`.

    """
    return _members(_client(settings), [group], _Until(_SECONDS))[group]


def _client(settings: Settings) -> AdminClient:
    return AdminClient({**settings.kafka.client(), "log_level": "0"})


def _members(client: AdminClient, names: list[str], until: _Until) -> dict[str, Members]:
    found = {}
    for name, future in client.describe_consumer_groups(names, request_timeout=until.left).items() if names else ():
        members: Any = future.result(until.left).members
        places = {(one.topic, one.partition) for member in members if member.assignment for one in member.assignment.topic_partitions}
        said = tuple(sorted(f"{member.group_instance_id or member.client_id} at {member.host.strip('/')}" for member in members))
        found[name] = Members(said, frozenset(places))
    return found


def _offsets(client: AdminClient, places: Iterable[Place], spec: OffsetSpec, until: _Until) -> dict[Place, int]:
    """Where readers of committed records would begin, or end; topics that are gone are missing."""
    asked = {TopicPartition(*place): spec for place in places}
    if not asked:
        return {}
    found = {}
    answers: Mapping[Any, Any] = client.list_offsets(asked, request_timeout=until.left, isolation_level=IsolationLevel.READ_COMMITTED)
    for place, future in answers.items():
        try:
            found[place.topic, place.partition] = int(future.result(until.left).offset)
        except KafkaException as error:
            if error.args[0].code() not in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC):
                raise
    return found


def _records(settings: Settings, starts: Mapping[Place, int], until: _Until) -> dict[Place, list[int]]:
    """By place, the offsets from its start on at which a committed record lies; places that were not read to their end are missing."""
    if not starts:
        return {}
    consumer = Consumer(settings.kafka.reader(group="streamhouse-status"))
    found: dict[Place, list[int]] = {place: [] for place in starts}
    done: set[Place] = set()
    try:
        consumer.assign([TopicPartition(*place, offset) for place, offset in starts.items()])
        while len(done) < len(starts) and not until.is_over:
            for message in consumer.consume(500, 0.05):
                place, error = (message.topic() or "", message.partition() or 0), message.error()
                if error is None:
                    found[place].append(message.offset() or 0)
                elif error.code() == KafkaError._PARTITION_EOF:
                    done.add(place)
    finally:
        consumer.close()
    return {place: found[place] for place in done}
