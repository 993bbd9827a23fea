"""A consumer that reads on all the time while faults strike: the committed answers as a service sees them."""

from __future__ import annotations

import hashlib
import threading
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from infra.config import Settings
from infra.contracts.framing import payload
from infra.contracts.load import load_contracts

PREDICTIONS, LETTERS, ACTIONS = "predictions", "user-actions-dlq", "user-actions"
_MOST = 255
_WAKE = 0.02


class _Data(msgspec.Struct, rename="camel"):
    action_partition: int | None = None
    action_offset: int | None = None
    source_partition: int | None = None
    source_offset: int | None = None


class _Answer(msgspec.Struct):
    data: _Data


_answer = msgspec.json.Decoder(_Answer)


def answered_place(value: bytes) -> tuple[int, int]:
    """Partition and offset of the action that a prediction or a dead letter answers."""
    data = _answer.decode(payload(value) or b"").data
    partition = data.source_partition if data.action_partition is None else data.action_partition
    offset = data.source_offset if data.action_offset is None else data.action_offset
    assert partition is not None
    assert offset is not None
    return partition, offset


@dataclass
class Answers:
    """What a reader saw of the two topics of answers, in bounded memory: two bytes an action, a number a user, one a partition.

    `predictions[p][o]` and `letters[p][o]`: how often the action at partition p, offset o was answered so. `seen`: by topic and
    partition the number of records and the sum of their hashes (of offset, key and value), so that two readers can be compared.
    `disordered`: predictions that came, for one user, behind that of a later action.
    """

    partitions: int
    predictions: list[array[int]] = field(default_factory=list)
    letters: list[array[int]] = field(default_factory=list)
    seen: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    disordered: list[str] = field(default_factory=list)
    distinct: int = 0
    _last: dict[bytes | None, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.predictions = [array("B") for _ in range(self.partitions)]
        self.letters = [array("B") for _ in range(self.partitions)]

    def add(self, topic: str, at: tuple[int, int], key: bytes | None, value: bytes) -> tuple[int, int]:
        """Take in the record `at` a partition and offset of its topic; answers the place that it answers."""
        partition, offset = answered_place(value)
        counts = (self.predictions if topic == PREDICTIONS else self.letters)[partition]
        if len(counts) <= offset:
            counts.extend([0] * (offset + 1 - len(counts)))
        if not counts[offset]:
            self.distinct += 1
        counts[offset] = min(_MOST, counts[offset] + 1)
        where = topic, at[0]
        number, total = self.seen.get(where, (0, 0))
        digest = hashlib.blake2b(b"%d %b %b" % (at[1], key or b"", value), digest_size=8).digest()
        self.seen[where] = number + 1, (total + int.from_bytes(digest, "little")) % 2**64
        if topic == PREDICTIONS:  # a user's actions share a partition, so one offset is enough
            if self._last.get(key, -1) >= offset:
                self.disordered.append(f"{(key or b'').decode()}: offset {offset} of partition {partition} after {self._last[key]}")
            self._last[key] = offset
        return partition, offset


class Reader:
    """Reads both topics of answers from their start, committed records only, in no group, until it is closed.

    `expect` and `came` measure a recovery: the first prediction of an action at or behind the given offsets.
    """

    def __init__(self, settings: Settings) -> None:
        contracts = load_contracts().topics
        self.answers = Answers(contracts[ACTIONS].partitions)
        self.error: Exception | None = None
        self._ends: Sequence[int] | None = None
        self._came = threading.Event()
        self._when = 0.0
        self._ending = threading.Event()
        self._consumer = Consumer(
            {
                **settings.kafka.client(),
                "group.id": "streamhouse-chaos-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "reconnect.backoff.max.ms": 500,
                "fetch.wait.max.ms": 50,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(name, p, 0) for name in (PREDICTIONS, LETTERS) for p in range(contracts[name].partitions)])
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the reading."""
        self._ending.set()
        self._thread.join(30)
        self._consumer.close()

    def expect(self, ends: Sequence[int]) -> None:
        """From now on wait for a prediction of an action at or behind these offsets, one for each partition."""
        self._came.clear()
        self._ends = list(ends)

    def came(self, timeout: float) -> float | None:
        """When it was read, by the monotonic clock; None: not within `timeout` seconds."""
        return self._when if self._came.wait(timeout) else None

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                for message in self._consumer.consume(1000, timeout=_WAKE):
                    error = message.error()
                    if error is None:
                        self._add(message)
                    elif error.fatal() or error.name() in ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"):
                        raise KafkaException(error)
        except Exception as error:  # said as a finding by whoever started it
            self.error = error

    def _add(self, message: Message) -> None:
        at = message.partition() or 0, message.offset() or 0
        partition, offset = self.answers.add(message.topic() or "", at, message.key(), message.value() or b"")
        ends = self._ends
        if ends is not None and message.topic() == PREDICTIONS and offset >= ends[partition]:
            self._when, self._ends = time.monotonic(), None
            self._came.set()
