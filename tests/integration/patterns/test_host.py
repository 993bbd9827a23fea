"""A participant in Kafka: commands are answered once, whatever dies, and whoever believes to own a partition that is another's."""

from __future__ import annotations

import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random

from infra.clock import system_clock
from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs.bank.account import ACCOUNT, Account, DepositMoney, OpenAccount, WithdrawMoney
from jobs.patterns.commands import Commands
from jobs.patterns.event_log import rebuilt
from jobs.patterns.event_store import Until
from jobs.patterns.kafka_store import KafkaEventStore
from jobs.patterns.message import derived_id
from jobs.patterns.replies import CommandAccepted, CommandRefused
from tests.integration.patterns.conftest import Serve

PARTITIONS = load_contracts().topics[ACCOUNT.topic].partitions


def test_an_account_is_opened_filled_and_emptied(topics: Settings, serve: Serve) -> None:
    serve("account")
    with Commands(topics, system_clock, "test", seconds=30) as commands:
        store = KafkaEventStore(topics, ACCOUNT, commands)
        replies = [
            store.execute(data, derived_id("test", str(i)))
            for i, data in enumerate((OpenAccount("a", 100), DepositMoney("a", 100), WithdrawMoney("a", 50), WithdrawMoney("a", 151)))
        ]
        assert [type(reply) for reply in replies] == [CommandAccepted] * 3 + [CommandRefused]
        assert [reply.aggregate_version for reply in replies] == [1, 2, 3, 3]
        assert isinstance(replies[3], CommandRefused)
        assert "insufficient funds" in replies[3].message
        assert store.load("a").state == Account(150)
        assert store.load("a", Until(version=2)).state == Account(200)
        history = list(store.history("a"))
        assert [event.envelope.type for event in history] == ["AccountOpened", "MoneyDeposited", "MoneyWithdrawn"]
        assert store.load("a", Until(offset=history[0].offset)).state == Account(100)
        assert store.load("a", Until(at=history[1].envelope.at)).version >= 2
        again = store.execute(DepositMoney("a", 100), derived_id("test", "1"))
        assert again == replies[1]
        assert store.load("a").version == 3


def test_two_writers_race_and_one_gets_a_conflict(topics: Settings, serve: Serve) -> None:
    serve("account")
    with Commands(topics, system_clock, "one", seconds=30) as one, Commands(topics, system_clock, "two", seconds=30) as two:
        assert isinstance(one.execute(OpenAccount("a", 1), derived_id("race", "open")), CommandAccepted)
        with ThreadPoolExecutor(2) as pool:
            for expected in range(1, 11):
                futures = [
                    pool.submit(one.execute, DepositMoney("a", 1), derived_id("one", str(expected)), expected_version=expected),
                    pool.submit(two.execute, DepositMoney("a", 1), derived_id("two", str(expected)), expected_version=expected),
                ]
                replies = [future.result() for future in futures]
                assert Counter(type(reply) for reply in replies) == {CommandAccepted: 1, CommandRefused: 1}
                assert [reply.reason for reply in replies if isinstance(reply, CommandRefused)] == ["conflict"]
    assert KafkaEventStore(topics, ACCOUNT).load("a").state == Account(11)


def test_writers_that_are_killed_stopped_and_rebalanced_lose_and_double_nothing(topics: Settings, serve: Serve) -> None:
    random, accounts = Random(7), [f"account-{i}" for i in range(16)]
    writers = [serve("account"), serve("account")]
    with Commands(topics, system_clock, "test", seconds=90) as commands:
        opened = [commands.begin(OpenAccount(one, 1), derived_id("open", one)) for one in accounts]
        assert all(isinstance(future.result(60), CommandAccepted) for future in opened)
        sent = Counter[str]()
        futures = []
        until = time.monotonic() + 25
        due = time.monotonic() + 2
        asleep = None
        while time.monotonic() < until:
            one = random.choice(accounts)
            sent[one] += 1
            name = derived_id("deposit", f"{one} {sent[one]}")
            futures += [commands.begin(DepositMoney(one, 1), name) for _ in range(random.choice((1, 1, 2)))]
            time.sleep(0.002)
            if time.monotonic() > due:
                due = time.monotonic() + random.uniform(1, 4)
                if asleep is not None:
                    asleep.send_signal(signal.SIGCONT)  # and believes that it still owns what it did
                    asleep = None
                victim = random.choice(writers)
                if random.random() < 0.5 and asleep is None:
                    victim.send_signal(signal.SIGSTOP)
                    asleep = victim
                    due = time.monotonic() + 9
                else:
                    victim.kill()
                    writers.remove(victim)
                while len(writers) < 3:
                    writers.append(serve("account"))
        if asleep is not None:
            asleep.send_signal(signal.SIGCONT)
        replies = [future.result(90) for future in futures]
    assert all(isinstance(reply, CommandAccepted) for reply in replies)
    held = {key: one for number in range(PARTITIONS) for key, one in rebuilt(topics, ACCOUNT, number)[0].items()}
    assert {key: one.state.balance for key, one in held.items()} == {one: 1 + sent[one] for one in accounts}
    assert {key: one.version for key, one in held.items()} == {one: 1 + sent[one] for one in accounts}
