"""A warehouse by itself: what a command may name that an order never does."""

from __future__ import annotations

from jobs.patterns.aggregate import folded
from jobs.patterns.message import Envelope
from jobs.shop.inventory import WAREHOUSE, Warehouse, decide
from jobs.shop.messages import InventoryFailed, InventoryReserved, Item, ReserveStock, StockReceived


def with_pens(quantity: int) -> Warehouse:
    envelope = Envelope("e", 1, "t", "c", StockReceived("north", "pen", quantity), "c", 1)
    state = folded(WAREHOUSE, [envelope]).state
    assert isinstance(state, Warehouse)
    return state


def reserve(*quantities: int) -> ReserveStock:
    return ReserveStock("north", "o", "u", tuple(Item("pen", quantity, 1) for quantity in quantities), 1_000)


def test_an_article_in_several_items_is_set_aside_once_for_all_of_them_or_not() -> None:
    assert decide(with_pens(5), reserve(5, 5), 0) == [InventoryFailed("north", "o", "u", "out of stock: pen")]
    assert decide(with_pens(10), reserve(5, 5), 0) == [InventoryReserved("north", "o", "u", reserve(5, 5).items)]
