"""Sends the actions at a steady rate, and keeps a log of what was sent where: one byte for each record."""

from __future__ import annotations

import threading
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterable

from confluent_kafka import KafkaError, Message, Producer

from infra.config import Settings
from infra.contracts.contract import Topic
from infra.errors import StreamhouseError
from jobs.chaos.actions import Made, Maker

_BEHIND = 1.0  # seconds; a sender that was held up for longer goes on at its pace instead of hurrying after
_WAITING = 5_000  # records that the broker has not taken yet; past it nothing is made
_TICK = 0.01
_END_SECONDS = 120


class Sent:
    """A log of what lies where: `codes[partition][offset]` is 0 where nothing of ours does, else `kinds[code - 1]`.

    `kinds` are pairs of a kind and the reason of the dead letter that must answer it (None: a prediction must).
    """

    def __init__(self, partitions: int) -> None:
        self.kinds: list[tuple[str, str | None]] = []
        self.codes = [array("B") for _ in range(partitions)]

    def note(self, kind: str, reason: str | None, partition: int, offset: int) -> None:
        """A record of this kind was taken there."""
        if (kind, reason) not in self.kinds:
            self.kinds.append((kind, reason))
        codes = self.codes[partition]
        if len(codes) <= offset:
            codes.extend([0] * (offset + 1 - len(codes)))
        codes[offset] = self.kinds.index((kind, reason)) + 1

    def at(self, partition: int, offset: int) -> tuple[str, str | None]:
        """What was sent to a place; "": nobody knows."""
        codes = self.codes[partition]
        code = codes[offset] if offset < len(codes) else 0
        return self.kinds[code - 1] if code else ("", None)

    def ends(self) -> list[int]:
        """For each partition the offset behind the last record."""
        return [len(codes) for codes in self.codes]

    def by_kind(self) -> dict[str, int]:
        """How many records of each kind there are, the examples of the contract as one kind."""
        counted: Counter[str] = Counter()
        for codes in self.codes:
            for code, count in Counter(codes).items():
                if code:
                    counted[self.kinds[code - 1][0].split("/")[0]] += count
        return dict(sorted(counted.items()))


class Traffic:
    """A thread that sends from `start` until `stop`. A record stands in `sent` when the broker has said that it took it."""

    def __init__(self, settings: Settings, topic: Topic, maker: Maker, rate: float, *, poison: float) -> None:
        self.sent = Sent(topic.partitions)
        self.failed: list[str] = []
        self._topic, self._maker, self._rate, self._poison = topic, maker, rate, poison
        self._wanted: deque[str] = deque()
        self._ending, self._thread = threading.Event(), threading.Thread(target=self._run, name="traffic", daemon=True)
        self._producer = Producer(
            {
                **settings.kafka.client(),
                "enable.idempotence": True,
                "delivery.timeout.ms": 0,  # as long as it takes: a fault is over at some time
                "reconnect.backoff.max.ms": 500,
                "linger.ms": 5,
                "compression.type": "lz4",
                "message.max.bytes": 64 << 20,  # of an opened bomb; the broker judges what it is compressed
                "log_level": 0,
                "error_cb": self._heard,
            }
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more, and wait until the broker has taken everything.

        Raises:
            StreamhouseError: it did not within two minutes, or refused a record.

        """
        self._ending.set()
        self._thread.join(_END_SECONDS)
        left = self._producer.flush(_END_SECONDS)
        if left or self.failed:
            message = f"the broker did not take {left} records of the traffic: {'; '.join(self.failed[:3]) or 'no answer'}"
            raise StreamhouseError(message)

    def insert(self, kinds: Iterable[str]) -> None:
        """Send a record of each of these kinds as the next ones, at the same pace."""
        self._wanted.extend(kinds)

    @property
    def waiting(self) -> int:
        """How many inserted kinds were not sent yet."""
        return len(self._wanted)

    @property
    def taken(self) -> int:
        """How many records the broker took."""
        return sum(self.sent.ends())

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ending.is_set():
            now = time.monotonic()
            due = max(due, now - _BEHIND)
            while due <= now and len(self._producer) < _WAITING:
                self._send(self._maker.make(self._wanted.popleft()) if self._wanted else self._maker.next(poison=self._poison))
                due += 1 / self._rate
            self._producer.poll(_TICK)

    def _send(self, made: Made) -> None:
        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self.failed.append(f"{made.kind}: {error.str()}")
            else:
                self.sent.note(made.kind, made.reason, made.partition, message.offset() or 0)

        self._producer.produce(self._topic.name, made.value, made.key, made.partition, on_delivery=delivered)

    def _heard(self, error: KafkaError) -> None:
        if error.fatal():
            self.failed.append(error.str())
