"""What participants could not handle is sent to them again by `./streamhouse dlq`: each letter once, harmless when it is late."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from infra.clock import system_clock
from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.bank.account import ACCOUNT, DepositMoney, OpenAccount
from jobs.committed_records import read_all
from jobs.patterns.commands import Commands
from jobs.patterns.event_log import rebuilt
from jobs.patterns.message import Envelope, Message, derived_id, encode
from jobs.patterns.replies import CommandAccepted
from jobs.shop import messages as m
from jobs.shop.inventory import WAREHOUSE
from jobs.shop.order import Patience
from jobs.shop.saga import INVENTORY, carrier, order
from tests.integration.dlq.replaying import BATCH, dlq, replaying
from tests.integration.patterns.conftest import Serve
from tests.integration.patterns.working import working

CONTRACTS = load_contracts().topics
ACCOUNTS = ("--topic", "account-commands")
MEND = ("--edit", 'lambda event: {**event, "version": 1}')
_SECONDS = 180


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a command's words go."""
    return tmp_path / "said"


def send(settings: Settings, data: Sequence[Message], version: int = 1) -> None:
    """Commands or events as they are; those of another version nobody can read."""
    producer = Producer({**settings.kafka.client(), "partitioner": "murmur2_random", "enable.idempotence": True})
    for i, one in enumerate(data):
        key, value, headers = encode(Envelope(derived_id(f"{one.aggregate_id} {i}", type(one).__name__), system_clock(), "test", "c", one))
        value = value.replace(b'"version":1', b'"version":%d' % version)
        producer.produce(one.topic, value, key, partition_of(key, 4), headers=list(headers))
    assert producer.flush(30) == 0


def found(settings: Settings, topic: str) -> list[Any]:
    return [json.loads(message.value() or b"") for message in read_all(settings, topic, CONTRACTS[topic].partitions)]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def wait_for(settings: Settings, topic: str, count: int) -> None:
    wait_until(lambda: len(found(settings, topic)) >= count)


