"""The saga in Kafka, a process for each service: its good end, each way back, and what a person sees of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from infra.clock import system_clock
from infra.config import Settings
from jobs.patterns.commands import Commands
from jobs.patterns.message import Message, derived_id
from jobs.patterns.replies import CommandAccepted, CommandRefused
from jobs.shop import messages as m
from jobs.shop.check import read_books
from jobs.shop.timeline import list_open, open_orders, show, timeline
from tests.faults import shop as faults

PEN = (m.Item("pen", 1, 100),)


@pytest.fixture
def commands(tmp_path: Path) -> Any:
    with faults.place(tmp_path) as (settings, _):
        services = faults.Services(settings, tmp_path)
        for name in faults.SERVICES:
            services.start(name)
        try:
            with Commands(settings, system_clock, "test", seconds=60) as sender:
                yield settings, sender, services
        finally:
            services.end()


def until(holds: Callable[[], object], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


def told(settings: Settings, order: str) -> list[str]:
    """The events of an order, in time."""
    return [event.envelope.type for event in timeline(settings, order) if not event.topic.endswith("-commands")]


def test_orders_go_every_way(commands: tuple[Settings, Commands, faults.Services], capsys: pytest.CaptureFixture[str]) -> None:
    settings, sender, services = commands

    def send(data: Message, name: str) -> CommandAccepted | CommandRefused:
        return sender.execute(data, derived_id("test", name))

    assert isinstance(send(m.CreditWallet("ada", 250), "credit"), CommandAccepted)
    assert isinstance(send(m.ReceiveStock("north", "pen", 2), "stock"), CommandAccepted)
    refused = send(m.PlaceOrder("empty", "ada", "north", ()), "empty")
    assert isinstance(refused, CommandRefused)
    assert (refused.reason, refused.aggregate_version) == ("no_items", 0)

    send(m.PlaceOrder("good", "ada", "north", PEN), "good")
    until(lambda: not open_orders(settings))
    assert told(settings, "good") == [
        *("OrderPlaced", "PaymentProcessed", "OrderPaid", "InventoryReserved", "OrderReserved"),
        *("ShipmentPrepared", "ParcelDispatched", "OrderShipped"),
    ]
    send(m.PlaceOrder("poor", "ada", "north", (m.Item("pen", 1, 10_000),)), "poor")
    send(m.PlaceOrder("much", "ada", "north", (m.Item("pen", 2, 10),)), "much")
    until(lambda: not open_orders(settings))
    services.kill("carrier")
    send(m.PlaceOrder("late", "ada", "north", PEN), "late")
    until(lambda: [one.waits_for for one in open_orders(settings)] == ["shipping"])
    assert list_open(settings, 0.0, as_json=True) == 0  # it may wait for a while
    assert orjson.loads(capsys.readouterr().out) == []
    assert list_open(settings, None, as_json=True) == 0
    (hangs,) = orjson.loads(capsys.readouterr().out)
    assert (hangs["orderId"], hangs["waitsFor"]) == ("late", "shipping")
    until(lambda: not open_orders(settings))  # its deadline passes
    assert list_open(settings, 0.0, as_json=True) == 0
    assert isinstance(send(m.ConfirmDispatch("late", "parcel-9"), "too late"), CommandAccepted)

    books = read_books(settings)
    assert list(books.findings()) == []
    assert (books.totals().shipped, books.totals().cancelled, books.totals().refunded) == (1, 3, 2)
    ended = {
        order: [e.envelope.type for e in timeline(settings, order) if not e.topic.endswith("-commands")]
        for order in ("poor", "much", "late")
    }
    assert ended["poor"] == ["OrderPlaced", "PaymentFailed", "OrderCancelled"]
    assert [kind for kind in ended["much"] if kind != "OrderCancelling"] == [
        *("OrderPlaced", "PaymentProcessed", "OrderPaid", "InventoryFailed", "PaymentRefunded", "OrderCancelled")
    ]
    assert [kind for kind in ended["late"] if kind != "OrderCancelling"][5:] == [
        *("ShipmentPrepared", "ShippingFailed", "InventoryReleased", "PaymentRefunded", "OrderCancelled", "ParcelRecalled")
    ]
    capsys.readouterr()
    assert show(settings, "late", as_json=False) == 0
    assert "OrderCancelled" in capsys.readouterr().out
    assert show(settings, "nobody", as_json=False) == 1


def test_orders_end_once_while_services_and_broker_are_killed(tmp_path: Path) -> None:
    with faults.place(tmp_path) as (settings, broker):
        outcome = faults.run(settings, broker, tmp_path, orders=400, seed=3, rate=25)
    faults.tell(outcome)
    assert outcome.findings == []
    assert sum(outcome.kills.values()) >= 3
