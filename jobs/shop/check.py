"""The shop's books, checked against the topics."""

from __future__ import annotations

import dataclasses
import json
import time

from rich.console import Console
from rich.markup import escape

from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs.committed_records import read_all
from jobs.patterns.event_log import read_event
from jobs.shop.books import Books
from jobs.shop.order import Patience
from jobs.shop.saga import participants

TOPICS = ("orders", "payments", "inventory", "shipping")
CLEAN, FOUND = 0, 1
_SHOWN = 50
_MOMENT = 2.0  # seconds


def read_books(settings: Settings) -> Books:
    """The books as of now.

    Raises:
        EventLogBroken: a topic holds what its owner did not write.
        KafkaException: the broker does not answer.

    """
    books = Books()
    aggregates = {one.aggregate.topic: one.aggregate for one in participants(Patience()).values() if one.aggregate is not None}
    for topic in TOPICS:
        for message in read_all(settings, topic, load_contracts().topics[topic].partitions):
            books.tell(read_event(aggregates[topic], message).envelope.data)
    return books


def check(settings: Settings, *, as_json: bool) -> int:
    """Print the sums and what is wrong; answers 1 if anything is."""
    books = read_books(settings)
    totals, findings = books.totals(), list(books.findings())
    if findings:  # topics are read one after the other, while the services go on: what is wrong is wrong a moment later, too
        time.sleep(_MOMENT)
        findings = [finding for finding in read_books(settings).findings() if finding in findings]
    if as_json:
        print(json.dumps({"totals": dataclasses.asdict(totals), "findings": findings}))
        return FOUND if findings else CLEAN
    console = Console(soft_wrap=True)
    ends = f"{totals.shipped:,} shipped, {totals.cancelled:,} cancelled ({totals.refunded:,} refunded), {totals.open:,} on their way"
    for line in (
        f"orders  {totals.orders:,}: {ends}",
        f"money   {totals.credited:,} cents credited = {totals.in_wallets:,} in wallets + {totals.credited - totals.in_wallets:,} spent",
        f"stock   {totals.received:,} pieces received = {totals.in_stock:,} there + {totals.received - totals.in_stock:,} gone",
    ):
        console.print(line, highlight=False)
    for finding in findings[:_SHOWN]:
        console.print(f"[bold red]{escape(finding)}[/]", highlight=False)
    console.print("the books are right" if not findings else f"{len(findings)} findings", highlight=False)
    return FOUND if findings else CLEAN
