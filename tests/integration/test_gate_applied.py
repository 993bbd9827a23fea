"""The gate beside a real broker: what `apply` would refuse is said before, whichever commit of git the files are compared with."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from infra.config import Settings
from infra.contracts import registry
from infra.contracts.contract import Contracts
from infra.contracts.load import read_contracts
from jobs import applied_contracts, contract_history
from jobs.gate.applied import APPLIED
from jobs.gate.check import REGISTRY, Judged, Report, check
from tests.brokers import emptied
from tests.contracts.changes import NEXT_ACTION
from tests.contracts.edits import Edit, added, copied, several, topic, without_version
from tests.ports import free_ports
from tests.registries import running_registry

TODAY = date(2026, 11, 28)
GIFT = added("UserAction", "giftNote", "string", "What is written on the card.", "text")


@pytest.fixture
def settings(broker: Settings, tmp_path: Path) -> Settings:
    """Empty topics and empty tables, and no registry."""
    port, management = map(int, free_ports(2))
    return emptied(replace(broker, registry=replace(broker.registry, port=port, management_port=management)), tmp_path / "state")


def put(settings: Settings, contracts: Contracts) -> None:
    contract_history.apply(settings, contracts)
    applied_contracts.apply(settings, contracts)


def read(tmp_path: Path, *edits: Edit) -> Contracts:
    folder = tmp_path / "applied"
    several(*edits)(copied(folder))
    return read_contracts(folder)


def checked(settings: Settings, tmp_path: Path, *edits: Edit) -> Report:
    folder = tmp_path / "files"
    several(*edits)(copied(folder))
    return check(settings, "nowhere", TODAY, folder)


def the_one(report: Report) -> Judged:
    (one,) = report.judged
    assert (report.compared, one.against) == ((APPLIED,), (APPLIED,))
    return one


def hastened(contract: dict[str, object]) -> None:
    events = contract["events"]
    assert isinstance(events, list)
    events[0]["deprecated"]["ends"] = date(2098, 1, 1)


def test_a_promise_that_was_applied_is_held(settings: Settings, tmp_path: Path) -> None:
    put(settings, read(tmp_path, NEXT_ACTION))
    report = checked(settings, tmp_path, NEXT_ACTION, topic("user-actions", hastened))
    one = the_one(report)
    assert (one.finding.what, one.finding.safe) == ("deprecation hastened", False)
    (refused,) = (change for change in contract_history.plan(settings, read_contracts(tmp_path / "files")) if change.action == "refuse")
    assert refused.detail == str(one.finding)


def test_a_field_that_was_applied_alone_names_what_it_hits(settings: Settings, tmp_path: Path) -> None:
    put(settings, read(tmp_path, GIFT))
    one = the_one(checked(settings, tmp_path))
    assert (one.finding.what, one.finding.field, one.finding.safe) == ("field removed", "data.giftNote", False)
    assert {"user_actions.gift_note", "archive_actions"} & {hit.node.name for hit in one.hits}


def without_snapshots(folder: Path) -> None:
    (folder / "topics" / "aggregate-snapshots.yaml").unlink()


@pytest.mark.parametrize(
    ("edit", "what"),
    [(without_version("orders", "OrderShipped", 1), "event type removed"), (without_snapshots, "topic removed")],
)
def test_what_was_applied_of_other_topics_is_missed(settings: Settings, tmp_path: Path, edit: Edit, what: str) -> None:
    put(settings, read(tmp_path))
    one = the_one(checked(settings, tmp_path, edit))
    assert (one.finding.what, one.finding.safe) == (what, False)


def test_an_event_that_the_registry_knows_names_what_its_end_hits(settings: Settings, tmp_path: Path) -> None:
    ours = read(tmp_path)
    put(settings, ours)
    with running_registry(settings):
        registry.apply(settings, replace(ours, topics={"orders": ours.topics["orders"]}))
        report = checked(settings, tmp_path, without_version("orders", "OrderShipped", 1))
    assert report.compared == (REGISTRY, APPLIED)
    (one,) = report.judged
    assert (one.finding.what, one.finding.safe) == ("event type removed", False)
    assert "archive_shop" in {hit.node.name for hit in one.hits}, sorted(hit.node.name for hit in one.hits)


def test_what_is_as_it_was_applied_is_no_change(settings: Settings, tmp_path: Path) -> None:
    put(settings, read(tmp_path, NEXT_ACTION))
    report = checked(settings, tmp_path, NEXT_ACTION)
    assert (report.compared, report.judged, report.status) == ((APPLIED,), (), 2)
