"""The offsets that a consumer group is to read next: what a job's source starts from."""

from __future__ import annotations

import time
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.config import Settings
from infra.errors import StreamhouseError

_SECONDS = 15.0
_STAYS_SECONDS = 0.5

Offsets = Mapping[tuple[str, int], int]
"""By topic and partition, the next offset to read."""


def committed(settings: Settings, group: str, places: list[tuple[str, int]], *, wait: bool = True) -> dict[tuple[str, int], int]:
    """What is committed; a place where nothing was is missing. `wait`: for transactions that are about to commit offsets.

    Raises:
        KafkaException: the broker does not answer.

    """
    consumer = _client(settings, group, "read_committed" if wait else "read_uncommitted")
    try:
        answer = consumer.committed([TopicPartition(topic, partition) for topic, partition in places], timeout=_SECONDS)
    finally:
        consumer.close()
    return {(place.topic, place.partition): place.offset for place in answer if place.offset >= 0}


def commit(settings: Settings, group: str, offsets: Offsets) -> None:
    """Set them, back as well as forth, and see that they stay: a run that was just ended may have a commit on its way.

    Raises:
        StreamhouseError: somebody else goes on committing for the group.

    """
    wanted = dict(offsets)
    for _ in range(5):
        consumer = _client(settings, group)
        try:
            consumer.commit(offsets=[TopicPartition(topic, p, offset) for (topic, p), offset in wanted.items()], asynchronous=False)
        except KafkaException as error:
            message = f"the offsets of group {group} cannot be set ({error}); end what reads in that group and try again"
            raise StreamhouseError(message) from error
        finally:
            consumer.close()
        time.sleep(_STAYS_SECONDS)
        if committed(settings, group, list(wanted)) == wanted:
            return
    message = f"somebody else commits offsets for group {group}; end it, as with `./streamhouse down`, and start the job again"
    raise StreamhouseError(message)


def _client(settings: Settings, group: str, isolation_level: str = "read_committed") -> Consumer:
    own = {"group.id": group, "enable.auto.commit": False, "isolation.level": isolation_level, "log_level": 2}
    return Consumer({**settings.kafka.client(), **own})