def listing(settings: Settings, out: Path, topic: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(dlq(settings, out, "list", "--topic", topic, "--json"))
    return said


def balances(settings: Settings) -> dict[str, int]:
    return {key: one.state.balance for number in range(4) for key, one in rebuilt(settings, ACCOUNT, number)[0].items()}


def test_a_command_is_repaired_sent_again_and_accepted_and_the_plain_listing_names_its_topic(
    topics: Settings, serve: Serve, out: Path
) -> None:
    serve("account")
    send(topics, [OpenAccount(f"a{i}", 100) for i in range(3)], version=2)
    wait_for(topics, "account-commands-dlq", 3)
    assert "letters of other topics: account-commands 3 (3 open); ./streamhouse dlq list --topic account-commands" in dlq(
        topics, out, "list"
    )
    said = dlq(topics, out, "list", *ACCOUNTS)
    assert re.search(r"validate +unknown_version +2 +3 ", said)
    assert "./streamhouse dlq replay --topic account-commands --all sends them again" in said
    assert "0 would be accepted now, 3 refused again" in dlq(topics, out, "replay", *ACCOUNTS, "--all", "--dry-run")
    assert "3 would be accepted now" in dlq(topics, out, "replay", *ACCOUNTS, "--all", "--dry-run", *MEND)
    assert found(topics, "command-replays") == []

    assert "3 sent again" in dlq(topics, out, "replay", *ACCOUNTS, "--all", "--yes", *MEND)
    assert "nothing to send" in dlq(topics, out, "replay", *ACCOUNTS, "--all", "--yes", *MEND)
    wait_until(lambda: listing(topics, out, "account-commands")["accepted"] == 3)
    assert balances(topics) == {"a0": 100, "a1": 100, "a2": 100}
    assert listing(topics, out, "account-commands")["open"] == 0
    assert "account-commands 3 (0 open)" in dlq(topics, out, "list")
    assert json.loads(dlq(topics, out, "list", "--json"))["other_topics"] == {"account-commands": {"letters": 3, "open": 0}}
    letter = found(topics, "account-commands-dlq")[0]
    shown = json.loads(dlq(topics, out, "show", letter["eventId"], *ACCOUNTS, "--json"))
    told = [set(link) - {"place", "retry_count"} for link in shown["history"]]
    assert told == [{"refused", "sent_again"}, {"accepted"}]
    assert shown["history"][0]["refused"]["failed_in"] == "account"


def test_what_is_refused_again_and_again_is_quarantined_by_the_replays_that_the_notes_tell_of(
    topics: Settings, serve: Serve, out: Path
) -> None:
    serve("account")
    send(topics, [OpenAccount("a", 1)], version=2)
    for i in range(topics.dlq.max_retries):
        wait_for(topics, "account-commands-dlq", i + 1)
        assert "1 sent again" in dlq(topics, out, "replay", *ACCOUNTS, "--all", "--yes")
    wait_for(topics, "account-commands-dlq", topics.dlq.max_retries + 1)
    assert "1 quarantined: sent again 3 times already" in dlq(topics, out, "replay", *ACCOUNTS, "--all", "--yes")
    said = listing(topics, out, "account-commands")
    assert (said["open"], said["quarantined"], said["refused_again"]) == (0, 1, 3)
    assert [note["data"]["retryCount"] for note in found(topics, "command-replays")] == [1, 2, 3, 3]
    assert "1 sent again" in dlq(topics, out, "replay", *ACCOUNTS, "--all", "--yes", "--quarantined", *MEND)
    wait_until(lambda: balances(topics) == {"a": 1})


def test_each_letter_is_sent_once_though_commands_are_killed_and_run_at_a_time(topics: Settings, serve: Serve, out: Path) -> None:
    """By the balance, and by the topic, for the account would know a deposit that came twice."""
    serve("account")
    send(topics, [OpenAccount("a", 1)])
    send(topics, [DepositMoney("a", 10**i) for i in range(12)], version=2)
    wait_for(topics, "account-commands-dlq", 12)
    arguments = "replay", *ACCOUNTS, "--all", "--yes", *MEND
    for stop in ("produced", "committed"):
        with replaying(topics, out, *arguments, stop=stop) as process:
            assert process.stopped()
            process.kill()
    assert len(found(topics, "command-replays")) == BATCH
    with replaying(topics, out, *arguments, stop="produced") as first:
        assert first.stopped()
        dlq(topics, out.with_suffix(".rival"), *arguments)
        first.go_on()
        assert first.ended() == 1
        assert "another `dlq replay` was started and took over" in first.said()
    wait_until(lambda: balances(topics) == {"a": 1 + sum(10**i for i in range(12))})
    places = [(note["data"]["letterPartition"], note["data"]["letterOffset"]) for note in found(topics, "command-replays")]
    assert len(places) == len(set(places)) == 12
    assert len(found(topics, "account-commands")) == 1 + 12 + 12


def test_an_event_that_nobody_could_react_to_comes_back_to_its_participant_alone_and_is_handled_once(
    topics: Settings, serve: Serve, out: Path
) -> None:
    """The carrier, which has no command topic of its own, cannot take one parcel until it is mended."""
    taker = carrier(0)

    def fails(event: m.ShipmentPrepared) -> Sequence[Message]:
        if event.order_id == "o1":
            raise KeyError(event.order_id)
        return taker.reactions[m.ShipmentPrepared](event)

    serve("shipping")
    send(topics, [m.PrepareShipment(name, "u", "north", system_clock() + 600_000) for name in ("o1", "o2")])
    with working(topics, replace(taker, reactions={m.ShipmentPrepared: fails})):
        wait_for(topics, "shipping-commands-dlq", 1)
    (letter,) = found(topics, "shipping-commands-dlq")
    place = f"shipping/{letter['data']['sourcePartition']}:{letter['data']['sourceOffset']}"
    topic = "--topic", "shipping-commands"
    assert "an event is a fact and is sent as it is" in dlq(topics, out, "replay", *topic, "--all", "--yes", *MEND)
    assert f'"{place}"' in dlq(topics, out, "show", place, *topic, "--json")

    serve("carrier")
    assert "1 sent again" in dlq(topics, out, "replay", place, *topic, "--yes")
    wait_until(lambda: listing(topics, out, "shipping-commands")["accepted"] == 1)
    wait_for(topics, "shipping", 4)
    kinds = sorted((event["data"]["orderId"], event["eventType"]) for event in found(topics, "shipping"))
    assert kinds == [(name, kind) for name in ("o1", "o2") for kind in ("ParcelDispatched", "ShipmentPrepared")]
    assert len(found(topics, "shipping-commands-dlq")) == 1


def test_a_reservation_that_comes_back_after_its_order_was_cancelled_changes_nothing(topics: Settings, serve: Serve, out: Path) -> None:
    def decide(state: Any, command: Message, now_ms: int) -> Any:
        if isinstance(command, m.ReserveStock):
            raise KeyError(command.order_id)
        return WAREHOUSE.decide(state, command, now_ms)

    serve("payment")
    with (
        working(topics, order(Patience(600_000, 600_000, 600_000))),
        Commands(topics, system_clock, "test", seconds=60) as commands,
    ):
        with working(topics, replace(INVENTORY, aggregate=replace(WAREHOUSE, decide=decide))):
            begin: list[Message] = [m.CreditWallet("u", 100), m.ReceiveStock("north", "pen", 5)]
            begin.append(m.PlaceOrder("o", "u", "north", (m.Item("pen", 2, 10),)))
            for data in begin:
                assert isinstance(commands.execute(data, derived_id(data.aggregate_id, "begin")), CommandAccepted)
            wait_for(topics, "inventory-commands-dlq", 1)
            (letter,) = found(topics, "inventory-commands-dlq")
            assert letter["data"]["error"] == {"step": "decide", "reason": "handler_failed", "message": "KeyError: 'o'"}
            assert letter["data"]["retryCount"] == 3
            assert isinstance(commands.execute(m.CancelOrder("o", "changed my mind"), derived_id("o", "cancel")), CommandAccepted)
            wait_until(lambda: "OrderCancelled" in [event["eventType"] for event in found(topics, "orders")])
        before = {name: found(topics, name) for name in ("orders", "payments", "inventory")}
        serve("inventory")
        assert "1 sent again" in dlq(topics, out, "replay", "--topic", "inventory-commands", "--all", "--yes")
        wait_until(lambda: listing(topics, out, "inventory-commands")["accepted"] == 1)
        assert {name: found(topics, name) for name in before} == before
    (held,) = [one for number in range(4) for one in rebuilt(topics, WAREHOUSE, number)[0].values()]
    assert dict(held.state.stock) == {"pen": 5}
    assert len(found(topics, "inventory-commands-dlq")) == 1
