"""Print a topic as a downstream service reads it: own consumer group, committed records only."""

from __future__ import annotations

import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from infra.config import Settings
from infra.contracts.framing import payload
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError


def consume(settings: Settings, topic: str, group: str, limit: int | None, idle_seconds: float | None) -> int:
    """Print values from where the group stands, until `limit` or until nothing came for `idle_seconds`; answers how many."""
    known = load_contracts().topics
    if topic not in known:
        text = f"no contract names topic {topic!r}; expected one of {', '.join(sorted(known))}"
        raise StreamhouseError(text)
    faults: set[int] = set()  # by their codes
    consumer = Consumer(
        {
            **settings.kafka.client(),
            "group.id": group,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,  # committed only after it was printed
            "error_cb": lambda error: faults.add(error.code()),
            "log_level": 2,  # what keeps a client from its broker is said once, below
        }
    )
    printed = 0
    heard: float | None = None  # nothing is idle before the group has its partitions

    def assigned(_: Consumer, __: list[TopicPartition]) -> None:
        nonlocal heard
        heard = time.monotonic()

    consumer.subscribe([topic], on_assign=assigned)
    try:
        while limit is None or printed < limit:
            message = consumer.poll(0.5)
            # while the group has no partitions yet; a broker that restarts later is waited for
            if heard is None and KafkaError._ALL_BROKERS_DOWN in faults:
                text = f"no broker answers at {settings.kafka.servers}; run `./streamhouse up`"
                raise StreamhouseError(text)
            if message is None:
                if idle_seconds is not None and heard is not None and time.monotonic() - heard > idle_seconds:
                    break
                continue
            error = message.error()
            if error is not None:
                if not error.retriable():
                    raise KafkaException(error)
                continue
            heard = time.monotonic()
            print((payload(message.value()) or b"null").decode("utf-8", "replace"))
            consumer.store_offsets(message)
            printed += 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader, `head` for one, has enough
    finally:
        consumer.close()
    return printed
