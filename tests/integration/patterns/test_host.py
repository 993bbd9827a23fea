"""A participant in Kafka: commands are answered once, whatever dies, and whoever believes to own a partition that is another's."""

from __future__ import annotations

import signal
import time
from collections import Counter
from random import Random

from infra.clock import system_clock
from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs.bank.account import ACCOUNT, DepositMoney, OpenAccount
from jobs.patterns.commands import Commands
from jobs.patterns.event_log import rebuilt
from jobs.patterns.message import derived_id
from jobs.patterns.replies import CommandAccepted
from tests.integration.patterns.conftest import Serve

PARTITIONS = load_contracts().topics[ACCOUNT.topic].partitions


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
