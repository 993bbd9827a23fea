"""The rival: what a team would write without Flink, a loop around a consumer and a producer of confluent-kafka in one process.

The same library code does the same work: decode, read the users' rows from Redis, fold, score, write them back, encode. Answers
and offsets are committed together in a Kafka transaction once a second, so it is exactly-once too. It reads `<name>-actions` and writes
`<name>-predictions` and `<name>-dlq` in a group of its own, and ends when its standard input ends.

    python -m tests.benchmarks.plain_loop NAME BATCH_ROWS
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from infra.clock import system_clock
from infra.config import Settings, load_settings
from infra.contracts.load import load_contracts
from jobs.scoring_parts import SOURCE_TOPIC, as_records, enricher, model, rules
from jobs.scoring_path import answer

COMMIT_SECONDS = 1.0
_IDLE_SECONDS = 0.2
_FILL_SECONDS = 0.005  # how long a batch waits for more


def source(name: str) -> str:
    """The topic that the loop of this name reads."""
    return f"{name}-actions"


def sinks(name: str) -> tuple[str, str]:
    """The topics that it writes: predictions, dead letters."""
    return f"{name}-predictions", f"{name}-dlq"


def run(settings: Settings, name: str, batch_rows: int, is_over: Callable[[], bool]) -> None:
    """Answer what comes until `is_over`."""
    topic = source(name)
    predictions, dead_letters = sinks(name)
    source_rules, scorer = rules(), model(settings)
    enrich = enricher(settings, time.sleep, source_rules, topic=topic, group=name)
    consumer = Consumer(
        {
            **settings.kafka.client(),
            "group.id": name,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(source_rules.partitions)])
    producer = Producer(
        {
            **settings.kafka.client(),
            "transactional.id": name,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "message.max.bytes": 2 * load_contracts().topics[SOURCE_TOPIC].max_message_bytes,
        }
    )
    producer.init_transactions(30)
    gc.collect()
    gc.freeze()  # as the Flink worker does
    print("ready", flush=True)

    opened: float | None = None  # when the transaction began
    positions: dict[int, int] = {}
    while not is_over():
        wait = _IDLE_SECONDS if opened is None else max(0.0, opened + COMMIT_SECONDS - time.monotonic())
        if (first := consumer.poll(wait)) is not None:
            messages = [first, *(consumer.consume(batch_rows - 1, _FILL_SECONDS) if batch_rows > 1 else [])]
            if opened is None:
                producer.begin_transaction()
                opened = time.monotonic()
            for message in messages:
                if (error := message.error()) is not None:
                    raise KafkaException(error)
            answers = answer(as_records(messages), source_rules, enrich, scorer, system_clock())
            for is_prediction, key, value in zip(answers.is_prediction, answers.keys, answers.values, strict=True):
                _produce(producer, predictions if is_prediction else dead_letters, key, value)
            positions |= {message.partition() or 0: (message.offset() or 0) + 1 for message in messages}
        if opened is not None and time.monotonic() - opened >= COMMIT_SECONDS:
            offsets = [TopicPartition(topic, partition, offset) for partition, offset in positions.items()]
            producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
            producer.commit_transaction()
            opened = None
    if opened is not None:
        producer.abort_transaction()
    consumer.close()


def _produce(producer: Producer, topic: str, key: bytes | None, value: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value, key)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def main() -> None:
    """Run until standard input ends, which it does with whoever started this."""
    over = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=listen, daemon=True).start()
    run(load_settings(), sys.argv[1], int(sys.argv[2]), over.is_set)


if __name__ == "__main__":
    main()
