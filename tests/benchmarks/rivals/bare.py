"""Loops of confluent-kafka, redis-py and onnxruntime: at least once, and nothing else around them.

    python -m tests.benchmarks.rivals.bare rows|fields|blobs BRIEF

- `rows`: one message at a time: read the user's fields, score, write them back. What is written first.
- `fields`: batches: all users' fields in one pipeline, one call of the model, one pipeline back. What it becomes when it is too slow.
- `blobs`: the same with one packed value for each user and the profile in it: MGET and MSET. What it becomes when somebody measures.

Offsets are committed about once a second, after all predictions made from them have been acknowledged. After a crash up to a second of
actions is counted and answered twice. Several processes share out the partitions. "ready": assigned and connected, and for `blobs` all
profiles are packed.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from tests.benchmarks.rivals.clients import consumer, produce, producer, ready, told, when_input_ends
from tests.benchmarks.rivals.states import Blobs, Fields, States
from tests.benchmarks.rivals.work import Work, decode

BATCH = 512
"""Messages at most: with 2,000 an action costs no less CPU, with 128 a tenth more."""
_FILL_SECONDS = 0.005  # how long a batch that has begun may wait for more
_COMMIT_SECONDS = 1.0
_IDLE_SECONDS = 0.2

Answer = Callable[[list[Message]], tuple[list[str], list[bytes]]]
"""Messages -> keys and values of their predictions; the users' states in Redis are moved on."""


def in_batches(work: Work, states: States) -> Answer:
    """One read, one call of the model and one write for all messages."""

    def answer(messages: list[Message]) -> tuple[list[str], list[bytes]]:
        events = [decode(message.value() or b"") for message in messages]
        places = [(message.partition() or 0, message.offset() or 0) for message in messages]
        keys = [event.data.user_id for event in events]
        users = states.read(dict.fromkeys(keys))
        values = work.answer(events, places, users)
        states.write(users)
        return keys, values

    return answer


def one_by_one(work: Work, states: Fields) -> Answer:
    """A read, a call of the model and a write for each message."""

    def answer(messages: list[Message]) -> tuple[list[str], list[bytes]]:
        (message,) = messages
        event = decode(message.value() or b"")
        name = event.data.user_id
        user = states.read_one(name)
        values = work.answer([event], [(message.partition() or 0, message.offset() or 0)], {name: user})
        states.write_one(name, user)
        return [name], values

    return answer


def run(task: dict[str, Any], mode: str, is_over: Callable[[], bool]) -> None:
    """Answer what comes until `is_over`."""
    work = Work(task)
    if mode == "rows":
        answer, batch = one_by_one(work, Fields(task, work)), 1
    elif mode == "fields":
        answer, batch = in_batches(work, Fields(task, work)), BATCH
    else:
        blobs = Blobs(task, work)
        blobs.preload()
        answer, batch = in_batches(work, blobs), BATCH
    source, sink = consumer(task), producer(task)
    ready()
    committed, positions = time.monotonic(), dict[int, int]()
    while not is_over():
        if (first := source.poll(_IDLE_SECONDS if not positions else _COMMIT_SECONDS / 10)) is not None:
            messages = [first, *(source.consume(batch - 1, _FILL_SECONDS) if batch > 1 else [])]
            for message in messages:
                if (error := message.error()) is not None:
                    raise KafkaException(error)
            produce(sink, task["sink"], *answer(messages))
            for message in messages:
                positions[message.partition() or 0] = (message.offset() or 0) + 1
        if positions and time.monotonic() - committed >= _COMMIT_SECONDS:
            _commit(task, source, sink, positions)
            committed, positions = time.monotonic(), {}
    if positions:
        _commit(task, source, sink, positions)
    source.close()


def _commit(task: dict[str, Any], source: Consumer, sink: Producer, positions: dict[int, int]) -> None:
    """First the answers, then the offsets; only the former is waited for."""
    sink.flush()
    source.commit(offsets=[TopicPartition(task["source"], *position) for position in positions.items()], asynchronous=True)


def main() -> None:
    """Run until standard input ends."""
    over = threading.Event()
    when_input_ends(over.set)
    run(told(), sys.argv[1], over.is_set)


if __name__ == "__main__":
    main()
