"""Kafka transactions of a partition's owner: records and the group's offsets together, or neither. No call hangs for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfTime
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from infra.config import Settings
from jobs.patterns.handling import Outgoing

_TRANSACTION_MS = 30_000
_ANSWER_SECONDS = 15.0
_TRIES = 4
_HUNG_SECONDS = 25.0  # above _ANSWER_SECONDS


class NotCommitted(Exception):
    """A transaction was not committed, or nobody knows: the log tells, once the next producer of its id has begun."""


def owning_producer(settings: Settings, transactional_id: str, most_bytes: int) -> Producer:
    """A producer that ends what the one before it under this id left open, and lets that one commit nothing more.

    Raises:
        NotCommitted, KafkaException: the broker does not answer.

    """
    producer = Producer(
        {
            **settings.kafka.client(),
            "transactional.id": transactional_id,
            "transaction.timeout.ms": _TRANSACTION_MS,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 2,
            "message.max.bytes": most_bytes,
            "log_level": 2,
        }
    )
    _bounded(lambda: _retried(lambda: producer.init_transactions(_ANSWER_SECONDS)))
    return producer


def commit(
    producer: Producer, consumer: Consumer | None, sent: Sequence[Outgoing], offsets: Sequence[TopicPartition] = ()
) -> dict[tuple[str, int], int]:
    """Send records and commit them with the offsets, if the consumer's group still is in its generation; None: there are no offsets.

    Answers by topic and partition the last offset that was sent to.

    Raises:
        NotCommitted, KafkaException: begin anew with another producer.

    """
    failures: list[KafkaError] = []
    last: dict[tuple[str, int], int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failures.append(error)
        else:
            place = message.topic() or "", int(message.partition() or 0)
            last[place] = max(last.get(place, 0), int(message.offset() or 0))

    producer.begin_transaction()
    for one in sent:
        _produce(producer, one, delivered)

    def finish() -> None:
        if consumer is not None:
            group = consumer.consumer_group_metadata()
            _retried(lambda: producer.send_offsets_to_transaction(list(offsets), group, _ANSWER_SECONDS))
        _retried(lambda: producer.commit_transaction(_ANSWER_SECONDS))

    _bounded(finish)
    if failures:
        raise NotCommitted(failures[0].str())
    return last


def _produce(producer: Producer, one: Outgoing, delivered: Callable[[KafkaError | None, Message], None]) -> None:
    partition, headers = -1 if one.partition is None else one.partition, list[Any](one.headers)
    while True:
        try:
            producer.produce(one.topic, one.value, one.key, partition, headers=headers, on_delivery=delivered)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def _bounded(call: Callable[[], object]) -> None:
    """A call of the transactional producer that does not hang for ever.

    librdkafka's `send_offsets_to_transaction` looks at no clock: where the group's coordinator went away at the wrong moment, it waits
    for an answer that never comes (its issue 5456). Such a call is left to its thread, and its producer is fenced by the next one's.
    """
    future: Future[None] = Future()

    def run() -> None:
        try:
            call()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    try:
        future.result(_HUNG_SECONDS)
    except OutOfTime as error:
        message = f"a transaction was not committed within {_HUNG_SECONDS:.0f} s, and the client does not come back"
        raise NotCommitted(message) from error


def _retried(call: Callable[[], object]) -> None:
    """A call of the transactional producer, again while the client says that it may be repeated."""
    for left in reversed(range(_TRIES)):
        try:
            call()
        except KafkaException as error:
            if left == 0 or not error.args[0].retriable():
                raise
        else:
            return
