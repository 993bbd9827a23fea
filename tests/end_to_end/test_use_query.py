"""SQL over the tables, by the very commands that the README shows."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from datetime import UTC, datetime

import pytest

from infra.config import Settings
from tests.end_to_end.actions import send
from tests.end_to_end.facts import records, tables_follow, value_of, wait_for
from tests.end_to_end.readme import said, shown

pytestmark = pytest.mark.timeout(900)


def test_query_answers_from_the_tables_for_people_and_for_programs(archived: Settings) -> None:
    stack = archived
    assert "predictions" in said(stack, shown('./streamhouse query "SHOW TABLES"'))

    sql = shown('./streamhouse query "SELECT model_version')
    predictions = [value_of(message)["data"] for message in records(stack, "predictions")]
    counts = Counter((data["model"]["version"], data["decision"]) for data in predictions)
    people = said(stack, sql)
    assert all(re.search(rf"│ {version} +│ {decision} +│ {n} ", people) for (version, decision), n in counts.items()), people
    assert "2 rows" in people
    rows = list(csv.DictReader(io.StringIO(said(stack, sql.replace("query ", "query --csv ")))))
    assert {(row["model_version"], row["decision"] == "True"): int(row["n"]) for row in rows} == counts

    send_refused(stack)
    wait_for(lambda: len(records(stack, "user-actions-dlq")) > 0 and tables_follow(stack))
    reasons = Counter(value_of(message)["data"]["error"]["reason"] for message in records(stack, "user-actions-dlq"))
    lines = said(stack, shown("./streamhouse query --json")).splitlines()
    assert {row["reason"]: row["n"] for row in map(json.loads, lines)} == reasons


def send_refused(settings: Settings) -> None:
    """An action from before there was a shop: a dead letter."""
    before = len(records(settings, "user-actions-dlq"))
    send(settings, "refused", datetime(1970, 1, 1, tzinfo=UTC))
    wait_for(lambda: len(records(settings, "user-actions-dlq")) > before)
