"""A prediction explained while the stack runs, and the runs of its jobs as they are told."""

from __future__ import annotations

import json

import pytest

from infra.config import Settings
from infra.stack import flink_rest
from jobs.lineage.emit import lineage_file
from jobs.submit import JOBS
from tests.end_to_end.facts import records, value_of
from tests.end_to_end.readme import said

pytestmark = pytest.mark.timeout(900)


def test_a_prediction_is_explained_with_the_groups_that_have_read_it(archived: Settings) -> None:
    message = records(archived, "predictions")[4_000]
    event = value_of(message)
    told = json.loads(said(archived, f"./streamhouse why {event['eventId']} --json"))
    assert told["equal"] is True
    assert told["prediction"]["topic_offset"] == message.offset()
    assert [feature["value"] for feature in told["features"]] == event["data"]["features"]
    assert {held["table"] for held in (told["action"]["held"], told["prediction"]["held"])} == {"user_actions", "predictions"}
    readers = {one["group"]: one["has_read"] for one in told["consumers"]["groups"]}
    assert readers["archive_topics"] is True
    people = said(archived, f"./streamhouse why {event['data']['actionId']}")
    assert people.count("equal to the bit") == 2


def test_the_runs_of_the_jobs_have_the_ids_of_flinks_jobs(archived: Settings) -> None:
    def started() -> dict[str, str]:
        events = [json.loads(line) for line in lineage_file(archived).read_text("utf-8").splitlines()]
        return {event["job"]["name"]: event["run"]["runId"].replace("-", "") for event in events if event["eventType"] == "START"}

    for name in JOBS:
        job = flink_rest.alive(archived, name)
        assert job is not None
        assert started()[name] == job.id
