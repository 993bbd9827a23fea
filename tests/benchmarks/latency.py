"""How long an action waits for its prediction at a fixed rate.

The load is open: each action has a time at which it is due, whatever became of those before it, and its latency counts from then. So a
side that stalls, or a sender that is kept from sending, cannot hide the wait (no coordinated omission).
"""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from infra.config import Settings
from infra.contracts.partitioner import partition_of
from infra.errors import StreamhouseError
from jobs.clickstream import Row
from tests.benchmarks.answers import Answers, AnswersWrong, Place, Sent, place
from tests.benchmarks.drain import STALLED_SECONDS
from tests.benchmarks.processes import Meter
from tests.benchmarks.sides import Side

ISOLATIONS = ("read_uncommitted", "read_committed")
PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
HISTOGRAM_STEP = 1.05
"""Each bucket of a histogram of waits reaches this much further than the one before; the first ends at 0.1 ms."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds from when an action was due until a consumer of either isolation level had its prediction, by percentile.

    `sender_late`: how far behind its schedule the sender was. `cpu_cores`: CPU seconds per second by group of processes.
    `histogram`: by isolation level all waits, as the upper end of each bucket in ms and how many lie in it; buckets grow by HISTOGRAM_STEP.
    """

    actions: int
    per_second: int
    milliseconds: dict[str, dict[str, float]]
    sender_late: dict[str, float]
    cpu_cores: dict[str, float]
    histogram: dict[str, list[tuple[float, int]]]


class _Watcher:
    """A consumer that notes when it had each prediction, from the topic's present end on."""

    def __init__(self, settings: Settings, topic: str, partitions: int, isolation: str) -> None:
        self.seen: list[tuple[float, bytes]] = []
        self._over, self._ready = threading.Event(), threading.Event()
        self._fault: BaseException | None = None
        self._consumer = Consumer(
            {
                **settings.kafka.client(),
                "group.id": f"benchmark-{isolation}",
                "enable.auto.commit": False,
                "isolation.level": isolation,
                "enable.partition.eof": True,
            }
        )
        ends = [self._consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10.0)[1] for p in range(partitions)]
        self._consumer.assign([TopicPartition(topic, p, end) for p, end in enumerate(ends)])
        self._missing = set(range(partitions))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        if not self._ready.wait(30):
            message = f"a {isolation} consumer did not reach the end of {topic} within 30 s"
            raise StreamhouseError(message)

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                message = self._consumer.poll(0.2)
                if message is None:
                    continue
                now = time.perf_counter()
                error = message.error()
                if error is None:
                    self.seen.append((now, message.value() or b""))
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._missing.discard(message.partition() or 0)
                    if not self._missing:
                        self._ready.set()
                else:
                    raise KafkaException(error)
        except BaseException as error:
            self._fault = error
            raise

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)
        self._consumer.close()
        if self._fault is not None:
            raise self._fault


def latency(
    settings: Settings, side: Side, rows: Sequence[Row], partitions: int, per_second: int, warm: int = 0
) -> tuple[Latency, Sent, Answers]:
    """Send the rows at their times and wait until each is answered; the first `warm` of them are not counted.

    Raises:
        AnswersWrong: one of the consumers that were timed did not see each prediction once, or not as the other saw it.

    """
    watchers = [_Watcher(settings, side.predictions.topic, partitions, isolation) for isolation in ISOLATIONS]
    meter, began = Meter(side.processes), time.perf_counter()
    gc.disable()  # a collection would stand between a prediction and its time
    try:
        due, sent, late = send_at_rate(settings, side.source, rows, partitions, per_second)
        heard, before = time.monotonic(), -1
        while (least := min(len(watcher.seen) for watcher in watchers)) < len(rows) and time.monotonic() - heard < STALLED_SECONDS:
            if least != before:
                heard, before = time.monotonic(), least
            side.check()
            time.sleep(0.1)
    finally:
        gc.enable()
        took, cpu_seconds = time.perf_counter() - began, meter.cpu_seconds()
        for watcher in watchers:
            watcher.close()
    seen = {isolation: [value for _, value in watcher.seen] for isolation, watcher in zip(ISOLATIONS, watchers, strict=True)}
    if said := unlike(side.name, sent.values(), seen):
        raise AnswersWrong("\n".join(said))
    milliseconds, histogram = {}, {}
    for isolation, watcher in zip(ISOLATIONS, watchers, strict=True):
        first: dict[Place, float] = {}
        for at, value in watcher.seen:
            first.setdefault(place(value), at)
        waits = [(first[where] - due[i]) * 1000 for i, where in sent.items() if where in first and i >= warm]
        milliseconds[isolation], histogram[isolation] = _percentiles(waits), histogram_of(waits)
    cores = {name: seconds / took for name, seconds in cpu_seconds.items()}
    got = Answers()
    side.take(got)
    return (
        Latency(len(rows) - warm, per_second, milliseconds, _percentiles(late[warm:]), cores, histogram),
        dict.fromkeys(sent.values()),
        got,
    )


