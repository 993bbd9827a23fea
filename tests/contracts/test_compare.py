"""The gate: what is compatible passes and what breaks somebody is refused, each with its sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from infra.contracts.compare import Finding, compare
from infra.contracts.contract import Contracts
from infra.contracts.load import FOLDER, load_contracts, read_contracts
from tests.contracts.changes import ACTIONS, BREAKING, COMPATIBLE, NEXT_ACTION, Breaking
from tests.contracts.edits import Edit, copied, data, limited, nothing, several, topic, without_version

TODAY = date(2026, 11, 28)
OURS = read_contracts(FOLDER)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., list[Finding]]:
    """The findings of an edit, on ours or on what an edit made of ours."""

    def find(edit: Edit, before: Edit = nothing, today: date = TODAY) -> list[Finding]:
        old, new = copied(tmp_path / "old"), copied(tmp_path / "new")
        before(old)
        several(before, edit)(new)
        return compare(read_contracts(old), read_contracts(new), today)

    return find


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> list[Contracts]:
    """Ours, and after each compatible change; every state is held to every rule."""
    states = [OURS]
    for number in range(1, len(COMPATIBLE) + 1):
        folder = copied(tmp_path_factory.mktemp("grown") / "contracts")
        several(*list(COMPATIBLE.values())[:number])(folder)
        states.append(load_contracts(folder))
    return states


def test_there_are_twenty_of_each() -> None:
    assert len(COMPATIBLE) == 20
    assert len(BREAKING) >= 20


def test_nothing_changed_is_no_finding(changed: Callable[..., list[Finding]]) -> None:
    assert changed(nothing) == []


@pytest.mark.parametrize("number", range(20), ids=list(COMPATIBLE))
def test_a_compatible_change_passes(grown: list[Contracts], number: int) -> None:
    findings = compare(grown[number], grown[number + 1], TODAY)
    assert findings, "the change was seen"
    assert [str(finding) for finding in findings if not finding.safe] == []


def test_all_twenty_at_once_pass_too(grown: list[Contracts]) -> None:
    findings = compare(grown[0], grown[-1], TODAY)
    assert [str(finding) for finding in findings if not finding.safe] == []
    assert {finding.what for finding in findings} >= {"field added", "version added", "event type added", "event-time window widened"}


@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_is_refused_with_its_sentence(changed: Callable[..., list[Finding]], name: str) -> None:
    case: Breaking = BREAKING[name]
    refused = [finding for finding in changed(case.edit, case.before) if not finding.safe]
    assert [finding.what for finding in refused] == [case.what]
    assert case.says in str(refused[0])


def test_a_rename_is_told_from_a_removal_and_names_both(changed: Callable[..., list[Finding]]) -> None:
    (found,) = changed(BREAKING["a field renamed"].edit)
    assert str(found) == (
        "user-actions: UserAction 1: data.platform: removed, and data.device of the same shape added: it looks like a rename, which"
        " nobody who reads platform hears of; write version 2 of UserAction beside this one with"
        " `upcast: {renamed: {platform: device}}`, and mark version 1 `deprecated`"
    )


def test_a_field_of_another_shape_is_no_rename(changed: Callable[..., list[Finding]]) -> None:
    def edit(part: dict[str, Any]) -> None:
        part["properties"].pop("platform")
        part["properties"]["width"] = {"type": "integer", "description": "Width.", "unit": "pixels"}

    found = {finding.field: (finding.what, finding.safe) for finding in changed(data("UserAction", edit))}
    assert found == {"data.platform": ("field removed", False), "data.width": ("field added", True)}


def test_a_removed_object_is_one_finding(changed: Callable[..., list[Finding]]) -> None:
    def edit(part: dict[str, Any]) -> None:
        part["properties"].pop("model")
        part["required"].remove("model")

    assert [finding.field for finding in changed(data("Prediction", edit))] == ["data.model"]


def test_a_version_may_go_when_its_last_day_is_over(changed: Callable[..., list[Finding]]) -> None:
    (found,) = changed(without_version(ACTIONS, "UserAction", 1), NEXT_ACTION, date(2100, 1, 1))
    assert (found.what, found.safe) == ("version removed", True)


def test_it_may_not_go_on_its_last_day(changed: Callable[..., list[Finding]]) -> None:
    (found,) = changed(without_version(ACTIONS, "UserAction", 1), NEXT_ACTION, date(2099, 12, 31))
    assert (found.what, found.safe) == ("version removed", False)


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (topic("predictions", lambda contract: contract.update(retention="60d")), "retention lengthened"),
        (topic("predictions", lambda contract: contract.update(description="Else.")), "description changed"),
        (topic("predictions", lambda contract: contract["examples"].update(valid=["known-user.json"])), "examples changed"),
        (topic("user-actions-dlq", lambda contract: contract.update(max_message_bytes=1 << 22)), "message size raised"),
        (limited("UserAction", "platform", description="Else."), "described anew"),
        (limited("UserAction", "platform", unit="word"), "described anew"),
        (limited("OrderPaid", "cents", maximum=10**15), "limit loosened"),
    ],
)
def test_what_reaches_nobody_is_safe(changed: Callable[..., list[Finding]], edit: Edit, what: str) -> None:
    assert [(finding.what, finding.safe) for finding in changed(edit)] == [(what, True)]


def test_a_new_topic_is_safe() -> None:
    before = replace(OURS, topics={name: one for name, one in OURS.topics.items() if name != "predictions"})
    assert [(one.topic, one.what, one.safe) for one in compare(before, OURS, TODAY)] == [("predictions", "topic added", True)]


def test_a_field_that_is_new_may_be_filled_for_older_events(changed: Callable[..., list[Finding]]) -> None:
    def fill(contract: dict[str, Any]) -> None:
        contract["events"][1]["upcast"]["filled"] = {"variant": "a"}

    edit = several(COMPATIBLE["one of some names"], topic(ACTIONS, fill))
    assert {(one.what, one.safe) for one in changed(edit, NEXT_ACTION)} == {("field added", True), ("upcast fills a new field", True)}
