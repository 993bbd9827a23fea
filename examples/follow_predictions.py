"""A downstream service in twenty lines: what to do when somebody is about to purchase.

Run it twice with two group names, and each hears every prediction; twice with one name, and they share the partitions.

    .streamhouse/env/bin/python examples/follow_predictions.py my-service
"""

import json
import sys

from confluent_kafka import Consumer

settings = {
    "bootstrap.servers": "127.0.0.1:19092",
    "isolation.level": "read_committed",
    "auto.offset.reset": "earliest",
}
consumer = Consumer(settings | {"group.id": sys.argv[1] if len(sys.argv) > 1 else "my-service"})
consumer.subscribe(["predictions"])
while True:
    message = consumer.poll(1.0)
    if message is None or message.error():
        continue
    prediction = json.loads(message.value() or b"{}")["data"]
    if prediction["decision"]:
        print(f"{prediction['userId']} is about to purchase: {prediction['score']:.3f}", flush=True)
