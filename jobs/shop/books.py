"""The shop's books: whether every order came to one end, and money and stock add up, from the events alone. Pure.

The events of one topic partition are told in order; topics and partitions may be told one after the other. What is still on its way is
counted and no finding; with everything at rest, nothing is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from jobs.patterns.message import Message
from jobs.shop.messages import (
    InventoryFailed,
    InventoryReleased,
    InventoryReserved,
    OrderCancelled,
    OrderPlaced,
    OrderShipped,
    ParcelDispatched,
    ParcelRecalled,
    PaymentFailed,
    PaymentProcessed,
    PaymentRefunded,
    ShippingFailed,
    StockReceived,
    WalletCredited,
)

_ONCE = {
    OrderPlaced: "placed",
    OrderShipped: "shipped",
    OrderCancelled: "cancelled",
    PaymentProcessed: "charged",
    PaymentFailed: "not charged",
    PaymentRefunded: "refunded",
    InventoryReserved: "reserved",
    InventoryFailed: "not reserved",
    InventoryReleased: "released",
    ParcelDispatched: "dispatched",
    ShippingFailed: "not shipped",
    ParcelRecalled: "recalled",
}


@dataclass
class _Order:
    said: Counter[str] = field(default_factory=Counter)
    cents: int = 0
    refunded: int = 0
    pieces: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass(frozen=True)
class Totals:
    """`open`: orders without an end. Money in cents, stock in pieces; what came in is what is there and what was sold."""

    orders: int
    shipped: int
    cancelled: int
    refunded: int
    open: int
    credited: int
    in_wallets: int
    sold: int
    received: int
    in_stock: int
    gone: int


class Books:
    """All that was told so far."""

    def __init__(self) -> None:
        self._orders: dict[str, _Order] = {}
        self._wallets: Counter[str] = Counter()
        self._stock: Counter[tuple[str, str]] = Counter()
        self._credited, self._received = 0, 0
        self._overdrawn: list[str] = []

    def tell(self, event: Message) -> None:
        """The next event of its partition."""
        if word := _ONCE.get(type(event)):
            order = self._orders.setdefault(str(getattr(event, "order_id", "")), _Order())
            order.said[word] += 1
            if isinstance(event, OrderPlaced):
                order.cents = event.cents
            if isinstance(event, OrderCancelled):
                order.refunded = event.refunded_cents
        match event:
            case WalletCredited(user_id, cents):
                self._credited += cents
                self._pay(user_id, cents)
            case PaymentProcessed(user_id, _, cents):
                self._pay(user_id, -cents)
            case PaymentRefunded(user_id, _, cents, _):
                self._pay(user_id, cents)
            case StockReceived(warehouse_id, sku, quantity):
                self._received += quantity
                self._move((warehouse_id, sku), quantity)
            case InventoryReserved(warehouse_id, order_id, _, items):
                for item in items:
                    self._orders[order_id].pieces[warehouse_id, item.sku] += item.quantity
                    self._move((warehouse_id, item.sku), -item.quantity)
            case InventoryReleased(warehouse_id, order_id, _, items, _):
                for item in items:
                    self._orders[order_id].pieces[warehouse_id, item.sku] -= item.quantity
                    self._move((warehouse_id, item.sku), item.quantity)

    def findings(self) -> Iterator[str]:
        """Each thing that must not be, in a sentence."""
        yield from self._overdrawn
        for order_id, order in sorted(self._orders.items()):
            for sentence in _wrong(order):
                yield f"order {order_id}: {sentence}"
        totals = self.totals()
        if totals.credited != totals.in_wallets + totals.sold and not totals.open:
            sentence = f"money: {totals.credited} cents were credited, {totals.in_wallets} are in wallets and {totals.sold} were spent"
            yield f"{sentence} on what was shipped"
        if totals.received != totals.in_stock + totals.gone and not totals.open:
            yield f"stock: {totals.received} pieces were received, {totals.in_stock} are there and {totals.gone} were shipped"

    def unfinished(self) -> list[str]:
        """Orders that were placed and have no end yet."""
        return sorted(order_id for order_id, order in self._orders.items() if _is_open(order))

    def ended(self, word: str) -> list[str]:
        """Orders of which was said: shipped, cancelled, refunded ..."""
        return sorted(order_id for order_id, order in self._orders.items() if order.said[word])

    def totals(self) -> Totals:
        """The sums."""
        shipped = [order for order in self._orders.values() if order.said["shipped"]]
        return Totals(
            orders=sum(order.said["placed"] > 0 for order in self._orders.values()),
            shipped=len(shipped),
            cancelled=sum(order.said["cancelled"] > 0 for order in self._orders.values()),
            refunded=sum(order.said["refunded"] > 0 for order in self._orders.values()),
            open=len(self.unfinished()),
            credited=self._credited,
            in_wallets=self._wallets.total(),
            sold=sum(order.cents for order in shipped),
            received=self._received,
            in_stock=self._stock.total(),
            gone=sum(order.pieces.total() for order in shipped),
        )

    def _pay(self, user_id: str, cents: int) -> None:
        self._wallets[user_id] += cents
        if self._wallets[user_id] < 0:
            self._overdrawn.append(f"user {user_id}: the wallet fell to {self._wallets[user_id]} cents")

    def _move(self, what: tuple[str, str], pieces: int) -> None:
        self._stock[what] += pieces
        if self._stock[what] < 0:
            self._overdrawn.append(f"warehouse {what[0]}: {self._stock[what]} pieces of {what[1]}")


def _is_open(order: _Order) -> bool:
    return order.said["placed"] > 0 and not order.said["shipped"] and not order.said["cancelled"]


def _wrong(order: _Order) -> Iterator[str]:
    said = order.said
    for word, times in said.items():
        if times > 1:
            yield f"{word} {times} times"
    if not said["placed"]:
        yield "it was never placed"
    if said["shipped"] and said["cancelled"]:
        yield "shipped and cancelled"
    if said["refunded"] and not said["charged"]:
        yield "refunded without a charge"
    if said["released"] and not said["reserved"]:
        yield "released without a reservation"
    if said["shipped"]:
        for done, undone in (("charged", "refunded"), ("reserved", "released"), ("dispatched", "recalled")):
            if not said[done] or said[undone]:
                yield f"shipped, and {undone if said[undone] else f'never {done}'}"
    if said["cancelled"]:
        for done, undone in (("charged", "refunded"), ("reserved", "released"), ("dispatched", "recalled")):
            if said[done] and not said[undone]:
                yield f"cancelled, {done}, and never {undone}"
        expected = order.cents if said["refunded"] else 0
        if order.refunded != expected:
            yield f"cancelled with {order.refunded} cents refunded, {expected} were"
