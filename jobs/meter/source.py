"""What the meter reads: the archive once, then the topics behind it, by consumers that belong to no group and hold nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs.answered import PREDICTIONS
from jobs.archived_log import TABLE, LogCutError, archived
from jobs.committed_records import end_offsets, first_offsets
from jobs.records import Records
from jobs.scoring_parts import SOURCE_TOPIC
from lakehouse.read import log_ends, snapshot
from lakehouse.tags import held, untag

_TAG = "meter"
_BATCH = 2000
_FILL_SECONDS = 0.05  # how long a batch waits to fill; what bounds its bytes where every value is a megabyte
_ASK_SECONDS = 10.0
_CLIENT = {
    "group.id": "streamhouse-meter",
    "enable.auto.commit": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
    "fetch.min.bytes": 200_000,  # the broker may gather for half a second: fewer answers, less to do on both sides
    "fetch.wait.max.ms": 500,
    "queued.max.messages.kbytes": 8192,
    "log_level": 2,  # what goes wrong is raised
}


class Followed:
    """A topic from given offsets on, committed records alone."""

    def __init__(self, settings: Settings, topic: str, start: Mapping[int, int]) -> None:
        """Begin at `start`, by partition.

        Raises:
            KafkaException: the broker does not answer.

        """
        self._consumer = Consumer({**settings.kafka.client(), **_CLIENT})
        places = [TopicPartition(topic, partition, offset) for partition, offset in start.items()]
        try:
            self._consumer.get_watermark_offsets(places[0], timeout=_ASK_SECONDS)  # `consume` would wait for its broker without end
        except BaseException:
            self.close()
            raise
        self._consumer.assign(places)

    def batches(self, most: int) -> Iterator[list[Message]]:
        """What came since, a batch at a time, and no more than so many batches; fewer when the end is near.

        Raises:
            KafkaException: the topic no longer holds the next offset, or is gone.

        """
        for _ in range(most):
            messages = self._consumer.consume(_BATCH, timeout=_FILL_SECONDS)
            for message in messages:
                if (error := message.error()) is not None:
                    raise KafkaException(error)
            if messages:
                yield messages
            if len(messages) < _BATCH:
                return

    def close(self) -> None:
        """Leave."""
        self._consumer.close()


def ends_of_predictions(settings: Settings) -> dict[int, int]:
    """By partition, where the next prediction will lie.

    Raises:
        KafkaException: the broker does not answer, or has no such topic.

    """
    return {partition: end for (_, partition), end in end_offsets(settings, _places(PREDICTIONS)).items()}


def past(settings: Settings) -> Iterator[tuple[int, Iterator[Records], int]]:
    """Each partition's records up to where the topic goes on: partition, its archived records, and that offset.

    The archive is read from its first record on, under a tag for so long. Where it begins behind the topic, the topic is read instead.

    Raises:
        LogCutError: neither archive nor topic holds all records from the first on, or the topic ends before its archive.
        LakehouseError: a table is not there or cannot be read.
        KafkaException: the broker does not answer, or has no such topic.

    """
    untag(settings, _TAG, [TABLE])  # of a meter that was killed
    lows = {partition: low for (_, partition), low in first_offsets(settings, _places(SOURCE_TOPIC)).items()}
    ends = {partition: end for (_, partition), end in end_offsets(settings, _places(SOURCE_TOPIC)).items()}
    with nullcontext({TABLE: None}) if snapshot(settings, TABLE) is None else held(settings, _TAG, [TABLE]) as snapshots:
        pinned = snapshots[TABLE]
        spans = {} if pinned is None else log_ends(settings, TABLE, pinned)
        for partition, low in lows.items():
            first, end = spans.get(partition, (low + 1, 0))
            _refuse_gap(partition, 0, min(first, low))
            if pinned is None or low < first:
                yield partition, iter(()), low
                continue
            if end > ends[partition]:
                message = (
                    f"partition {partition}: expected topic {SOURCE_TOPIC} to go on where table {TABLE} ends, at {end}, got a topic that"
                    f" ends at {ends[partition]}: it was made anew or lost records; `./streamhouse audit` tells more"
                )
                raise LogCutError(message)
            _refuse_gap(partition, end, low)
            yield partition, archived(settings, partition, first, end, pinned), end


def _refuse_gap(partition: int, end: int, low: int) -> None:
    if end < low:
        message = (
            f"partition {partition}: expected offsets {end} to {low - 1} in topic {SOURCE_TOPIC} or table {TABLE}, got none;"
            " features cannot be made again without them: start archive_topics earlier than retention cuts"
        )
        raise LogCutError(message)


def _places(topic: str) -> list[tuple[str, int]]:
    return [(topic, partition) for partition in range(load_contracts().topics[topic].partitions)]
