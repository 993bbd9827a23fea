"""Count the committed records of topics as they come."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError

_BATCH = 20_000
_SILENCE_SECONDS = 60.0


class Watch:
    """Reads each topic from its start, committed records only, in no group; `counts` by topic as of the last look. Close it."""

    def __init__(self, settings: Settings, topics: Sequence[str]) -> None:
        self.counts = dict.fromkeys(topics, 0)
        self._consumer = Consumer(
            {
                **settings.kafka.client(),
                "group.id": "streamhouse-watch",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": 16_384,
            }
        )
        contracts = load_contracts().topics
        self._behind = {(name, partition) for name in topics for partition in range(contracts[name].partitions)}
        self._consumer.assign([TopicPartition(name, partition, 0) for name, partition in sorted(self._behind)])

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._consumer.close()

    def look(self, wait: float = 0.0) -> dict[str, int]:
        """Count what has come, without waiting by default.

        Raises:
            KafkaException: a topic is not there, or the broker refuses.

        """
        while messages := self._consumer.consume(_BATCH, timeout=wait):
            for message in messages:
                error, name = message.error(), message.topic() or ""
                if error is None:
                    self.counts[name] += 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._behind.discard((name, message.partition() or 0))
                elif not error.retriable() and error.code() != KafkaError._ALL_BROKERS_DOWN:
                    raise KafkaException(error)
            if len(messages) < _BATCH:
                break
        return self.counts

    def caught_up(self) -> dict[str, int]:
        """Wait until each topic was read to its end, as that moved, once.

        Raises:
            StreamhouseError: nothing came for a minute.

        """
        heard, before = time.monotonic(), dict(self.counts)
        while self._behind:
            if self.look(0.1) != before:
                heard, before = time.monotonic(), dict(self.counts)
            elif time.monotonic() - heard > _SILENCE_SECONDS:
                name, partition = sorted(self._behind)[0]
                message = f"topic {name}, partition {partition}: expected its end, got nothing for {_SILENCE_SECONDS:.0f} s"
                message += "; see `./streamhouse status`"
                raise StreamhouseError(message)
        return self.counts
