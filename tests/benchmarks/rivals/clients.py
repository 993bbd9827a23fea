"""What the rivals' programs share around the work: what they are told, when they end, and their clients of Kafka."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import OFFSET_STORED, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition


def told() -> dict[str, Any]:
    """The brief, whose file is the last argument."""
    task: dict[str, Any] = orjson.loads(Path(sys.argv[-1]).read_bytes())
    return task


def when_input_ends(do: Callable[[], None]) -> None:
    """Do this in a thread when standard input ends, which it does with whoever started this."""

    def listen() -> None:
        sys.stdin.read()
        do()

    threading.Thread(target=listen, daemon=True).start()


def partitions(task: dict[str, Any]) -> list[int]:
    """Those of this process, where several share the topic."""
    return list(range(task["process"], task["partitions"], task["processes"]))


def ready() -> None:
    """Say so. What was made until now lives as long as the process and is not looked at by the collector again."""
    gc.collect()
    gc.freeze()
    print("ready", flush=True)


def consumer(task: dict[str, Any]) -> Consumer:
    """Assigned its partitions, from the offsets that its group has committed, or else from the start."""
    made = Consumer(
        {
            **task["kafka"],
            "group.id": task["name"],
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": 131_072,  # enough prefetched that a batch never waits for the broker
        }
    )
    made.assign([TopicPartition(task["source"], partition, OFFSET_STORED) for partition in partitions(task)])
    return made


def producer(task: dict[str, Any]) -> Producer:
    """Waits for the broker's acknowledgement in the background and repeats without doubling."""
    return Producer(
        {
            **task["kafka"],
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,  # the library's own default: a batch of predictions fills requests anyway, and more costs latency
            "queue.buffering.max.messages": 500_000,
            "delivery.report.only.error": True,  # a callback for each message would cost as much as sending it
            "on_delivery": _refused,
        }
    )


def _refused(error: KafkaError | None, _: Message) -> None:
    if error is not None:
        raise KafkaException(error)


def produce(to: Producer, topic: str, keys: Iterable[str], values: Iterable[bytes]) -> None:
    """Hand predictions over to the producer's queue."""
    send = to.produce
    for key, value in zip(keys, values, strict=True):
        while True:
            try:
                send(topic, value, key)
            except BufferError:  # the queue is full: wait for the broker
                to.poll(0.1)
            else:
                break
    to.poll(0)
