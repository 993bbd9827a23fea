"""The saga in every order of events that a seed draws, with kills, late steps and customers who change their minds."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

import pytest

from jobs.patterns.message import Codec, Envelope
from jobs.shop import messages as m
from jobs.shop.books import Books
from jobs.shop.order import Patience
from jobs.shop.saga import participants
from tests.unit.jobs.patterns.logs import PARTITIONS, Logs, Working

EVENTS = Codec([kind for one in participants(Patience()).values() if one.aggregate for kind in one.aggregate.events])
ORDERS = 25
USERS, WAREHOUSES, SKUS = [f"u{i}" for i in range(4)], ["north", "south"], ["pen", "book"]


def events(logs: Logs, topic: str) -> list[Any]:
    found = []
    for record in logs.records(topic):
        event = EVENTS.decode(record.value, record.headers)
        assert isinstance(event, Envelope)
        found.append(event.data)
    return found


@cache
def play(seed: int, orders: int) -> Logs:
    random, logs = Random(seed), Logs()
    everyone = participants(Patience(payment=2_000, inventory=2_000, shipping=3_000), carrier_leaves_percent=10)
    working = [Working(logs, one, number) for one in everyone.values() for number in range(PARTITIONS)]
    for user in USERS:
        logs.send(m.CreditWallet(user, random.randint(1, 3_000)), f"credit {user}")
    for warehouse in WAREHOUSES:
        for sku in SKUS:
            logs.send(m.ReceiveStock(warehouse, sku, random.randint(1, 20)), f"stock {warehouse} {sku}")
    waiting = [f"order-{i}" for i in range(orders)]
    asleep: dict[int, int] = {}  # a participant that does nothing for some time misses deadlines
    while True:
        if waiting and random.random() < 0.2:
            order = waiting.pop()
            items = tuple(m.Item(sku, random.randint(1, 4), random.randint(1, 400)) for sku in random.sample(SKUS, random.randint(1, 2)))
            placing = m.PlaceOrder(order, random.choice(USERS), random.choice(WAREHOUSES), items)
            for _ in range(random.choice((1, 1, 1, 2))):  # some commands come twice
                logs.send(placing, f"place {order}")
        if random.random() < 0.03:
            logs.send(m.CancelOrder(f"order-{random.randrange(orders)}", "changed my mind"), f"cancel {random.random()}")
        if random.random() < 0.02:
            logs.send(m.ConfirmDispatch(f"order-{random.randrange(orders)}", "late parcel"), f"late {random.random()}")
        if random.random() < 0.02:
            asleep[random.randrange(len(working))] = logs.now + random.randint(0, 5_000)
        logs.now += random.randint(0, 60)
        ready = [one for i, one in enumerate(working) if asleep.get(i, 0) <= logs.now]
        random.shuffle(ready)
        idle = sum(one.work(random) for one in ready) == 0
        if idle and not waiting and all(until <= logs.now for until in asleep.values()):
            if all(one.owned.next_due is None for one in working):
                for one in working:  # what each of them holds, after all that it went through, is what its events say
                    assert one.owned.held == one.recovered().held
                return logs
            logs.now += 1_000


@pytest.mark.parametrize("seed", range(40))
def test_every_order_ends_once_and_money_and_stock_add_up(seed: int) -> None:
    logs, books = play(seed, ORDERS), Books()
    for topic in ("orders", "payments", "inventory", "shipping"):
        for event in events(logs, topic):
            books.tell(event)
    assert list(books.findings()) == []
    totals = books.totals()
    assert (totals.orders, totals.open, totals.shipped + totals.cancelled) == (ORDERS, 0, ORDERS)
    assert not [topic for topic, parts in logs.topics.items() if topic.endswith("-dlq") and any(parts)]


def test_the_seeds_meet_every_way_an_order_can_go() -> None:
    topics = ("orders", "payments", "inventory", "shipping")
    kinds = {
        type(event).__name__ for seed in range(40) for logs in [play(seed, ORDERS)] for topic in topics for event in events(logs, topic)
    }
    assert kinds == {kind.__name__ for kind in EVENTS.types.values()}
