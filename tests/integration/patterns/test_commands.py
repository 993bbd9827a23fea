"""Commands whose senders wait no more: they are forgotten, and the answers of others still come."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from random import Random

import pytest

from infra.clock import system_clock
from infra.config import Settings
from jobs.bank.account import DepositMoney, OpenAccount
from jobs.patterns.commands import Commands, _settle
from jobs.patterns.event_store import NoReply, Reply
from jobs.patterns.message import derived_id
from jobs.patterns.replies import CommandAccepted
from tests.integration.patterns.conftest import Serve


def test_who_waits_no_more_is_forgotten_and_may_send_again(topics: Settings, serve: Serve) -> None:
    opening, name = OpenAccount("a", 1), derived_id("test", "open")
    with Commands(topics, system_clock, "test", seconds=1) as commands:
        given_up = commands.begin(opening, name)
        with pytest.raises(NoReply, match="no reply within 1 s"):
            commands.execute(opening, name)
        assert commands._waiting == {(name, "OpenAccount", "a"): [given_up]}
        given_up.cancel()
        assert commands._waiting == {}
        serve("account")
        again = commands.begin(opening, name)
        accepted = again.result(60)
        assert isinstance(accepted, CommandAccepted)
        assert accepted.aggregate_version == 1
        random = Random(3)
        futures = [commands.begin(DepositMoney("a", 1), derived_id("test", str(i))) for i in range(300)]
        kept = [future for future in futures if random.random() < 0.5 or not future.cancel()]
        assert {type(future.result(60)) for future in kept} == {CommandAccepted}
        assert commands._waiting == {}


def test_a_future_that_is_given_up_and_answered_at_one_moment_breaks_nothing() -> None:
    broken = list[BaseException]()

    def trying(do: Callable[[], object], start: threading.Barrier) -> None:
        start.wait(120)
        try:
            do()
        except BaseException as error:
            broken.append(error)

    for _ in range(200):
        future: Future[Reply] = Future()
        start = threading.Barrier(2)
        reply = CommandAccepted("id", "OpenAccount", "a", 1)
        threads = [
            threading.Thread(target=trying, args=(future.cancel, start)),
            threading.Thread(target=trying, args=(lambda future=future, reply=reply: _settle(future, reply), start)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert future.done()
    _settle(future, reply)  # once more: it was settled or given up
    assert broken == []
