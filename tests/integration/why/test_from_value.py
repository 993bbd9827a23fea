"""A version of the action that came while the archiver ran: who acted stands in the bytes of its rows, and is explained all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from infra.config import load_settings
from infra.contracts.in_effect import BEGINNING, InEffect, Revision, described, of_files
from infra.contracts.structs import snake
from jobs.clickstream import Row
from jobs.why.explain import Explainer
from lakehouse import contract_changes, migrate
from lakehouse.archives import of_actions
from lakehouse.read import read_log
from lakehouse.tables import TABLES
from tests.audited import archived
from tests.evolved import action, own, with_version
from tests.histories import answered, log_of
from tests.integration.why.conftest import nobody_listens
from tests.lake import put_records

SENT_MS = 1_710_325_400_000
USERS = [f"user_{number:04d}" for number in range(1, 5)]


def second(number: int, user: str, field: str, name: str) -> dict[str, object]:
    """The data of an action in the version that has another name for a field."""
    return {field: ..., name: {"platform": f"p{number}", "userId": user, "action": "product_view"}[field]}


@pytest.mark.parametrize(("field", "name"), [("platform", "device"), ("userId", "actorId"), ("action", "kind")])
def test_actions_whose_user_stands_in_their_bytes_alone_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, name: str
) -> None:
    contracts = with_version(own(), {field: name}, {}, {})
    revision = Revision(BEGINNING, described(contracts), "7f9c2b1e-3d4a-4c5b-8e6f-0a1b2c3d4e5f")
    settings, now = nobody_listens(load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state")})), InEffect([revision])
    migrate.apply(settings)
    monkeypatch.setitem(TABLES, "user_actions", of_actions(contracts))
    migrate.apply(settings, {"user_actions": TABLES["user_actions"]})
    contract_changes.note(settings, contract_changes.ANNOUNCED, revision, SENT_MS)
    rows = [
        Row(number, user, SENT_MS, action(number, 2, user, **second(number, user, field, name)) if number % 3 else action(number, 1, user))
        for number, user in enumerate(USERS * 6)
    ]
    log = {
        partition: [replace(kept, _key=None) if kept._offset % 2 else kept for kept in some] for partition, some in log_of(rows, 1).items()
    }
    made = answered(settings, log, 2, {}, contract=now)
    old = archived("user-actions", made.topics["user-actions"], now, of_files().newest.columns)  # type: ignore[arg-type]
    old = old.rename_columns([snake(name) if column == snake(field) else column for column in old.column_names])
    put_records(settings, "user_actions", old)
    put_records(settings, "predictions", archived("predictions", made.topics["predictions"]))  # type: ignore[arg-type]
    assert len(made.topics["predictions"]) == len(rows)
    column = "actor_id" if field == "userId" else "user_id"
    stored = {
        user
        for partition in log
        for rows in read_log(settings, "user_actions", partition, 0, 99, [column], as_stored=True)
        for user in rows[column].to_pylist()
    }
    assert stored == {None, *USERS}

    explainer = Explainer(settings)
    found = [explainer.explain(orjson.loads(kept._value or b"")["eventId"]) for kept in made.topics["predictions"]]
    assert [one.again.differences for one in found if not one.again.is_equal] == []
    assert sorted((one.said.user_id, one.activity.earlier) for one in found) == sorted((user, n) for user in USERS for n in range(6))
