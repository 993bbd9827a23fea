"""What a commit to an Iceberg table takes after so many before it, with the upkeep that comes with it.

The table is the ledger of receipts, of which the project keeps files and snapshots itself, in Python; each in a namespace of its own of the
stack's catalog. An hour, after which it forgets a replaced state, passes here within HOUR commits, as it does in a stack whose keeper
copies receipts every minute. The archives' tables are kept by Iceberg's own sink in the running job, and are not measured here.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace

from infra.clock import system_clock
from infra.config import Settings
from infra.errors import StreamhouseError
from lakehouse import ledger, migrate
from lakehouse.append import fitted
from lakehouse.catalog import load_table, open_catalog
from lakehouse.receipts import APPEND, Receipt
from lakehouse.tables import RECEIPTS

HOUR = 60
"""Commits in which the ledger's hour passes."""
CYCLE = ledger.MERGE_FILES
"""Commits of which one merges."""
_PARTITIONS = 4


@dataclass(frozen=True)
class Commits:
    """Milliseconds a commit, upkeep included, over a cycle: by the clock, and of CPU."""

    milliseconds: float
    cpu_milliseconds: float


@dataclass
class Ledger:
    """A ledger of its own. `count`: how many commits it has had, merges not counted; `times`: of the last HOUR of them, ms."""

    settings: Settings
    times: deque[int]
    count: int = 0


def new_ledger(settings: Settings, number: int) -> Ledger:
    """An empty one in the stack's catalog."""
    own = replace(settings, lake=replace(settings.lake, namespace=f"growth_{number}"))
    migrate.apply(own, {RECEIPTS.name: RECEIPTS})
    return Ledger(own, deque(maxlen=HOUR))


def bring_to(book: Ledger, count: int) -> None:
    """Commit until it has had so many."""
    while book.count < count:
        _commit(book)


def cycle(book: Ledger) -> Commits:
    """The next CYCLE commits; among them the ledger merges once."""
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(CYCLE):
        _commit(book)
    return Commits((time.perf_counter() - began) / CYCLE * 1000, (time.process_time() - cpu) / CYCLE * 1000)


def _commit(book: Ledger) -> None:
    """What `lakehouse.ledger.record` does once it has found a snapshot that has no receipts yet."""
    number = book.count + 1
    receipts = [
        Receipt(
            table="user_actions",
            snapshot_id=number,
            parent_id=number - 1,
            sequence_number=number,
            committed_ms=system_clock(),
            operation=APPEND,
            job_id="0" * 32,
            checkpoint_id=number,
            topic_partition=partition,
            first_offset=100 * number,
            last_offset=100 * number + 99,
            records=100,
            files=1,
            removed_first=None,
            removed_last=None,
            removed_records=0,
            removed_files=0,
        )
        for partition in range(_PARTITIONS)
    ]
    with open_catalog(book.settings) as catalog:
        held = load_table(catalog, book.settings, RECEIPTS.name)
        if not ledger._commit(held, fitted(RECEIPTS.name, ledger._rows(receipts))):
            message = f"the ledger of namespace {book.settings.lake.namespace} did not take commit {number}: somebody else writes it"
            raise StreamhouseError(message)
        book.count = number
        book.times.append(system_clock())
        # an hour ago is when the commit HOUR before this one was made
        ago = book.times[-1] - book.times[0] if len(book.times) == HOUR else ledger.KEPT_MS
        ledger._merge(held, system_clock() + ledger.KEPT_MS - ago)
