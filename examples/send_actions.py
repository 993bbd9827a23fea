"""A service that publishes user actions, in twenty lines: three of one user, the last of which is no good.

Each event describes itself: its type, its version, when it happened, and an id of its own, by which a repetition is told. The key is the
user, so that a user's actions stay in order in one partition; `murmur2_random` chooses it as Kafka's Java clients do, and the job checks
that. What cannot be scored becomes a dead letter: `./streamhouse dlq list`.

    .streamhouse/env/bin/python examples/send_actions.py ada
"""

import json
import sys
import uuid
from datetime import UTC, datetime

from confluent_kafka import KafkaError, Message, Producer

user = sys.argv[1] if len(sys.argv) > 1 else "ada"
servers = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:19092"
producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "partitioner": "murmur2_random"})


def said(error: KafkaError | None, message: Message) -> None:
    """Where an action lies now, or why it does not."""
    print(error or f"{message.topic()} {message.partition()}/{message.offset()}")


for action in ("product_view", "add_to_cart", "Add To Cart"):
    event = {
        "eventType": "UserAction",
        "eventId": str(uuid.uuid4()),
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "version": 1,
        "source": "send_actions",
        "correlationId": str(uuid.uuid4()),
        "data": {"userId": user, "sessionId": "a-visit", "action": action},
    }
    producer.produce("user-actions", json.dumps(event), key=user, on_delivery=said)
sys.exit(bool(producer.flush(30)))  # 0 once the broker has all of them
