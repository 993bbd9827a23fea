"""Play a clickstream into user-actions in event-time order, each action once however often it is played."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import KafkaError, Message, Producer

from infra.config import Settings
from infra.contracts.contract import Topic
from infra.contracts.partitioner import partition_of
from infra.errors import StreamhouseError
from jobs.clickstream import Clickstream, Row, rows
from jobs.committed_records import read_all

_DIGEST, _NUMBER = "clickstream", "row"  # record headers: which file, which row of it


@dataclass(frozen=True)
class Played:
    """What became of a file's actions: sent now, and found in the topic from before."""

    sent: int
    already_there: int


class SendError(StreamhouseError):
    """The broker did not take an action."""


def play(
    settings: Settings,
    topic: Topic,
    clickstream: Clickstream,
    *,
    speed: float | None,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    progress: Callable[[Row], None],
) -> Played:
    """Send what the topic does not hold yet. `speed`: times real time, None: as fast as the broker takes it.

    A run that is interrupted and started again sends the rest; nothing is sent twice.

    Raises:
        SendError: a message was not taken within two minutes.

    """
    there = rows_in_topic(settings, topic, clickstream)
    producer = Producer(
        {
            **settings.kafka.client(),
            "enable.idempotence": True,
            "linger.ms": 5 if speed is None else 0,
            "delivery.timeout.ms": 120_000,
            "compression.type": "lz4",
            "log_level": 2,  # what librdkafka says of a broker that starts or went away is said once, by whoever called
        }
    )
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    sent, started, first = 0, clock(), None
    for row in rows(clickstream):
        if row.number not in there:
            if speed is not None:
                first = row.time if first is None else first
                wait = started + (row.time - first) / 1000 / speed - clock()
                if wait > 0:
                    producer.poll(0)
                    sleep(wait)
            _send(producer, topic, clickstream, row, delivered)
            sent += 1
        progress(row)
        if failures:
            break
    if producer.flush(120) or failures:
        why = failures[0].str() if failures else "no answer for 120 s"
        message = f"{topic.name} did not take all actions: {why}; run the command again, it sends only what is missing"
        raise SendError(message)
    return Played(sent, len(there))


def _send(
    producer: Producer,
    topic: Topic,
    clickstream: Clickstream,
    row: Row,
    delivered: Callable[[KafkaError | None, Message], None],
) -> None:
    while True:
        try:
            producer.produce(
                topic.name,
                key=row.user_id.encode(),
                value=row.value,
                partition=partition_of(row.user_id, topic.partitions),
                headers=[(_DIGEST, clickstream.digest.encode()), (_NUMBER, str(row.number).encode())],
                on_delivery=delivered,
            )
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def rows_in_topic(settings: Settings, topic: Topic, clickstream: Clickstream) -> set[int]:
    """The numbers of the file's rows that the topic holds already, read from its record headers."""
    digest = clickstream.digest.encode()
    found: set[int] = set()
    for message in read_all(settings, topic.name, topic.partitions):
        headers = dict(message.headers() or [])
        if headers.get(_DIGEST) == digest:
            found.add(int(headers[_NUMBER] or -1))
    return found
