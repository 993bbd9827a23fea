"""The demo's orders: the same from the same purchases, and with enough and too little for each way an order can go."""

from __future__ import annotations

from collections import Counter

from jobs.patterns.aggregate import Refused
from jobs.shop.demo import Purchase, order_of, supplies
from jobs.shop.messages import CreditWallet, PlaceOrder, ReceiveStock
from jobs.shop.order import Order, Patience, decide

PURCHASES = [Purchase(f"{i:08x}-0000-4000-8000-{i * 7919:012x}", f"user_{i % 90:04}") for i in range(400)]


def test_every_order_is_one_that_the_shop_accepts() -> None:
    orders = [order_of(purchase) for purchase in PURCHASES]
    assert orders == [order_of(purchase) for purchase in PURCHASES]
    for order in orders:
        assert not isinstance(decide(Patience(), Order(), order, 0), Refused)
    assert len({order.order_id for order in orders}) == len(orders)


def test_most_users_can_pay_and_most_pieces_are_there() -> None:
    orders: list[PlaceOrder] = [order_of(purchase) for purchase in PURCHASES]
    wanted, pieces = Counter[str](), Counter[tuple[str, str]]()
    for order in orders:
        wanted[order.user_id] += sum(item.quantity * item.unit_cents for item in order.items)
        for item in order.items:
            pieces[order.warehouse_id, item.sku] += item.quantity
    given = [data for data, _ in supplies(orders)]
    wallets = {data.user_id: data.cents for data in given if isinstance(data, CreditWallet)}
    stock = {(data.warehouse_id, data.sku): data.quantity for data in given if isinstance(data, ReceiveStock)}
    assert set(wallets) == set(wanted)
    assert set(stock) == set(pieces)
    poor = [user for user, cents in wallets.items() if cents < wanted[user]]
    assert 0 < len(poor) < len(wallets) / 4
    assert 0.8 < sum(stock.values()) / pieces.total() < 1
