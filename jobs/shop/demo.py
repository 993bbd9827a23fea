"""The demo's second part: purchases become orders, and what happens to them is followed to the end.

Run again, it sends what is missing: command ids follow from the actions, so nothing is credited, stocked or ordered twice.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine, func, select

from infra.clock import system_clock
from infra.config import Settings
from infra.contracts.events import UserAction
from infra.contracts.in_effect import decode_user_action
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.plain_http import NO_AUTHORITIES
from jobs.committed_records import read_all
from jobs.patterns.commands import Commands
from jobs.patterns.database import open_database, reading
from jobs.patterns.event_store import Reply
from jobs.patterns.lag import lags
from jobs.patterns.message import Message, derived_id
from jobs.patterns.replies import CommandRefused
from jobs.shop.books import Books
from jobs.shop.check import read_books
from jobs.shop.messages import CreditWallet, Item, PlaceOrder, ReceiveStock
from jobs.shop.order_predictions import ORDER_PREDICTIONS
from jobs.shop.order_summaries import ORDER_SUMMARIES
from jobs.shop.timeline import show

_ACTIONS = "user-actions"
_PURCHASE = "purchase"
_WAREHOUSES = ("north", "south")
_PRICES = {f"sku-{i:02}": 495 + 730 * i for i in range(24)}  # cents
_POOR_PERCENT, _SHORT_PERCENT = 6, 90  # users whose wallet holds too little; of the pieces that are ordered, those that are there
_IDLE_SECONDS = 120
_IN_FLIGHT = 200
Step = Callable[[str], None]


@dataclass(frozen=True)
class Purchase:
    """A user action that becomes an order."""

    action_id: str
    user_id: str


def order_of(purchase: Purchase) -> PlaceOrder:
    """What was bought: chosen by the action's id, so that it is the same whenever it is asked."""
    drawn = zlib.crc32(purchase.action_id.encode())
    skus = list(_PRICES)
    chosen = dict.fromkeys(skus[(drawn >> shift) % len(skus)] for shift in (0, 8, 16)[: 1 + drawn % 3])
    items = tuple(Item(sku, 1 + (drawn >> 4) % 2, _PRICES[sku]) for sku in chosen)
    return PlaceOrder(f"order-{purchase.action_id[:13]}", purchase.user_id, _WAREHOUSES[drawn % 2], items, purchase.action_id)


