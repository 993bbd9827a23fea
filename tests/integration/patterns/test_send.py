"""A command from a person: its answer in words and exit status, once however often it is sent under one name."""

from __future__ import annotations

import re

import pytest

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.bank.account import ACCOUNT
from jobs.patterns.event_store import NoReply
from jobs.patterns.kafka_store import KafkaEventStore
from jobs.patterns.send import ACCEPTED, REFUSED, send
from jobs.patterns.show import FOUND, UNKNOWN, show
from tests.integration.patterns.conftest import Serve

KNOWN = {"account": ACCOUNT}


def test_a_person_sends_commands_and_sees_what_became_of_them(topics: Settings, serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NoReply, match="no reply within 1 s; see that its service runs"):
        send(topics, KNOWN.values(), "OpenAccount", '{"accountId": "a", "cents": 100}', "open", None, 1.0)
    serve("account")
    for _ in range(2):  # the first try waited on its topic
        assert send(topics, KNOWN.values(), "OpenAccount", '{"accountId": "a", "cents": 100}', "open", None, 30.0) == ACCEPTED
    assert send(topics, KNOWN.values(), "DepositMoney", '{"accountId": "a", "cents": 1}', None, 1, 30.0) == ACCEPTED
    assert send(topics, KNOWN.values(), "WithdrawMoney", '{"accountId": "a", "cents": 102}', None, None, 30.0) == REFUSED
    assert send(topics, KNOWN.values(), "DepositMoney", '{"accountId": "a", "cents": 1}', None, 1, 30.0) == REFUSED
    said = capsys.readouterr()
    assert said.out.splitlines() == ["OpenAccount to a: accepted, version 1"] * 2 + ["DepositMoney to a: accepted, version 2"]
    assert "refused at version 2, insufficient_funds: insufficient funds: 101 cents are there, 102 were asked for" in said.err
    assert "refused at version 2, conflict" in said.err
    assert KafkaEventStore(topics, ACCOUNT).load("a").version == 2

    def shown(aggregate_id: str, *, version: int | None = None, offset: int | None = None, history: bool = False) -> int:
        return show(topics, KNOWN, "account", aggregate_id, None, offset, version, history=history, archive=False, as_json=False)

    assert shown("a", history=True) == FOUND
    out = capsys.readouterr().out
    assert "account a, version 2" in out
    assert "balance: 101" in out
    assert "AccountOpened" in out
    assert "cents 1 " in out
    with pytest.raises(StreamhouseError, match="account 'a': expected its version 9, the latest is 2"):
        shown("a", version=9)
    assert shown("nobody") == UNKNOWN
    with pytest.raises(StreamhouseError, match="kind 'purse': expected one of account"):
        show(topics, KNOWN, "purse", "a", None, None, None, history=False, archive=False, as_json=False)


def test_a_command_that_had_no_answer_is_sent_again_under_the_id_that_was_told(topics: Settings, serve: Serve) -> None:
    with pytest.raises(NoReply, match="no reply within 1 s") as refused:
        send(topics, KNOWN.values(), "OpenAccount", '{"accountId": "a", "cents": 100}', None, None, 1.0)
    (told,) = re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(refused.value))
    serve("account")
    assert send(topics, KNOWN.values(), "OpenAccount", '{"accountId": "a", "cents": 100}', told, None, 30.0) == ACCEPTED
    assert KafkaEventStore(topics, ACCOUNT).load("a").state.balance == 100


@pytest.mark.parametrize(
    ("kind", "data", "says"),
    [
        ("RobAccount", "{}", "command 'RobAccount': expected one of DepositMoney, OpenAccount, WithdrawMoney"),
        ("OpenAccount", '{"accountId": "a"}', "missing required field `cents`; its fields are accountId, cents"),
        ("OpenAccount", '{"accountId": "", "cents": 1}', "length >= 1"),
        ("OpenAccount", "cents", "JSON is malformed"),
    ],
)
def test_what_is_no_command_is_said_before_anything_is_sent(broker: Settings, kind: str, data: str, says: str) -> None:
    with pytest.raises(StreamhouseError, match=says):
        send(broker, KNOWN.values(), kind, data, None, None, 1.0)
