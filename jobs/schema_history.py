"""What was decided about schema ids, for who reads framed records again: by the topic or, without a broker, by its archive."""

from __future__ import annotations

import time
from functools import reduce

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from infra.config import Settings
from infra.contracts.decisions import NOTHING, TOPIC, Decisions, after_value
from infra.contracts.framing import WriterSchema
from infra.contracts.registered import RegisteredSchemas
from infra.stack import health
from jobs.asking import asking
from jobs.committed_records import read_to_end

_UNKNOWN_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC)


class AsRegistered:
    """Schemas as the registry knows them now: what a record would be decoded by if it came now. Nothing is decided.

    An id is asked about once, also one that is not known: bad input may name the same one in thousands of records.
    """

    def __init__(self, settings: Settings) -> None:
        self._registry = RegisteredSchemas(settings, time.sleep)
        self._asked: dict[int, WriterSchema | None] = {}

    def schema_at(self, topic: str, partition: int, offset: int, schema_id: int) -> WriterSchema | None:
        """The schema of an id; None: the registry does not know it.

        Raises:
            RegistryUnreachable: it does not answer.

        """
        if schema_id not in self._asked:
            self._asked |= self._registry.ask([schema_id])
        return self._asked[schema_id]


def decisions(settings: Settings) -> Decisions:
    """All that was decided, by the topic where a broker answers, else by the archive.

    Raises:
        StreamhouseError: neither can be read.

    """
    if not health.answers(settings, "broker"):
        return decisions_in_table(settings)
    with asking("what was decided about schema ids"):
        try:
            return decisions_in_topic(settings)
        except KafkaException as error:
            if error.args[0].code() in _UNKNOWN_TOPIC:
                return NOTHING  # a broker from before there was the topic: nobody has decided anything
            raise


def decisions_in_topic(settings: Settings) -> Decisions:
    """All that was decided, as the topic holds it now.

    Raises:
        KafkaException: the broker does not answer.

    """
    return read_on(settings, NOTHING, OFFSET_BEGINNING)[0]


def decisions_in_table(settings: Settings) -> Decisions:
    """All that was decided, as the archive holds it: without broker and registry."""
    from lakehouse.schema_ids import decided_values  # PyIceberg, which a worker does not need

    return reduce(after_value, decided_values(settings), NOTHING)


def read_on(settings: Settings, decisions: Decisions, start: int) -> tuple[Decisions, int]:
    """The decisions with those from an offset on, and where the next one will lie."""
    behind = max(start, 0)
    for messages in read_to_end(settings, [TopicPartition(TOPIC, 0, start)]):
        for message in messages:
            decisions = after_value(decisions, message.value())
        behind = (messages[-1].offset() or 0) + 1
    return decisions, behind
