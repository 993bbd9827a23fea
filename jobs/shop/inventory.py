"""A warehouse: pieces are set aside for an order all or none, and put back once at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from immutables import Map
from msgspec import Struct

from jobs.patterns.aggregate import Aggregate, Refused
from jobs.patterns.message import Message
from jobs.shop.messages import (
    CancelReservation,
    InventoryFailed,
    InventoryReleased,
    InventoryReserved,
    Items,
    ReceiveStock,
    ReserveStock,
    StockReceived,
)


class Reservation(Struct, frozen=True):
    """What became of an order's pieces; `items` while they are set aside."""

    status: Literal["reserved", "failed", "released"]
    items: Items = ()


class Warehouse(Struct, frozen=True):
    """`stock`: pieces by sku that nobody has, never below 0; each order that was ever to have some, by its id."""

    stock: Map[str, int] = Map()
    reservations: Map[str, Reservation] = Map()


def decide(warehouse: Warehouse, command: Message, now_ms: int) -> Sequence[Message] | Refused:
    """What a command to a warehouse leads to."""
    match command:
        case ReceiveStock(warehouse_id, sku, quantity):
            return [StockReceived(warehouse_id, sku, quantity)]
        case ReserveStock(_, order_id, _, _, _) | CancelReservation(_, order_id, _, _) if order_id in warehouse.reservations:
            held = warehouse.reservations[order_id]
            if isinstance(command, CancelReservation) and held.status == "reserved":
                return [InventoryReleased(command.warehouse_id, order_id, command.user_id, held.items, command.reason)]
            return []  # decided before
        case ReserveStock(warehouse_id, order_id, user_id, items, deadline):
            if now_ms > deadline:
                return [InventoryFailed(warehouse_id, order_id, user_id, "inventory missed its deadline")]
            wanted = Counter[str]()  # whoever sends a command may name an article in several items
            for item in items:
                wanted[item.sku] += item.quantity
            short = next((sku for sku, quantity in wanted.items() if quantity > warehouse.stock.get(sku, 0)), None)
            if short is not None:
                return [InventoryFailed(warehouse_id, order_id, user_id, f"out of stock: {short}")]
            return [InventoryReserved(warehouse_id, order_id, user_id, items)]
        case CancelReservation(warehouse_id, order_id, user_id, reason):
            return [InventoryFailed(warehouse_id, order_id, user_id, reason)]  # nothing is set aside after this
    return []


def evolve(warehouse: Warehouse, event: Message) -> Warehouse:
    """What an event makes of a warehouse."""
    match event:
        case StockReceived(_, sku, quantity):
            return Warehouse(warehouse.stock.set(sku, warehouse.stock.get(sku, 0) + quantity), warehouse.reservations)
        case InventoryReserved(_, order_id, _, items):
            return Warehouse(_moved(warehouse.stock, items, -1), warehouse.reservations.set(order_id, Reservation("reserved", items)))
        case InventoryFailed(_, order_id, _, _):
            return Warehouse(warehouse.stock, warehouse.reservations.set(order_id, Reservation("failed")))
        case InventoryReleased(_, order_id, _, items, _):
            return Warehouse(_moved(warehouse.stock, items, 1), warehouse.reservations.set(order_id, Reservation("released")))
    return warehouse


def _moved(stock: Map[str, int], items: Items, sign: int) -> Map[str, int]:
    for item in items:
        stock = stock.set(item.sku, stock.get(item.sku, 0) + sign * item.quantity)
    return stock


WAREHOUSE = Aggregate(
    "inventory",
    Warehouse,
    (ReceiveStock, ReserveStock, CancelReservation),
    (StockReceived, InventoryReserved, InventoryFailed, InventoryReleased),
    decide,
    evolve,
)