def supplies(orders: Sequence[PlaceOrder]) -> list[tuple[Message, str]]:
    """What wallets and warehouses get first, each with what its command id follows from: for most orders enough, for some too little."""
    money, pieces = Counter[str](), Counter[tuple[str, str]]()
    for order in orders:
        money[order.user_id] += sum(item.quantity * item.unit_cents for item in order.items)
        for item in order.items:
            pieces[order.warehouse_id, item.sku] += item.quantity
    found: list[tuple[Message, str]] = []
    for user, cents in sorted(money.items()):
        is_poor = zlib.crc32(user.encode()) % 100 < _POOR_PERCENT
        found.append((CreditWallet(user, max(1, cents // 3 if is_poor else cents)), f"wallet {user}"))
    for (warehouse, sku), count in sorted(pieces.items()):
        found.append((ReceiveStock(warehouse, sku, max(1, count * _SHORT_PERCENT // 100)), f"stock {warehouse} {sku}"))
    return found


def purchases(settings: Settings) -> Iterator[Purchase]:
    """The purchases that lie in the topic, each action id once."""
    topic, known = load_contracts().topics[_ACTIONS], set[str]()
    for message in read_all(settings, topic.name, topic.partitions):
        action = decode_user_action(message.value())
        if isinstance(action, UserAction) and action.data.action == _PURCHASE and str(action.event_id) not in known:
            known.add(str(action.event_id))
            yield Purchase(str(action.event_id), action.data.user_id)


def demo(settings: Settings, console: Console, step: Step) -> None:
    """Order what was purchased, and tell what became of it.

    Raises:
        StreamhouseError: a service does not come up, or nothing moves any more.

    """
    from infra.stack.added import add
    from infra.stack.services import SHOP
    from jobs.submit import submit

    for sentence in submit(settings, "archive_shop"):
        step(sentence)
    step("starting the shop's services: order, payment, inventory, shipping, carrier, read models, HTTP, notification, analytics")
    add(settings, SHOP, lambda _: None)
    orders = [order_of(purchase) for purchase in purchases(settings)]
    before = read_books(settings).totals().orders
    with Commands(settings, system_clock, "streamhouse/demo", seconds=60) as commands:
        replies = _all_replies(commands, supplies(orders))
        step(f"{len(replies):,} wallets and shelves are filled{', as they were' if before else ''}")
        refused = _refusals(_all_replies(commands, [(order, order.order_id) for order in orders]))
        there = f"; {min(before, len(orders)):,} were there already" if before else ""
        step(f"{len(orders):,} orders placed, one for each purchase{refused}{there}")
    books = _followed(settings, len(orders), console)
    _tell(settings, console, books, step)


def _all_replies(commands: Commands, wanted: Sequence[tuple[Message, str]]) -> list[Reply]:
    replies, waiting = list[Reply](), list[Future[Reply]]()
    for data, name in wanted:
        waiting.append(commands.begin(data, derived_id("streamhouse/demo", name)))
        if len(waiting) >= _IN_FLIGHT:
            replies.append(waiting.pop(0).result(60))
    return replies + [future.result(60) for future in waiting]


def _refusals(replies: Sequence[Reply]) -> str:
    counted = Counter(reply.reason for reply in replies if isinstance(reply, CommandRefused))
    return "".join(f", {count} refused: {reason}" for reason, count in counted.items())


def _followed(settings: Settings, orders: int, console: Console) -> Books:
    """Until each order has ended."""
    heard, before = time.monotonic(), -1
    with Progress(
        TextColumn("{task.description:<28}"), BarColumn(), TextColumn("{task.completed:>10,.0f}"), TimeElapsedColumn(), console=console
    ) as progress:
        bar = progress.add_task("orders ended", total=orders)
        while True:
            books = read_books(settings)
            totals = books.totals()
            progress.update(bar, completed=totals.shipped + totals.cancelled, total=max(1, totals.orders))
            if not totals.open:
                return books
            if totals.shipped + totals.cancelled != before:
                heard, before = time.monotonic(), totals.shipped + totals.cancelled
            elif time.monotonic() - heard > _IDLE_SECONDS + settings.shop.shipping_seconds:
                message = f"{totals.open} orders have not ended, and nothing moves; see `./streamhouse saga list --stuck`"
                raise StreamhouseError(message)
            time.sleep(0.5)


def _until_read(settings: Settings, database: Engine) -> None:
    """Until the read models hold what was said of the orders."""
    until = time.monotonic() + _IDLE_SECONDS
    while behind := [
        lag for name in (ORDER_SUMMARIES.name, ORDER_PREDICTIONS.name) for lag in lags(settings, database, name) if lag.records
    ]:
        if time.monotonic() > until:
            message = f"{behind[0]}; see `./streamhouse logs read-models`"
            raise StreamhouseError(message)
        time.sleep(0.2)


def _tell(settings: Settings, console: Console, books: Books, step: Step) -> None:
    totals, findings = books.totals(), list(books.findings())
    step(f"every order has ended: {totals.shipped:,} shipped, {totals.cancelled:,} cancelled, {totals.refunded:,} of them refunded")
    step(
        f"the books: {totals.credited:,} cents = {totals.in_wallets:,} in wallets + {totals.sold:,} spent;"
        f" {totals.received:,} pieces = {totals.in_stock:,} there + {totals.gone:,} gone; {len(findings)} findings"
    )
    for finding in findings:
        console.print(f"[bold red]{escape(finding)}[/]")
    database = open_database(settings)
    try:
        _until_read(settings, database)
        view, joined = ORDER_SUMMARIES.view, ORDER_PREDICTIONS.view
        with reading(database) as connection:
            statuses = connection.execute(
                select(view.c.status, func.count(), func.sum(view.c.total_cents)).group_by(view.c.status).order_by(view.c.status)
            ).all()
            scores = connection.execute(
                select(view.c.status, func.count(joined.c.score), func.avg(joined.c.score))
                .select_from(view.join(joined, view.c.order_id == joined.c.order_id))
                .group_by(view.c.status)
                .order_by(view.c.status)
            ).all()
    finally:
        database.dispose()
    console.print("\nread model order_summaries:")
    for status, count, cents in statuses:
        console.print(f"  {status:<12} {count:>6,} orders {cents:>12,} cents", highlight=False)
    console.print("order_predictions, the score of the purchase that led to an order:")
    for status, count, mean in scores:
        console.print(f"  {status:<12} {count:>6,} scored, mean {mean or 0.0:.3f}", highlight=False)
    shown = books.ended("shipped")[:1] + books.ended("refunded")[:1]
    base = f"http://{settings.shop_http.host}:{settings.shop_http.port}"
    for order_id in shown:
        answer = httpx.get(f"{base}/orders/{order_id}", timeout=10, verify=NO_AUTHORITIES)
        console.print(f"\nGET {base}/orders/{order_id}  {answer.status_code}", highlight=False)
        console.print(f"  {escape(answer.text)}", highlight=False)
        show(settings, order_id, as_json=False)
    console.print("\ntry next:")
    for command in (
        f"./streamhouse saga show {shown[-1]}",
        "./streamhouse aggregate show inventory north",
        "./streamhouse shop check",
        "./streamhouse status",
    ):
        console.print(f"  {command}", highlight=False)
