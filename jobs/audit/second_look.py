"""Holes among answers while the scorer runs: predictions and dead letters of one checkpoint become visible one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.config import Settings
from infra.contracts.in_effect import Contract
from jobs.audit.answers import answers
from jobs.audit.pins import Pin, unreachable
from jobs.audit.replays import Place
from jobs.audit.rows import typed_rows
from jobs.audit.topic_log import steps

_PAUSE = 0.25


def still_missing(settings: Settings, missing: Iterable[Place], answering: Iterable[Pin], contract: Contract, seconds: float) -> set[Place]:
    """Of unanswered places those that no answer behind the pinned ends answers within `seconds`.

    Raises:
        NotAuditable: the broker does not answer.

    """
    left, read = set(missing), {(pin.topic, pin.partition): pin.end for pin in answering}
    deadline = time.monotonic() + seconds
    while left:
        for (topic, partition), start in read.items():
            end = _end(settings, topic, partition)
            for step in steps(settings, topic, partition, start, end):
                rows, _ = answers(topic, partition, step, typed_rows(topic, step, contract))
                left -= set(rows[["action_partition", "offset"]].tolist())
            read[topic, partition] = max(start, end)
        if time.monotonic() >= deadline:
            break
        time.sleep(_PAUSE)
    return left


def _end(settings: Settings, topic: str, partition: int) -> int:
    client = {**settings.kafka.client(), "group.id": "streamhouse-audit", "isolation.level": "read_committed", "log_level": 2}
    with closing(Consumer(client)) as consumer:
        try:
            return int(consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=15.0)[1])
        except KafkaException as error:
            raise unreachable(settings, error) from error
