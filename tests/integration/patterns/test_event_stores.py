"""One port, three stores: whatever stands behind it, the same commands lead to the same answers and the same history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from infra.clock import system_clock
from jobs.bank.account import ACCOUNT, Account, DepositMoney, OpenAccount, WithdrawMoney
from jobs.patterns.aggregate import begun, folded
from jobs.patterns.commands import Commands
from jobs.patterns.event_store import EventStore, Until
from jobs.patterns.kafka_store import KafkaEventStore
from jobs.patterns.message import Message, derived_id
from jobs.patterns.replies import CommandAccepted, CommandRefused
from jobs.patterns.sql_store import SqlEventStore
from tests.postgres import running_postgres

Opened = Iterator[EventStore]


def _sqlite(stack: ExitStack, tmp_path: Path, _: pytest.FixtureRequest) -> EventStore:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'events.db'}", connect_args={"timeout": 30})
    stack.callback(engine.dispose)
    return SqlEventStore(engine, ACCOUNT, system_clock)


def _postgresql(stack: ExitStack, _: Path, __: pytest.FixtureRequest) -> EventStore:
    server = stack.enter_context(running_postgres())
    engine = sa.create_engine(server.url.replace("postgresql://", "postgresql+psycopg://"))
    stack.callback(engine.dispose)
    return SqlEventStore(engine, ACCOUNT, system_clock)


def _kafka(stack: ExitStack, _: Path, request: pytest.FixtureRequest) -> EventStore:
    settings, serve = request.getfixturevalue("topics"), request.getfixturevalue("serve")
    serve("account")
    return KafkaEventStore(settings, ACCOUNT, stack.enter_context(Commands(settings, system_clock, "test", seconds=30)))


STORES: dict[str, Callable[[ExitStack, Path, Any], EventStore]] = {"sqlite": _sqlite, "postgresql": _postgresql, "kafka": _kafka}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    with ExitStack() as stack:
        yield STORES[request.param](stack, tmp_path, request)


def test_every_store_keeps_what_the_port_promises(store: EventStore) -> None:
    told: list[tuple[Message, str, int | None]] = [
        (WithdrawMoney("a", 1), "early", None),
        (OpenAccount("a", 100), "open", 0),
        (DepositMoney("a", 100), "deposit", None),
        (WithdrawMoney("a", 50), "withdraw", 2),
        (DepositMoney("a", 100), "deposit", None),  # comes twice
        (WithdrawMoney("a", 151), "too much", None),
        (DepositMoney("a", 1), "stale", 1),
        (OpenAccount("b", 7), "other", None),
    ]
    replies = [store.execute(data, derived_id("test", name), expected_version=expected) for data, name, expected in told]
    said = [(reply.aggregate_version, reply.reason if isinstance(reply, CommandRefused) else "") for reply in replies]
    assert said == [(0, "not_open"), (1, ""), (2, ""), (3, ""), (2, ""), (3, "insufficient_funds"), (3, "conflict"), (1, "")]
    assert (store.load("a").state, store.load("a").version) == (Account(150), 3)
    assert store.load("b").state == Account(7)
    assert store.load("nobody") == begun(ACCOUNT)
    history = list(store.history("a"))
    assert [event.envelope.type for event in history] == ["AccountOpened", "MoneyDeposited", "MoneyWithdrawn"]
    assert [event.envelope.aggregate_version for event in history] == [1, 2, 3]
    assert [event.envelope.causation_id for event in history] == [derived_id("test", name) for name in ("open", "deposit", "withdraw")]
    assert folded(ACCOUNT, (event.envelope for event in history)) == store.load("a")
    assert [store.load("a", Until(version=n)).state.balance for n in range(4)] == [None, 100, 200, 150]
    assert [store.load("a", Until(offset=event.offset)).version for event in history] == [1, 2, 3]
    assert store.load("a", Until(at=history[0].envelope.at - 1)) == begun(ACCOUNT)
    assert store.load("a", Until(at=history[2].envelope.at)).version == 3


def test_of_many_who_expect_the_same_version_one_wins_each_time(store: EventStore) -> None:
    assert isinstance(store.execute(OpenAccount("a", 1), derived_id("race", "open")), CommandAccepted)
    with ThreadPoolExecutor(4) as pool:
        for expected in range(1, 6):
            futures = [
                pool.submit(store.execute, DepositMoney("a", 1), derived_id(f"rival {i}", str(expected)), expected_version=expected)
                for i in range(4)
            ]
            replies = [future.result(60) for future in futures]
            assert Counter(type(reply) for reply in replies) == {CommandAccepted: 1, CommandRefused: 3}
            assert {reply.reason for reply in replies if isinstance(reply, CommandRefused)} == {"conflict"}
    assert (store.load("a").state, store.load("a").version) == (Account(6), 6)
