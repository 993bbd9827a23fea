"""Events that come back from the dead letters lie on a command topic: their participant reacts to them once, nobody else does anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from jsonschema import Draft7Validator

from infra.contracts.load import load_contracts
from jobs.patterns.handling import Incoming, Outgoing, handle, refusal
from jobs.patterns.message import REPLAYED, Envelope, Message, derived_id, encode
from jobs.patterns.participant import Participant
from jobs.shop import messages as m
from jobs.shop.order import Patience
from jobs.shop.saga import participants
from tests.unit.jobs.patterns.logs import PARTITIONS, Logs, Working

SHOP = participants(Patience())
INVENTORY, SHIPPING, CARRIER = SHOP["inventory"], SHOP["shipping"], SHOP["carrier"]
PAID = m.OrderPaid("o1", "u1", "north", (m.Item("pen", 2, 10),), 20, 10**12)
PREPARED = m.ShipmentPrepared("o1", "u1", "north", 10**12)
SCHEMA = load_contracts().schemas["DeadLetter", 1].document
NOW = 1_000_000


def a_record(data: Message, topic: str, *, replayed: bool = True, partition: int = 0) -> Incoming:
    key, value, headers = encode(Envelope(derived_id("test", type(data).__name__), NOW, "test", "c", data, aggregate_version=2))
    return Incoming(topic, partition, 7, key, value, [*headers, (REPLAYED, b"1")] if replayed else headers, NOW)


def commands(participant: Participant, record: Incoming) -> list[Outgoing]:
    handled = handle(participant, record, {}, PARTITIONS, NOW)
    assert handled.rejected is None
    assert handled.changed is None
    return list(handled.outgoing)


@pytest.mark.parametrize("partition", range(PARTITIONS))
def test_an_event_that_comes_back_leads_to_the_same_commands_wherever_it_lies(partition: int) -> None:
    """Its key is the order's, and the topic's records have the warehouse's."""
    first = commands(INVENTORY, a_record(PAID, "orders", replayed=False))
    assert commands(INVENTORY, a_record(PAID, "inventory-commands", partition=partition)) == first
    assert [one.topic for one in first] == ["inventory-commands"]


def test_an_event_without_the_header_is_no_command() -> None:
    rejected = handle(INVENTORY, a_record(PAID, "inventory-commands", replayed=False), {}, PARTITIONS, NOW).rejected
    assert rejected is not None
    assert rejected.reason == "unknown_event_type"


def test_a_command_with_the_header_is_a_command_all_the_same() -> None:
    record = a_record(m.ReceiveStock("north", "pen", 3), "inventory-commands")
    handled = [handle(INVENTORY, replace(record, partition=number), {}, PARTITIONS, NOW) for number in range(PARTITIONS)]
    assert [one.changed is not None for one in handled].count(True) == 1
    assert [one.rejected.reason for one in handled if one.rejected is not None] == ["wrong_partition"]


def test_of_participants_that_share_a_topic_only_the_one_that_reacts_takes_it() -> None:
    assert CARRIER.topics == ("shipping-commands", "shipping")
    assert commands(SHIPPING, a_record(PREPARED, "shipping-commands")) == []
    (confirmed,) = commands(CARRIER, a_record(PREPARED, "shipping-commands"))
    assert json.loads(confirmed.value)["eventType"] == "ConfirmDispatch"
    assert commands(CARRIER, a_record(m.ConfirmDispatch("o1", "p"), "shipping-commands", replayed=False)) == []
    assert commands(CARRIER, replace(a_record(PAID, "shipping-commands"), value=b"{")) == []
    assert handle(SHIPPING, replace(a_record(PAID, "shipping-commands"), value=b"{"), {}, PARTITIONS, NOW).rejected is not None


def test_participants_that_share_dead_letters_read_other_events() -> None:
    """So the place of an event names one letter among those of a topic."""
    for one in SHOP.values():
        for other in SHOP.values():
            if one is not other and one.dead_letters == other.dead_letters:
                assert set(one.topics) & set(other.topics) == {one.inbox}


