"""Where a consumer group reads next, set by a person: only while nobody reads in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.stack import groups
from jobs.committed_records import committed_ends, first_offsets
from jobs.group_offsets import commit
from jobs.participants import participants
from jobs.patterns.aggregate import REMEMBERED
from jobs.replay.chosen import milliseconds
from jobs.submit import ALL_JOBS

_ANSWER_SECONDS = 15.0
Place = tuple[str, int]
WORDS = ("beginning", "end", "offset N", "time T")


@dataclass(frozen=True)
class Target:
    """Where to: `word` is one of beginning, end, offset, time; `value` the offset, or the time in ms since 1970."""

    word: str
    value: int = 0


@dataclass(frozen=True)
class Move:
    """One partition: the offsets that the group reads next before and after; `before` None: it had committed nothing."""

    partition: int
    before: int | None
    after: int


def read_target(word: str, value: str | None) -> Target:
    """What stands behind `--to`.

    Raises:
        StreamhouseError: none of the four forms.

    """
    if word in ("beginning", "end") and value is None:
        return Target(word)
    if word == "offset" and value is not None and value.isascii() and value.isdigit():
        return Target(word, int(value))
    if word == "time" and value is not None:
        return Target(word, milliseconds("to time", value))
    got = word if value is None else f"{word} {value}"
    message = f"--to {got}: expected one of {', '.join(WORDS)}, as in --to offset 1000 or --to time 2024-03-01T12:00:00Z"
    raise StreamhouseError(message)


def within(wanted: int, first: int, end: int) -> int:
    """An offset that the topic has, or where its next record will lie."""
    return max(first, min(wanted, end))


def planned(settings: Settings, group: str, topic: str, target: Target, partitions: Collection[int] = ()) -> list[Move]:
    """What a reset would change; `partitions` empty: all of the topic's.

    Raises:
        StreamhouseError: the broker knows no such group, it does not read that topic, or the topic has no such partition.
        KafkaException: the broker does not answer.

    """
    contracts = load_contracts().topics
    if topic not in contracts:
        message = f"--topic {topic!r}: no contract names it; expected one of {', '.join(sorted(contracts))}"
        raise StreamhouseError(message)
    known = groups.parts(settings, _ANSWER_SECONDS)
    held = {part.partition: part.committed for part in known if (part.group, part.topic) == (group, topic)}
    if not held:
        read = sorted({part.topic for part in known if part.group == group})
        there = f"it reads {', '.join(read)}" if read else f"there are {', '.join(sorted({part.group for part in known})) or 'none'}"
        message = f"group {group!r}: expected one that has read {topic}, and it never did; {there}"
        raise StreamhouseError(message)
    numbers = sorted(partitions or range(contracts[topic].partitions))
    if unknown := [number for number in numbers if number >= contracts[topic].partitions]:
        message = f"--partition {unknown[0]}: {topic} has partitions 0 to {contracts[topic].partitions - 1}"
        raise StreamhouseError(message)
    places = [(topic, number) for number in numbers]
    first, ends = first_offsets(settings, places), committed_ends(settings, places)
    wanted = {
        "beginning": lambda: first,
        "end": lambda: ends,
        "offset": lambda: dict.fromkeys(places, target.value),
        "time": lambda: _at(settings, places, target.value, ends),
    }[target.word]()
    return [Move(place[1], held.get(place[1]), within(wanted[place], first[place], ends[place])) for place in places]


def reset(settings: Settings, group: str, topic: str, moves: Collection[Move], *, yes: bool = False) -> None:
    """Set the offsets of a group.

    Raises:
        StreamhouseError: members read in it, its offsets are not what its reader goes by, or it is a participant's and nobody said yes.
        KafkaException: the broker does not answer.

    """
    if refused := refusal(settings, group, yes=yes):
        raise StreamhouseError(refused)
    commit(settings, group, {(topic, move.partition): move.after for move in moves})


def refusal(settings: Settings, group: str, *, yes: bool = False) -> str | None:
    """Why a group is not reset; None: it may be.

    Raises:
        KafkaException, TimeoutError: the broker does not answer.

    """
    if group in ALL_JOBS:
        return f"group {group}: it is a job's, which goes on behind what its outputs hold and not from its group's offsets; see `submit`"
    if group in participants(settings) and not yes:
        return (
            f"group {group}: it is a participant's, whose offsets are a part of its transactions: what it skips is never done, and what it"
            f" reads again is decided again. Only a command that is among the latest {REMEMBERED:,} that changed its aggregate is known and"
            f" changes nothing; older ones count as new, unless the aggregate's own state tells. Add --yes if you mean it"
        )
    if members := groups.members_of(settings, group).names:
        return (
            f"group {group}: expected no members, got {len(members)} ({', '.join(members)}), which would go on from where they are; end"
            f" them (./streamhouse shop down for the shop's services, Ctrl-C for a program of yours), wait six seconds and try again"
        )
    return None


def _at(
    settings: Settings, places: Collection[tuple[str, int]], at_ms: int, ends: Mapping[tuple[str, int], int]
) -> dict[tuple[str, int], int]:
    """The first records that the broker took at that time or later; the end where there are none."""
    consumer = Consumer({**settings.kafka.client(), "group.id": "streamhouse-groups", "enable.auto.commit": False, "log_level": 2})
    try:
        found = consumer.offsets_for_times([TopicPartition(*place, at_ms) for place in places], timeout=_ANSWER_SECONDS)
    finally:
        consumer.close()
    return {(one.topic, one.partition): one.offset if one.offset >= 0 else ends[one.topic, one.partition] for one in found}
