"""What the topics hold that the archive does not hold yet, and who has read it: as far as the broker answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from functools import cached_property

import pyarrow as pa
from confluent_kafka import KafkaException, Message, TopicPartition

from infra.config import Settings
from infra.contracts.in_effect import Contract
from infra.contracts.load import load_contracts
from infra.stack.groups import GroupPart, parts
from jobs.archive_rows import archive_row
from jobs.committed_records import first_offsets, read_to_end
from jobs.records import Records
from jobs.scoring_parts import SOURCE_TOPIC, Topic
from jobs.why.archive import PREDICTION_COLUMNS
from jobs.why.named import Place
from lakehouse.iceberg import arrow_schema
from lakehouse.tables import declared

_LETTERS_TOPIC = f"{SOURCE_TOPIC}-dlq"
_CONNECT_SECONDS = 0.5
_GROUPS_SECONDS = 4.0


class Topics:
    """The topics beside the archive; each of its answers is as of when it is asked, but for the groups, which are asked once."""

    def __init__(self, settings: Settings, contract: Contract) -> None:
        self._settings, self._contract = settings, contract

    @cached_property
    def away(self) -> str | None:
        """Why nothing can be asked; None where a broker listens."""
        for server in self._settings.kafka.servers.split(","):
            host, _, port = server.strip().rpartition(":")
            try:
                with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS):
                    return None
            except (OSError, ValueError):
                continue
        return f"no broker listens at {self._settings.kafka.servers}"

    def actions(self, partition: int, first: int, end: int) -> Iterator[Records]:
        """Committed records of user-actions with `first <= offset < end`, in order.

        Raises:
            KafkaException: the broker does not answer, or the topic holds no such offset any more.

        """
        topic = Topic(self._settings, SOURCE_TOPIC)
        yield from topic.records(partition, max(first, topic.low(partition)), end)

    def predictions(self, place: Place, first: int) -> pa.Table:
        """Predictions for an action among the records of its partition of the topic from `first` on; columns as of the archive."""
        return self._found("predictions", place, first, ("action_partition", "action_offset"), PREDICTION_COLUMNS)

    def letters(self, place: Place) -> pa.Table:
        """Dead letters for a record of user-actions that the topic still holds; they lie in the partition of their key."""
        return self._found(_LETTERS_TOPIC, place, None, ("source_partition", "source_offset"), ("event_id", "step", "reason", "message"))

    @cached_property
    def groups(self) -> list[GroupPart] | str:
        """Every consumer group by topic and partition, or why that is not known."""
        if self.away:
            return self.away
        try:
            return parts(self._settings, _GROUPS_SECONDS)
        except (KafkaException, TimeoutError) as error:
            said = error.args[0].str() if isinstance(error, KafkaException) else "no answer in time"
            return f"the broker at {self._settings.kafka.servers} does not tell its groups: {said}"

    def _found(self, topic: str, place: Place, first: int | None, by: tuple[str, str], columns: Sequence[str]) -> pa.Table:
        """`first` None: in every partition, from its beginning."""
        partitions = [place.partition] if first is not None else range(load_contracts().topics[topic].partitions)
        lows = first_offsets(self._settings, [(topic, partition) for partition in partitions])
        start = [TopicPartition(topic, partition, max(first or 0, lows[topic, partition])) for partition in partitions]
        rows = []
        for messages in read_to_end(self._settings, start):
            typed = ((message, archive_row(topic, message.value(), message.timestamp()[1], self._contract)) for message in messages)
            rows += [_row(message, row) for message, row in typed if (row.get(by[0]), row.get(by[1])) == (place.partition, place.offset)]
        table = topic.replace("-", "_")
        schema = arrow_schema(declared(table))
        return pa.Table.from_pylist(rows, pa.schema([schema.field(name) for name in columns]))


def _row(message: Message, typed: dict[str, object]) -> dict[str, object]:
    kafka_time = pa.scalar(message.timestamp()[1], pa.timestamp("ms", "UTC")).as_py()
    return {
        **typed,
        "topic_partition": message.partition(),
        "topic_offset": message.offset(),
        "kafka_time": kafka_time,
        "value": message.value(),
    }
