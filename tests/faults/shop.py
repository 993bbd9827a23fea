"""Orders by the thousand while the shop's services and the broker are killed at random: does each end once, and do the books agree?

    .streamhouse/env/bin/python -m tests.faults.shop --orders 10000 --seed 1

A broker and the services of its own, in a folder of its own. It prints what it did and found, and ends with 1 on findings.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from infra.clock import system_clock
from infra.config import ROOT, Settings, load_settings
from infra.contracts import topics
from infra.contracts.load import load_contracts
from jobs.committed_records import read_all
from jobs.participants import participants
from jobs.patterns.commands import Commands
from jobs.patterns.event_log import rebuilt
from jobs.patterns.event_store import Reply
from jobs.patterns.message import Message, derived_id
from jobs.patterns.replies import CommandAccepted, CommandRefused
from jobs.shop import messages as m
from jobs.shop.books import Books
from jobs.shop.check import read_books
from tests.brokers import Broker, broker_of
from tests.ports import free_ports

SERVICES = ("order", "payment", "inventory", "shipping", "carrier")
_QUIET_SECONDS = 240.0
_IN_FLIGHT = 400
_USERS, _SKUS, _WAREHOUSES = 200, 40, ("north", "south", "west")


@dataclass
class Outcome:
    """What was done and found."""

    kills: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    books: Books = field(default_factory=Books)
    letters: int = 0
    seconds: float = 0.0


class Services:
    """The shop's processes, each started again when it is killed."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._environment = {**os.environ, **settings.environment}
        self._folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "jobs.serve", name, "0"], cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait(20)

    def end(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


@contextmanager
def place(folder: Path) -> Iterator[tuple[Settings, Broker]]:
    """A broker with every topic."""
    clients, controller = free_ports(2)
    settings = load_settings(
        {
            "STREAMHOUSE_STATE": str(folder),
            "STREAMHOUSE_KAFKA_PORT": clients,
            "STREAMHOUSE_KAFKA_CONTROLLER_PORT": controller,
            "STREAMHOUSE_SHOP_PAYMENT_SECONDS": "20",
            "STREAMHOUSE_SHOP_INVENTORY_SECONDS": "20",
            "STREAMHOUSE_SHOP_SHIPPING_SECONDS": "12",
            "STREAMHOUSE_SHOP_CARRIER_LEAVES_PERCENT": "3",
        }
    )
    broker = broker_of(settings)
    broker.start()
    try:
        topics.apply(settings)
        yield settings, broker
    finally:
        broker.stop()


def run(settings: Settings, broker: Broker, folder: Path, orders: int, seed: int, rate: float) -> Outcome:
    """Send the orders while faults strike, wait until none is open, and look at the books."""
    random, outcome, began = Random(seed), Outcome(), time.monotonic()
    services = Services(settings, folder)
    for name in SERVICES:
        services.start(name)
    done = threading.Event()
    striking = threading.Thread(target=_strike, args=(services, broker, Random(seed + 1), outcome, done))
    try:
        with Commands(settings, system_clock, "shop/test", seconds=300) as commands:
            _stock(commands, random, seed)
            striking.start()
            _send(commands, random, seed, orders, rate, outcome)
            done.set()
            striking.join()
        _wait(settings, outcome, orders)
    finally:
        done.set()
        services.end()
    outcome.findings += outcome.books.findings()
    outcome.findings += _rebuilt_otherwise(settings, outcome.books)
    outcome.seconds = time.monotonic() - began
    return outcome


def _stock(commands: Commands, random: Random, seed: int) -> None:
    wanted: list[Message] = [m.CreditWallet(f"user-{i}", random.randint(1, 400_000)) for i in range(_USERS)]
    wanted += [m.ReceiveStock(w, f"sku-{i}", random.randint(1, 400)) for w in _WAREHOUSES for i in range(_SKUS)]
    for future in [commands.begin(data, derived_id(f"stock {seed}", str(i))) for i, data in enumerate(wanted)]:
        assert isinstance(future.result(120), CommandAccepted)


def _send(commands: Commands, random: Random, seed: int, orders: int, rate: float, outcome: Outcome) -> None:
    waiting: list[tuple[Future[Reply], Message, str]] = []
    began = time.monotonic()
    for i in range(orders):
        skus = random.sample(range(_SKUS), random.choice((1, 1, 1, 2, 3)))
        items = tuple(m.Item(f"sku-{sku}", random.randint(1, 4), random.randint(100, 5_000)) for sku in skus)
        data: Message = m.PlaceOrder(f"order-{seed}-{i}", f"user-{random.randrange(_USERS)}", random.choice(_WAREHOUSES), items)
        waiting.append((commands.begin(data, name := derived_id(data.aggregate_id, "place")), data, name))
        if random.random() < 0.05:  # a client that is not sure sends it again
            commands.begin(data, name)
        if random.random() < 0.03:
            data = m.CancelOrder(f"order-{seed}-{random.randint(0, i)}", "changed my mind")
            waiting.append((commands.begin(data, name := derived_id(f"{data.aggregate_id} {i}", "cancel")), data, name))
        while len(waiting) > _IN_FLIGHT:
            _heard(commands, waiting, outcome)
        time.sleep(max(0.0, began + i / rate - time.monotonic()))
    while waiting:
        _heard(commands, waiting, outcome)


def _heard(commands: Commands, waiting: list[tuple[Future[Reply], Message, str]], outcome: Outcome) -> None:
    future, data, name = waiting.pop(0)
    try:
        reply = future.result(60)
    except Exception:  # the broker lost it, or the answer: a client sends it again
        waiting.append((commands.begin(data, name), data, name))
        return
    if isinstance(reply, CommandRefused):
        outcome.refused[reply.reason] += 1


def _strike(services: Services, broker: Broker, random: Random, outcome: Outcome, done: threading.Event) -> None:
    while not done.wait(random.uniform(0.2, 2)):
        victim = random.choice((*SERVICES, *SERVICES, "broker"))
        if victim == "broker":
            broker.kill()
            time.sleep(random.uniform(0, 2))
            broker.start()
            outcome.kills["broker"] += 1
        elif random.random() < 0.15:  # it is away for longer than some deadline, or than its session
            services.processes[victim].send_signal(signal.SIGSTOP)
            done.wait(random.uniform(3, 15))
            services.processes[victim].send_signal(signal.SIGCONT)
            outcome.kills[f"{victim} stopped"] += 1
        else:
            services.kill(victim)
            done.wait(random.choice((0, 0, 0, 2)))
            services.start(victim)
            outcome.kills[victim] += 1


def _wait(settings: Settings, outcome: Outcome, orders: int) -> None:
    """Until every order has ended."""
    until = time.monotonic() + _QUIET_SECONDS
    while True:
        books = read_books(settings)
        outcome.books = books
        if (books.totals().orders == orders and not books.unfinished()) or time.monotonic() > until:
            break
        time.sleep(1)
    outcome.findings += [f"order {one} came to no end within {_QUIET_SECONDS:.0f} s" for one in books.unfinished()]
    if books.totals().orders != orders:
        outcome.findings.append(f"{orders} orders were accepted, {books.totals().orders} are there")
    for letters in (topic for name, topic in load_contracts().topics.items() if name.endswith("-commands-dlq")):
        outcome.letters += sum(1 for _ in read_all(settings, letters.name, letters.partitions))
    if outcome.letters:
        outcome.findings.append(f"{outcome.letters} dead letters, where nothing was wrong")


def _rebuilt_otherwise(settings: Settings, books: Books) -> list[str]:
    """The states that the events make again must say what the books say."""
    known = participants(settings)
    totals, found = books.totals(), list[str]()
    states = {
        name: [held.state for number in range(4) for held in rebuilt(settings, aggregate, number)[0].values()]
        for name in ("order", "payment", "inventory")
        if (aggregate := known[name].aggregate) is not None
    }
    if sum(state.balance for state in states["payment"]) != totals.in_wallets:
        found.append("the wallets' own balances are not what their events add up to")
    if sum(pieces for state in states["inventory"] for pieces in state.stock.values()) != totals.in_stock:
        found.append("the warehouses' own stock is not what their events add up to")
    ends = Counter(state.status for state in states["order"])
    if (ends["shipped"], ends["cancelled"]) != (totals.shipped, totals.cancelled):
        found.append(f"the orders' own states are {dict(ends)}, the books say {totals}")
    return found


def tell(outcome: Outcome) -> None:
    """Print it."""
    print(f"kills      {dict(sorted(outcome.kills.items()))}, {sum(outcome.kills.values())} in all")
    print(f"refused    {dict(outcome.refused)}")
    print(f"books      {outcome.books.totals()}")
    print(f"seconds    {outcome.seconds:.0f}")
    for finding in outcome.findings[:50]:
        print(f"finding    {finding}")
    print(f"{len(outcome.findings)} findings")


def main() -> int:
    """Answers the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=100.0, help="orders a second at most")
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="streamhouse-shop-", dir=ROOT / ".streamhouse") as name,
        place(Path(name)) as (settings, broker),
    ):
        outcome = run(settings, broker, Path(name), chosen.orders, chosen.seed, chosen.rate)
        tell(outcome)
        if outcome.findings:
            for file in sorted(Path(name).glob("*.log")):
                print(f"== {file.name}", file.read_text("utf-8", "replace")[-2000:], sep="\n")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