def test_what_would_be_refused_is_known_before_it_is_sent() -> None:
    assert refusal(INVENTORY, a_record(PAID, "inventory-commands"), PARTITIONS, NOW) is None
    unreadable = replace(a_record(PAID, "inventory-commands"), value=b'{"eventType":"OrderPaid"}')
    why = refusal(INVENTORY, unreadable, PARTITIONS, NOW)
    assert why is not None
    assert why.reason == "missing_field"
    assert refusal(CARRIER, a_record(m.ConfirmDispatch("o1", "p"), "shipping-commands"), PARTITIONS, NOW) is None

    def fails(_: m.OrderPaid) -> Sequence[Message]:
        raise KeyError("pen")

    why = refusal(
        replace(INVENTORY, reactions={m.OrderPaid: fails}, dead_letters=""), a_record(PAID, "inventory-commands"), PARTITIONS, NOW
    )
    assert why is not None
    assert (why.step, why.reason) == ("react", "handler_failed")


def worked(logs: Logs, participant: Participant) -> list[Working]:
    """The participant on every partition, until nothing is left to do."""
    random, working = Random(1), [Working(logs, participant, number) for number in range(PARTITIONS)]
    while sum(one.work(random) for one in working):
        pass
    return working


def letters(logs: Logs, topic: str) -> list[dict[str, Any]]:
    found = [json.loads(record.value or b"") for record in logs.records(topic)]
    assert [error.message for letter in found for error in Draft7Validator(dict(SCHEMA)).iter_errors(letter)] == []
    return [letter["data"] for letter in found]


def test_a_reaction_that_failed_is_made_up_for_once_however_often_its_event_comes_back() -> None:
    logs = Logs()
    logs.send(m.ReceiveStock("north", "pen", 5), "stock")
    event = a_record(PAID, "orders", replayed=False)
    logs.append(Outgoing("orders", event.key, event.value or b"", event.headers))

    def fails(_: m.OrderPaid) -> Sequence[Message]:
        raise KeyError("pen")

    broken = replace(INVENTORY, reactions={**INVENTORY.reactions, m.OrderPaid: fails}, dead_letters="")
    before = worked(logs, broken)
    (letter,) = letters(logs, "inventory-commands-dlq")
    assert (letter["error"]["step"], letter["sourceTopic"], letter["failedIn"], letter["retryCount"]) == ("react", "orders", "inventory", 2)
    assert letter["originalHeaders"] == {"aggregate-version": "2"}

    for number in (0, 1, 1):
        logs.append(Outgoing("inventory-commands", event.key, event.value or b"", [(REPLAYED, b"1")], number))
    after = [Working(logs, INVENTORY, number) for number in range(PARTITIONS)]
    for one, old in zip(after, before, strict=True):
        one.positions = old.positions
    random = Random(2)
    while sum(one.work(random) for one in after):
        pass
    kinds = [json.loads(record.value or b"")["eventType"] for record in logs.records("inventory")]
    assert kinds == ["StockReceived", "InventoryReserved"]
    assert len(letters(logs, "inventory-commands-dlq")) == 1


def test_a_reaction_that_fails_again_is_a_letter_of_the_command_topic_and_names_the_step() -> None:
    logs = Logs()
    event = a_record(PAID, "inventory-commands")
    logs.append(Outgoing("inventory-commands", event.key, event.value or b"", event.headers, 1))

    def fails(_: m.OrderPaid) -> Sequence[Message]:
        raise KeyError("pen")

    worked(logs, replace(INVENTORY, reactions={m.OrderPaid: fails}, dead_letters=""))
    (letter,) = letters(logs, "inventory-commands-dlq")
    assert (letter["error"]["step"], letter["sourceTopic"], letter["sourcePartition"]) == ("react", "inventory-commands", 1)
    assert letter["originalHeaders"] == {"aggregate-version": "2", "replayed-event": "1"}


def test_a_letter_keeps_the_headers_that_a_replay_needs_and_cuts_off_what_is_too_long() -> None:
    logs = Logs()
    logs.send(m.ReceiveStock("north", "pen", 5), "stock", expected=0)
    (record,) = logs.records("inventory-commands")
    headers = [(name, b"\xff" * 500 if name == "expected-version" else value) for name, value in record.headers]
    logs.append(Outgoing(record.topic, record.key, b"{", [*record.headers, ("trace", b"x")]))
    logs.append(Outgoing(record.topic, record.key, record.value or b"", headers))
    worked(logs, INVENTORY)
    first, second = letters(logs, "inventory-commands-dlq")
    assert first["originalHeaders"] == {"expected-version": "0", "reply-wanted": "1"}
    assert second["originalHeaders"] == {"expected-version": "\xff" * 128, "reply-wanted": "1"}
