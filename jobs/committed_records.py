"""Committed records of topics, from given offsets to the topics' ends as of now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.config import Settings

_BATCH = 2000
_FILL_SECONDS = 0.05  # how long a batch waits to fill; also what bounds its bytes where every value is a megabyte


def read_to_end(settings: Settings, start: Sequence[TopicPartition]) -> Iterator[list[Message]]:
    """Records from each partition's offset on, 2,000 at most at a time; partitions interleaved, each in order.

    Aborted records and the broker's own are skipped. Nothing is committed, so no group moves.

    Raises:
        KafkaException: the broker does not answer, or a topic no longer holds the offset (KafkaError._AUTO_OFFSET_RESET).

    """
    consumer = Consumer(
        {
            **settings.kafka.client(),
            "group.id": "streamhouse-read-to-end",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
        }
    )
    try:
        for place in start[:1]:
            consumer.get_watermark_offsets(place, timeout=10.0)  # `consume` would wait for its broker without end
        consumer.assign(list(start))
        unread = {(place.topic, place.partition) for place in start}
        while unread:
            found = []
            for message in consumer.consume(_BATCH, timeout=_FILL_SECONDS):
                error = message.error()
                if error is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread.discard((message.topic() or "", message.partition() or 0))
                else:
                    raise KafkaException(error)
            if found:
                yield found
    finally:
        consumer.close()


def read_all(settings: Settings, topic: str, partitions: int) -> Iterator[Message]:
    """Every record that a topic holds.

    Raises:
        KafkaException: the broker does not answer.

    """
    for messages in read_to_end(settings, [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(partitions)]):
        yield from messages
