"""`./streamhouse contracts` as a person calls it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.contracts.contract import Deprecation
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs.cli_contracts import app
from jobs.gate.shown import listed, state
from tests.contracts.changes import NEXT_ACTION
from tests.contracts.edits import copied
from tests.ports import free_ports

GONE = Deprecation(date(2027, 6, 30), "web-platform", ("UserAction", 2))


def test_list_names_every_version_of_every_event() -> None:
    rows = json.loads(CliRunner().invoke(app, ["list", "--json"]).output)
    told = {(row["topic"], row["event"], row["version"]) for row in rows}
    assert told == {(topic.name, *event) for topic in load_contracts().topics.values() for event in topic.events}
    assert "user-actions" in CliRunner().invoke(app, ["list"]).output


def test_a_deprecated_version_says_until_when_and_then_that_it_has_ended(tmp_path: Path) -> None:
    assert state(None, date(2027, 1, 1)) == "current"
    assert state(GONE, date(2027, 6, 30)) == "deprecated, ends 2027-06-30; UserAction 2 follows; ask web-platform"
    assert state(GONE, date(2027, 7, 1)) == "ended 2027-06-30; UserAction 2 follows; ask web-platform"
    folder = copied(tmp_path / "contracts")
    NEXT_ACTION(folder)
    rows = {(row["event"], row["version"]): row["state"] for row in listed(load_contracts(folder), date(2100, 1, 1))}
    assert rows["UserAction", 1] == "ended 2099-12-31; UserAction 2 follows; ask web-platform"
    assert rows["UserAction", 2] == "current"


def test_show_tells_who_writes_and_reads_a_topic_and_each_field() -> None:
    told = CliRunner().invoke(app, ["show", "orders"]).output
    assert "consumers    order, payment, inventory" in told
    assert "OrderPlaced 1: current" in told
    assert "data.items[].sku" in told
    assert json.loads(CliRunner().invoke(app, ["show", "orders", "--json"]).output)["key"] == "data.orderId"


def test_show_of_another_topic_names_those_that_there_are() -> None:
    outcome = CliRunner().invoke(app, ["show", "order"])
    assert isinstance(outcome.exception, StreamhouseError)
    assert "topic 'order': no contract names it; expected one of account-commands" in str(outcome.exception)


def test_check_ends_with_2_where_nothing_could_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMHOUSE_REGISTRY_PORT", free_ports(1)[0])
    outcome = CliRunner().invoke(app, ["check", "--against", "no-such-commit", "--json"])
    assert outcome.exit_code == 2
    told = json.loads(outcome.output)
    assert told["verdict"] == "nothing could be compared"
    assert "--against no-such-commit: expected a commit, branch or tag" in told["notCompared"][0]