def unlike(name: str, sent: Iterable[Place], seen: Mapping[str, Sequence[bytes]]) -> list[str]:
    """Where a consumer, by isolation level, did not see each prediction once and as the others saw it; a sentence each."""
    wanted, said, first = set(sent), [], dict[Place, bytes]()
    for isolation, predictions in seen.items():
        had = [(place(value), value) for value in predictions]
        by_place = dict(had)
        found = {
            "did not see": wanted - by_place.keys(),
            "saw, though they were not sent,": by_place.keys() - wanted,
            "saw twice": {where for where, count in Counter(where for where, _ in had).items() if count > 1},
            "saw otherwise than another consumer": {where for where, value in had if first.setdefault(where, value) != value},
        }
        said += [
            f"{name}: a {isolation} consumer {what} the predictions of {len(places)} of {len(wanted)} actions,"
            f" the first at (partition, offset) {min(places)}"
            for what, places in found.items()
            if places
        ]
    return said


def send_at_rate(
    settings: Settings, topic: str, rows: Sequence[Row], partitions: int, per_second: int
) -> tuple[list[float], dict[int, Place], list[float]]:
    """When each row was due, where it lies, and how many ms late it was handed to the client."""
    producer = Producer({**settings.kafka.client(), "enable.idempotence": True, "linger.ms": 1})
    sent: dict[int, Place] = {}

    def delivered(i: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            text = f"{topic} did not take an action: {error.str()}"
            raise StreamhouseError(text)
        sent[i] = message.partition() or 0, message.offset() or 0

    encoded = [(row.value, row.user_id.encode(), partition_of(row.user_id, partitions)) for row in rows]
    producer.list_topics(topic, timeout=10)  # connected before the first is due
    began = time.perf_counter() + 0.5
    due = [began + i / per_second for i in range(len(rows))]
    late = []
    for i, (value, key, partition) in enumerate(encoded):
        while (wait := due[i] - time.perf_counter()) > 0:
            time.sleep(wait)
        producer.produce(topic, value, key, partition, on_delivery=partial(delivered, i))
        late.append((time.perf_counter() - due[i]) * 1000)
        producer.poll(0)
    if left := producer.flush(60):
        text = f"{topic} did not take {left} actions within 60 s"
        raise StreamhouseError(text)
    return due, sent, late


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {name: float(np.percentile(values, percent)) for name, percent in PERCENTILES.items()}


def histogram_of(waits: Sequence[float]) -> list[tuple[float, int]]:
    """Milliseconds as buckets that hold any, each by its upper end."""
    if not waits:
        return []
    bucket = np.maximum(0, np.ceil(np.log(np.maximum(waits, 1e-9) / 0.1) / np.log(HISTOGRAM_STEP))).astype(int)
    found, counts = np.unique(bucket, return_counts=True)
    return [(0.1 * HISTOGRAM_STEP**one, count) for one, count in zip(found.tolist(), counts.tolist(), strict=True)]
