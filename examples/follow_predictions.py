"""A downstream service in twenty lines: what to do when somebody is about to purchase.

Run it twice with two group names, and each hears every prediction; twice with one name, and they share the partitions.
Stopped and started again, a group goes on where it stood; killed, it hears the last few predictions once more.

    .streamhouse/env/bin/python examples/follow_predictions.py my-service
"""

import json
import signal
import sys

from confluent_kafka import Consumer, KafkaException

settings = {
    "group.id": sys.argv[1] if len(sys.argv) > 1 else "my-service",
    "bootstrap.servers": sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:19092",
    "isolation.level": "read_committed",  # never what a crash took back
    "auto.offset.reset": "earliest",  # a new group starts with the oldest
    "enable.auto.offset.store": False,  # counted as heard only when acted upon
}
signal.signal(signal.SIGTERM, signal.default_int_handler)
consumer = Consumer(settings)
consumer.subscribe(["predictions"])
try:
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        value = message.value() or b""
        prediction = json.loads(value[5:] if value[:1] == b"\0" else value)["data"]  # behind a schema's id, where predictions are framed
        acts = "  <- about to purchase" if prediction["decision"] else ""
        print(f"{message.partition()}/{message.offset()} {prediction['userId']} {prediction['score']:.3f}{acts}", flush=True)
        consumer.store_offsets(message)
except KeyboardInterrupt:
    pass
finally:
    consumer.close()  # says how far it came
