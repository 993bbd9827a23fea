"""The gate and a real schema registry: what it holds is compared, what is compatible is registered, what breaks is not."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import MappingProxyType

import httpx
import pytest
from rich.console import Console

from infra.config import Settings, load_settings
from infra.contracts import registry
from infra.contracts.compare import Finding
from infra.contracts.contract import Contracts, Deprecation
from infra.contracts.load import load_contracts, read_contracts
from jobs import apply
from jobs.gate.check import REGISTRY, check, registered_findings
from tests.contracts.changes import BREAKING, COMPATIBLE, NEXT_ACTION
from tests.contracts.edits import Edit, copied, nothing, several, without_version
from tests.ports import free_ports
from tests.registries import running_registry

TODAY = date(2026, 11, 28)
_KINDS = ("field", "made", "required", "type", "unit", "narrowed")
OF_SCHEMAS = {name: case for name, case in BREAKING.items() if case.what.split()[0] in _KINDS and case.before is nothing}


@pytest.fixture
def settings(running: Settings) -> Settings:
    """The registry without a schema in it."""
    for deleted in ("false", "true"):
        for subject in httpx.get(f"{running.registry.confluent_url}/subjects", params={"deleted": deleted}).json():
            url = f"{running.registry.confluent_url}/subjects/{subject}"
            httpx.delete(url, params={"permanent": deleted}).raise_for_status()
    assert subjects(running) == {}
    return running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A registry of its own, ended by its process id."""
    tmp_path = tmp_path_factory.mktemp("registry")
    names = ("STREAMHOUSE_REGISTRY_PORT", "STREAMHOUSE_REGISTRY_MANAGEMENT_PORT", "STREAMHOUSE_KAFKA_PORT")
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state"), **dict(zip(names, free_ports(3), strict=True))})
    with running_registry(settings):
        yield settings


def subjects(settings: Settings) -> dict[str, int]:
    """How many schemas each subject has."""
    url = settings.registry.confluent_url
    return {name: len(httpx.get(f"{url}/subjects/{name}/versions").json()) for name in httpx.get(f"{url}/subjects").json()}


def hold(settings: Settings, subject: str, schema: dict[str, str]) -> None:
    answer = httpx.post(
        f"{settings.registry.confluent_url}/subjects/{subject}/versions",
        json={"schema": json.dumps(schema | {"$schema": "http://json-schema.org/draft-07/schema#"}), "schemaType": "JSON"},
    )
    assert answer.status_code == 200, answer.text


def of_actions(contracts: Contracts, *others: str) -> Contracts:
    """A few topics are registered sooner than all."""
    return replace(contracts, topics={name: contracts.topics[name] for name in ("user-actions", *others)})


def found(
    settings: Settings, contracts: Contracts, known: Mapping[tuple[str, str, int], Deprecation] = MappingProxyType({}), today: date = TODAY
) -> Sequence[Finding]:
    return registered_findings(registry.registered(settings, contracts), contracts, known, today)


def test_breaking_changes_are_not_registered_and_twenty_compatible_ones_are(settings: Settings, tmp_path: Path) -> None:
    def read(name: str, *edits: Edit) -> Contracts:
        folder = tmp_path / name
        several(*edits)(folder if folder.exists() else copied(folder))
        return of_actions(read_contracts(folder), "predictions", "orders", "aggregate-snapshots")

    assert {change.action for change in registry.apply(settings, read("ours"))} == {"create"}
    hold(settings, "user-actions-Others-value", {"type": "object"})
    before = subjects(settings)
    assert len(OF_SCHEMAS) >= 14
    for name, case in OF_SCHEMAS.items():
        contracts = read(name, case.edit)
        findings = [one for one in found(settings, contracts) if not one.safe]
        assert [one.what for one in findings] == [case.what], name
        (refused,) = (change for change in registry.apply(settings, contracts) if change.action == "refuse")
        assert findings[0].sentence in refused.detail
    assert subjects(settings) == before

    for name, edit in COMPATIBLE.items():
        contracts = read("ours", edit)
        assert [str(one) for one in found(settings, contracts) if not one.safe] == [], name
        assert [change for change in registry.apply(settings, contracts) if change.action == "refuse"] == [], name
        assert found(settings, contracts) == [], name
    assert {change.action for change in registry.plan(settings, read("ours"))} == {"keep"}
    url, ours = settings.registry.confluent_url, [subject for subject in subjects(settings) if "Others" not in subject]
    assert {httpx.get(f"{url}/config/{subject}").json()["compatibilityLevel"] for subject in ours} == {"BACKWARD"}
    assert subjects(settings)["user-actions-UserAction-v2"] == 2


def test_the_check_says_what_it_was_compared_with(settings: Settings, tmp_path: Path) -> None:
    folder = copied(tmp_path / "contracts")
    registry.apply(settings, of_actions(load_contracts(folder)))
    BREAKING["an optional field removed"].edit(folder)
    report = check(settings, "nowhere", TODAY, folder)
    assert (report.compared, report.status) == ((REGISTRY,), 1)
    (one,) = report.judged
    assert (one.finding.what, one.against) == ("field removed", (REGISTRY,))
    assert "./streamhouse why" in {hit.node.name for hit in one.hits}, "though these files do not have the field"


def test_apply_refuses_what_breaks_with_the_same_sentence_and_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    folder = copied(tmp_path / "contracts")
    registry.apply(settings, of_actions(load_contracts(folder)))
    several(BREAKING["a field renamed"].edit, COMPATIBLE["a field of predictions"])(folder)
    wanted, before = of_actions(read_contracts(folder), "predictions"), subjects(settings)
    part = apply.Part(lambda s: registry.plan(s, wanted), lambda s: registry.apply(s, wanted))
    with pytest.raises(apply.ApplyRefused, match=r"data.platform: removed, and data.device of the same shape(.|\n)*\nnothing was changed"):
        apply.main(settings, parts={"schemas": part}, console=Console(file=io.StringIO()))
    assert subjects(settings) == before


def test_a_version_that_was_registered_may_go_when_its_last_day_is_over(settings: Settings, tmp_path: Path) -> None:
    folder = copied(tmp_path / "contracts")
    NEXT_ACTION(folder)
    with_both = load_contracts(folder)
    registry.apply(settings, of_actions(with_both))
    known = {("user-actions", *event): gone for event, gone in with_both.topics["user-actions"].deprecations.items()}
    without_version("user-actions", "UserAction", 1)(folder)
    after = read_contracts(folder)
    for today, safe in ((date(2099, 12, 31), False), (date(2100, 1, 1), True)):
        assert [(one.what, one.safe) for one in found(settings, after, known, today)] == [("version removed", safe)]
    assert found(settings, after) == [], "nobody knows it any more"


def test_a_schema_that_went_back_is_refused_though_the_registry_knows_it(settings: Settings, tmp_path: Path) -> None:
    folder = copied(tmp_path / "contracts")
    ours = of_actions(load_contracts(folder))
    registry.apply(settings, ours)
    COMPATIBLE["a text"](folder)
    registry.apply(settings, of_actions(load_contracts(folder)))
    refused = [change for change in registry.plan(settings, ours) if change.action == "refuse"]
    assert [change.name for change in refused] == ["user-actions-UserAction"]
    assert "data.referrer: removed" in refused[0].detail


def test_what_is_no_schema_of_ours_in_its_place_is_refused(settings: Settings) -> None:
    hold(settings, "user-actions-UserAction", {"type": "object"})
    refused = [change for change in registry.plan(settings, of_actions(load_contracts())) if change.action == "refuse"]
    assert [change.name for change in refused] == ["user-actions-UserAction"]
