"""The books name each thing that must not be."""

from __future__ import annotations

import pytest

from jobs.patterns.message import Message
from jobs.shop import messages as m
from jobs.shop.books import Books

ITEMS = (m.Item("pen", 2, 50),)
GIVEN_BACK = m.PaymentRefunded("u", "o", 100, "x")
PAID = [m.WalletCredited("u", 500), m.OrderPlaced("o", "u", "w", ITEMS, 100, 9), m.PaymentProcessed("u", "o", 100)]
STOCKED = [*PAID, m.StockReceived("w", "pen", 5), m.InventoryReserved("w", "o", "u", ITEMS)]
SHIPPED = [*STOCKED, m.ParcelDispatched("o", "u", "w", "p"), m.OrderShipped("o", "u")]
RELEASED = [*STOCKED, m.InventoryReleased("w", "o", "u", ITEMS, "late")]
UNDONE = [*RELEASED, m.PaymentRefunded("u", "o", 100, "late"), m.OrderCancelled("o", "u", "late", 100)]


def books(told: list[Message]) -> Books:
    found = Books()
    for event in told:
        found.tell(event)
    return found


@pytest.mark.parametrize("told", [SHIPPED, UNDONE])
def test_what_ended_well_has_no_findings(told: list[Message]) -> None:
    assert list(books(told).findings()) == []
    assert books(told).unfinished() == []


def test_money_and_stock_of_what_was_shipped_are_gone() -> None:
    totals = books(SHIPPED).totals()
    assert (totals.credited, totals.in_wallets, totals.sold) == (500, 400, 100)
    assert (totals.received, totals.in_stock, totals.gone) == (5, 3, 2)


def test_what_is_on_its_way_is_open_and_no_finding() -> None:
    assert list(books(STOCKED).findings()) == []
    assert books(STOCKED).unfinished() == ["o"]


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ([*SHIPPED, m.OrderCancelled("o", "u", "x", 0)], "order o: shipped and cancelled"),
        ([*SHIPPED, m.OrderShipped("o", "u")], "order o: shipped 2 times"),
        ([*SHIPPED, GIVEN_BACK], "order o: shipped, and refunded"),
        ([*PAID, m.OrderShipped("o", "u")], "order o: shipped, and never reserved"),
        ([*UNDONE, GIVEN_BACK], "order o: refunded 2 times"),
        ([*RELEASED, m.OrderCancelled("o", "u", "x", 0)], "order o: cancelled, charged, and never refunded"),
        (
            [*STOCKED, GIVEN_BACK, m.OrderCancelled("o", "u", "x", 100)],
            "order o: cancelled, reserved, and never released",
        ),
        ([*UNDONE[:-1], m.OrderCancelled("o", "u", "x", 7)], "order o: cancelled with 7 cents refunded, 100 were"),
        ([*UNDONE[:-1], m.PaymentRefunded("u", "o", 1, "x"), UNDONE[-1]], "money: 500 cents were credited, 501 are in wallets"),
        ([m.PaymentProcessed("u", "o", 1), *PAID], "user u: the wallet fell to -1 cents"),
        ([m.InventoryReserved("w", "o", "u", ITEMS), *PAID], "warehouse w: -2 pieces of pen"),
        ([m.PaymentRefunded("u", "o", 1, "x")], "order o: refunded without a charge"),
        ([m.OrderShipped("o", "u")], "order o: it was never placed"),
    ],
)
def test_each_thing_that_must_not_be_is_named(told: list[Message], sentence: str) -> None:
    assert [found for found in books(told).findings() if found.startswith(sentence)], list(books(told).findings())
