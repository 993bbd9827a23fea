"""Old and new producers on one topic of the shop: each event is read as the class that the code has."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import pytest

from infra.contracts.contract import Contracts, Deprecation, EventSchema, Upcast
from infra.contracts.events import Rejected
from infra.contracts.load import load_contracts
from jobs.bank.account import MoneyDeposited as First
from jobs.patterns.message import Codec, Envelope, Message

TYPE, TOPIC = "MoneyDeposited", "accounts"


class MoneyDeposited(Message, frozen=True):
    """As a later release of the bank has it: another name, and a field that was not there."""

    topic: ClassVar[str] = TOPIC
    key: ClassVar[str] = "account_id"
    version: ClassVar[int] = 2

    account_id: str
    amount_cents: int
    currency: str
    note: str = "-"


def evolved(filled: dict[str, Any]) -> Contracts:
    contracts = load_contracts()
    document: Any = copy.deepcopy(dict(contracts.schemas[TYPE, 1].document))
    document["properties"]["version"]["const"] = 2
    data = document["properties"]["data"]
    data["properties"]["amountCents"] = data["properties"].pop("cents")
    data["properties"]["currency"] = {"type": "string", "description": "Which.", "unit": "ISO 4217"}
    data["required"] = ["amountCents" if name == "cents" else name for name in data["required"]] + ["currency"]
    topic = replace(
        contracts.topics[TOPIC],
        events=(*contracts.topics[TOPIC].events, (TYPE, 2)),
        upcasts={(TYPE, 2): Upcast({"cents": "amountCents"}, filled)},
        deprecations={(TYPE, 1): Deprecation(date(2031, 1, 31), "bank-team", (TYPE, 2))},
    )
    schemas = dict(contracts.schemas) | {(TYPE, 2): EventSchema(TYPE, 2, Path("v2"), document)}
    return replace(contracts, topics=dict(contracts.topics) | {TOPIC: topic}, schemas=schemas)


def record(version: int, **data: Any) -> bytes:
    return json.dumps(
        {
            "eventType": TYPE,
            "eventId": "7f9c2b1e-3d4a-4c5b-8e6f-0a1b2c3d4e5f",
            "timestamp": "2024-03-13T10:22:12.000Z",
            "version": version,
            "source": "bank",
            "correlationId": "c",
            "data": data,
        }
    ).encode()


OLD = record(1, accountId="ada", cents=5)
NEW = record(2, accountId="ada", amountCents=5, currency="usd")


def test_new_code_reads_what_old_producers_send() -> None:
    codec = Codec([MoneyDeposited], evolved({"currency": "eur"}))
    for value, currency in ((OLD, "eur"), (NEW, "usd")):
        envelope = codec.decode(value)
        assert isinstance(envelope, Envelope)
        assert envelope.data == MoneyDeposited("ada", 5, currency)
        assert type(envelope.data) is MoneyDeposited


def test_old_code_reads_what_new_producers_send() -> None:
    codec = Codec([First], evolved({"currency": "eur"}))
    for value in (OLD, NEW):
        envelope = codec.decode(value)
        assert isinstance(envelope, Envelope)
        assert envelope.data == First("ada", 5)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (record(3, accountId="ada", cents=5), "unknown_version"),
        (record(1, accountId="ada", cents="5"), "wrong_type"),
        (record(1, accountId="ada"), "missing_field"),
        (record(2, accountId="ada", cents=5, currency="eur"), "missing_field"),
    ],
)
def test_each_version_is_held_to_its_own_fields(value: bytes, reason: str) -> None:
    refused = Codec([MoneyDeposited], evolved({"currency": "eur"})).decode(value)
    assert isinstance(refused, Rejected)
    assert refused.reason == reason


def test_an_old_event_may_be_filled_with_null() -> None:
    class Deposit(Message, frozen=True):
        topic: ClassVar[str] = TOPIC
        key: ClassVar[str] = "account_id"
        version: ClassVar[int] = 2

        account_id: str
        currency: str | None

    Deposit.__name__ = TYPE
    envelope = Codec([Deposit], evolved({"currency": None})).decode(OLD)
    assert isinstance(envelope, Envelope)
    assert envelope.data == Deposit("ada", None)


def test_a_version_that_cannot_become_the_struct_is_refused() -> None:
    """Nothing says what the currency of an old event is."""
    refused = Codec([MoneyDeposited], evolved({})).decode(OLD)
    assert isinstance(refused, Rejected)
    assert refused.reason == "unknown_version"
