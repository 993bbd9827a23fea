"""Waiting until answers and tables have followed their topics, so that an audit may ask for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.clock import Clock
from infra.config import Settings
from jobs.audit.pins import ACTIONS, archived_topics, not_begun, unreachable
from jobs.audit.topic_log import steps
from jobs.scoring_parts import GROUP
from lakehouse.read import log_ends

_PAUSE = 0.5


def wait(settings: Settings, seconds: float, clock: Clock, sleep: Callable[[float], None]) -> bool:
    """Wait until what the topics hold by now is answered and archived; False when it is not within `seconds`.

    Answered is what the scorer's group has committed, which it does when a checkpoint completes; what is archived, the tables tell.

    Raises:
        NotAuditable: the broker does not answer.
        LakehouseError: a table is missing.

    """
    deadline = clock() + round(seconds * 1000)
    for behind in (_unanswered, _unarchived):
        ends = _ends(settings)
        while any(_holds_records(settings, ends, start) for start in behind(settings, ends)):
            if clock() >= deadline:
                return False
            sleep(_PAUSE)
    return True


Ends = dict[tuple[str, int], int]


def _unanswered(settings: Settings, ends: Ends) -> Iterator[TopicPartition]:
    client = {**settings.kafka.client(), "group.id": GROUP, "enable.auto.commit": False, "log_level": 2}
    with closing(Consumer(client)) as consumer:
        try:
            places = [TopicPartition(topic, partition) for topic, partition in ends if topic == ACTIONS]
            yield from consumer.committed(places, timeout=15.0)
        except KafkaException as error:
            raise unreachable(settings, error) from error


def _unarchived(settings: Settings, ends: Ends) -> Iterator[TopicPartition]:
    there = {name for name, _ in ends}
    held = {topic.name: log_ends(settings, topic.archive) for topic in archived_topics() if topic.name in there}
    left_out = not_begun(settings, {name for name, of in held.items() if of})
    yield from (TopicPartition(name, p, held[name].get(p, (0, 0))[1]) for name, p in ends if name not in left_out)


def _ends(settings: Settings) -> Ends:
    client = {**settings.kafka.client(), "group.id": "streamhouse-audit", "isolation.level": "read_committed", "log_level": 2}
    names = {topic.name for topic in archived_topics()}
    with closing(Consumer(client)) as consumer:
        try:
            there = consumer.list_topics(timeout=15.0).topics
            places = [TopicPartition(name, p) for name in names & there.keys() for p in there[name].partitions]
            return {(place.topic, place.partition): consumer.get_watermark_offsets(place, timeout=15.0)[1] for place in places}
        except KafkaException as error:
            raise unreachable(settings, error) from error


def _holds_records(settings: Settings, ends: Ends, start: TopicPartition) -> bool:
    """Whether a committed record lies between a place and the end; control records do not count."""
    end = ends[start.topic, start.partition]
    first = max(start.offset, 0)
    return first < end and any(True for _ in steps(settings, start.topic, start.partition, first, end))
