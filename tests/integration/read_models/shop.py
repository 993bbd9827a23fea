"""Topics of a test's own, what is put into them, and the rows that readers see."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported in silence
from sqlalchemy import Engine, select

from infra.config import ROOT, Settings
from infra.contracts.partitioner import partition_of
from jobs.patterns.database import open_database, reading
from jobs.patterns.message import Envelope, encode
from jobs.patterns.project import follow
from jobs.patterns.projection import Projection
from jobs.shop.messages import OrderPlaced
from jobs.shop.order_predictions import ORDER_PREDICTIONS
from jobs.shop.order_summaries import ORDER_SUMMARIES
from tests.order_events import Expected

PARTITIONS = 4
_PROGRAM = """
import logging, os, signal, sys
from dataclasses import replace
from infra.config import load_settings
from infra.errors import StreamhouseError
from jobs.patterns import database, project
from jobs.shop.order_summaries import ORDER_SUMMARIES

orders, point, times, how, batch, idle = sys.argv[1:]
logging.basicConfig(level=logging.WARNING, format="%(message)s")
database._IDLE_SECONDS = int(idle)
left = int(times)

def reached(what):
    global left
    left -= what == point
    if what == point and left == 0:
        os.kill(os.getpid(), signal.Signals[how])

settings, projection = load_settings(), replace(ORDER_SUMMARIES, topics=(orders,))
opened = database.open_database(settings)
try:
    project.catch_up(settings, opened, projection, projecting=project.Projecting(settings, opened, projection, int(batch), reached))
except StreamhouseError as error:
    print(error)
    sys.exit(1)
"""


@dataclass
class Shop:
    """One test's system."""

    settings: Settings
    database: Engine
    orders: str
    predictions: str
    producer: Producer

    @property
    def summaries(self) -> Projection:
        """The orders as they stand, from this test's topic."""
        return replace(ORDER_SUMMARIES, topics=(self.orders,))

    @property
    def joined(self) -> Projection:
        """The orders with their predictions, from this test's topics."""
        return replace(ORDER_PREDICTIONS, topics=(self.orders, self.predictions))

    def send(self, events: Iterable[Envelope], *, commit: bool = True) -> None:
        """A transaction of events, each into its topic and its key's partition; or one that is taken back."""
        self.producer.begin_transaction()
        for event in events:
            key, value, headers = encode(event)
            topic = self.orders if event.data.topic == OrderPlaced.topic else self.predictions
            self.put(topic, key, value, headers)
        if commit:
            self.producer.commit_transaction(30)
        else:
            self.producer.flush(30)
            self.producer.abort_transaction(30)

    def send_bytes(self, *values: bytes | None) -> None:
        """A transaction of records of orders that need not be events."""
        self.producer.begin_transaction()
        for value in values:
            self.put(self.orders, b"key", value, [])
        self.producer.commit_transaction(30)

    def put(self, topic: str, key: bytes, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """One record of the transaction under way."""
        self.producer.produce(topic, value, key, partition=partition_of(key, PARTITIONS), headers=list(headers))
        self.producer.poll(0)

    def seen(self, projection: Projection) -> Expected:
        """By key, the rows that readers see."""
        with reading(self.database) as connection:
            rows = connection.execute(select(projection.view)).mappings().all()
        return {str(next(iter(row.values()))): dict(row) for row in rows}

    def rows(self, projection: Projection) -> Expected:
        """By key, the rows of a version, whether readers see it or not."""
        with reading(self.database) as connection:
            rows = connection.execute(projection.query(*projection.tables)).mappings().all()
        return {str(next(iter(row.values()))): dict(row) for row in rows}

    def process(self, point: str, times: int, how: str, *, batch: int = 20, idle: int = 30) -> subprocess.Popen[str]:
        """Another process that catches up, and gets a signal when it is at a point for the n-th time."""
        arguments = [self.orders, point, str(times), how, str(batch), str(idle)]
        environment = {**os.environ, **self.settings.environment, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen([sys.executable, "-c", _PROGRAM, *arguments], env=environment, stdout=subprocess.PIPE, text=True)

    @contextlib.contextmanager
    def following(self, projection: Projection) -> Iterator[Callable[[], None]]:
        """Somebody follows it meanwhile; what it raised is raised at the end. Gives what stops it earlier."""
        stop = threading.Event()
        with ThreadPoolExecutor(1) as threads:
            under_way = threads.submit(follow, self.settings, self.database, projection, stop.is_set)
            try:
                yield stop.set
            finally:
                stop.set()
            under_way.result(60)


@contextlib.contextmanager
def new_shop(settings: Settings, orders: str = "", predictions: str = "") -> Iterator[Shop]:
    """With topics of these names, or with some that nobody used before."""
    name = uuid.uuid4().hex[:8]
    orders, predictions = orders or f"orders-{name}", predictions or f"predictions-{name}"
    admin = AdminClient(dict(settings.kafka.client()))
    there = admin.list_topics(timeout=20).topics
    if missing := [NewTopic(topic, PARTITIONS, 1) for topic in (orders, predictions) if topic not in there]:
        for future in admin.create_topics(missing).values():
            future.result(20)
    producer = Producer({**settings.kafka.client(), "transactional.id": f"shop-{name}", "linger.ms": 5, "log_level": 0})
    producer.init_transactions(30)
    database = open_database(settings)
    try:
        yield Shop(settings, database, orders, predictions, producer)
    finally:
        database.dispose()


def as_stored(expected: Expected) -> Expected:
    """Texts as databases hold them."""
    return {
        key: {name: value.replace("\0", "␀") if isinstance(value, str) else value for name, value in row.items()}
        for key, row in expected.items()
    }


def planted(shop: Shop, statement: Any) -> None:
    """Change the database behind the projections' back."""
    with shop.database.begin() as connection:
        connection.execute(statement)
