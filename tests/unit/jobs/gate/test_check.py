"""What the gate says of a change: whom it hits and why, who goes first, and the exit status."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from jobs.gate.check import Report, check
from jobs.gate.reference import FOLDER
from jobs.gate.told import as_dict, lines
from tests.contracts.changes import ACTIONS, BREAKING, NEXT_ACTION
from tests.contracts.edits import Edit, added, copied, data, nothing, topic, without_version
from tests.ports import free_ports
from tests.unit.jobs.gate.test_reference import commit, git

TODAY = date(2026, 11, 28)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A clone whose one commit has our contracts, and no registry."""
    root = tmp_path / "root"
    copied(root / FOLDER)
    git(tmp_path, "init", "-q", str(root))
    commit(root)
    ports = dict(zip(("STREAMHOUSE_REGISTRY_PORT", "STREAMHOUSE_KAFKA_PORT"), free_ports(2), strict=True))
    return replace(load_settings({**ports, "STREAMHOUSE_STATE": str(tmp_path)}), root=root)


def checked(settings: Settings, edit: Edit, today: date = TODAY, ref: str | None = "HEAD") -> Report:
    edit(settings.root / FOLDER)
    return check(settings, ref, today, settings.root / FOLDER)


def said(report: Report) -> str:
    return "\n".join(lines(report))


def test_a_removed_field_names_all_that_it_hits_and_why(settings: Settings) -> None:
    report = checked(settings, BREAKING["an optional field removed"].edit)
    assert report.status == 1
    told, field = said(report), "field user-actions/UserAction/1/data.platform"
    assert "BREAKING user-actions: UserAction 1: data.platform: removed: who reads data.platform is left without it" in told
    assert f"  hits jobs archive_topics, rebuild_features, score_events read {field}\n" in told
    assert f"  hits column user_actions.platform is made from {field}\n" in told
    assert f"  hits models purchase_30m@1, purchase_30m@2 are made from {field} (input platform)\n" in told
    assert "  hits columns predictions.decision" not in told, "each column has a field of its own as its reason"
    assert "  hits column predictions.score is made from field predictions/Prediction/1/data.score\n" in told
    assert "  hits read model order_predictions is made from" in told
    assert "expected a message that a schema of user-actions accepts" in told, "an example shows the field"
    assert told.splitlines()[-1] == f"refused: {1 + len(report.broken)} of {1 + len(report.broken)} findings break somebody"
    assert "not compared: schema registry http://127.0.0.1:" in told


def test_the_kind_of_an_action_hits_the_features_that_count_it(settings: Settings) -> None:
    report = checked(settings, BREAKING["another pattern"].edit)
    hits = {hit.node.name for hit in report.judged[0].hits if hit.node.kind == "feature"}
    assert "user_activity:purchases_1h" in hits
    assert "user_activity:seconds_since_purchase" in hits
    assert not {name for name in hits if name.startswith(("user_activity:actions_", "user_activity:visits_"))}
    assert "feature_log.purchases_1h" in {hit.node.name for hit in report.judged[0].hits}


def test_readers_go_first_with_a_new_version_and_writers_when_one_ends(settings: Settings) -> None:
    report = checked(settings, NEXT_ACTION)
    assert report.status == 0
    order = [[node.name for node in step.programs] for step in report.steps]
    assert "score_events" in order[0]
    assert order[-1] == ["./streamhouse dlq replay", "shop front ends"]
    git(settings.root, "add", "-A")
    git(settings.root, "commit", "-qm", "next")
    report = checked(settings, without_version(ACTIONS, "UserAction", 1), date(2100, 1, 1))
    assert [(one.finding.what, one.finding.safe) for one in report.judged] == [("version removed", True)]
    order = [[node.name for node in step.programs] for step in report.steps]
    assert order[0] == ["./streamhouse dlq replay", "shop front ends"]


def test_an_added_field_is_released_in_any_order(settings: Settings) -> None:
    report = checked(settings, added("UserAction", "referrer", "string", "Where from.", "address"))
    assert report.status == 0
    assert said(report).splitlines()[-2:] == ["release in any order", "safe: 1 changes"]


def test_words_hit_nobody_and_nothing_at_all_is_safe(settings: Settings) -> None:
    assert said(checked(settings, nothing)).splitlines()[-1] == "safe: nothing changed"
    report = checked(settings, topic("orders", lambda contract: contract.update(description="Else.")))
    assert (report.status, report.judged[0].hits) == (0, ())


def test_files_that_break_a_rule_are_refused_with_the_rule(settings: Settings) -> None:
    report = checked(settings, topic("orders", lambda contract: contract.update(owner="")))
    assert report.status == 1
    assert "BREAKS A RULE" in said(report)
    assert "expected owner, got nothing" in said(report)


def test_without_registry_and_git_nothing_could_be_compared(settings: Settings) -> None:
    report = checked(settings, nothing, ref="nowhere")
    assert report.status == 2
    assert len(report.not_compared) == 2
    assert said(report).splitlines()[-1] == "nothing could be compared"


def test_what_was_asked_for_and_not_compared_is_no_success(settings: Settings) -> None:
    """As where the registry answered, and the commit is not there."""
    missed = Report(("the registry",), ("no such commit",), (), (), (), is_missed=True)
    assert (missed.status, list(lines(missed))[-1]) == (2, "not compared with the commit that was named")
    assert replace(missed, is_missed=False).status == 0
    assert checked(settings, nothing, ref="nowhere").is_missed


def test_schemas_that_cannot_be_read_are_all_that_is_said(settings: Settings) -> None:
    report = checked(settings, data("OrderPaid", lambda part: part["properties"].update(more=True)))
    assert (report.status, report.judged) == (1, ())
    assert "expected a schema at data.more, got true" in said(report)


def test_programs_read_the_same(settings: Settings) -> None:
    told = json.loads(json.dumps(as_dict(checked(settings, BREAKING["a field renamed"].edit))))
    (finding,) = told["findings"]
    assert (told["status"], finding["what"], finding["safe"], finding["field"]) == (1, "field renamed", False, "data.platform")
    why = {hit["name"]: hit["why"] for hit in finding["hits"]}
    assert why["predictions.score"] == (
        "column predictions.score is made from field predictions/Prediction/1/data.score, which is made from model purchase_30m@1,"
        " which is made from field user-actions/UserAction/1/data.platform (input platform)"
    )
    assert [node["name"] for node in told["release"][-1]["programs"]] == ["./streamhouse dlq replay", "shop front ends"]
