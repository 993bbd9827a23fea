"""Committed records of topics, from given offsets to the topics' ends as of now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported in silence
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from infra.config import Settings

_BATCH = 2000
_ANSWER_SECONDS = 15.0
_ASK_SECONDS = 3.0  # the client waits so long for what it missed once, as the leader of a new topic; asked anew, it sees it
_NOT_YET = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError._DESTROY_BROKER,
    KafkaError._NOENT,
    KafkaError._TIMED_OUT,
)
_FILL_SECONDS = 0.05  # how long a batch waits to fill; also what bounds its bytes where every value is a megabyte


def read_to_end(settings: Settings, start: Sequence[TopicPartition]) -> Iterator[list[Message]]:
    """Records from each partition's offset on, 2,000 at most at a time; partitions interleaved, each in order.

    Aborted records and the broker's own are skipped. Nothing is committed, so no group moves.

    Raises:
        KafkaException: the broker does not answer, or a topic no longer holds the offset (KafkaError._AUTO_OFFSET_RESET).

    """
    consumer = Consumer(settings.kafka.reader(group="streamhouse-read-to-end"))
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


def first_offsets(settings: Settings, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """By topic and partition, the first offset that the topic still holds; where the next record will lie when it holds none.

    Raises:
        KafkaException: the broker does not answer, or has no such topic.

    """
    return _offsets(settings, places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]


def end_offsets(settings: Settings, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """By topic and partition, where the next record will lie.

    Raises:
        KafkaException: as `first_offsets`.

    """
    return _offsets(settings, places, OffsetSpec.latest())  # type: ignore[no-untyped-call]


def committed_ends(settings: Settings, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """By topic and partition, up to where committed records can be read: the first open transaction, or where the next record will lie.

    Raises:
        KafkaException: as `first_offsets`.

    """
    return _offsets(settings, places, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)  # type: ignore[no-untyped-call]


def _offsets(
    settings: Settings,
    places: Iterable[tuple[str, int]],
    wanted: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[tuple[str, int], int]:
    client = AdminClient({**settings.kafka.client(), "log_level": "0"})
    asked = {TopicPartition(topic, partition): wanted for topic, partition in places}
    for attempt in Retrying(
        retry=retry_if_exception(_is_not_yet), stop=stop_after_delay(_ANSWER_SECONDS), wait=wait_fixed(0.2), reraise=True
    ):
        with attempt:
            answers = client.list_offsets(asked, request_timeout=_ASK_SECONDS, isolation_level=isolation)
            found = {(place.topic, place.partition): int(future.result(_ANSWER_SECONDS).offset) for place, future in answers.items()}
    return found


def _is_not_yet(error: BaseException) -> bool:
    """Whether a topic was just made, a broker just came back, or the client knows neither yet."""
    return isinstance(error, KafkaException) and error.args[0].code() in _NOT_YET


def read_all(settings: Settings, topic: str, partitions: int) -> Iterator[Message]:
    """Every record that a topic holds.

    Raises:
        KafkaException: the broker does not answer.

    """
    for messages in read_to_end(settings, [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(partitions)]):
        yield from messages
