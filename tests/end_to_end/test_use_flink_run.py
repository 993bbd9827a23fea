"""A job by Flink's own client, by the very commands that the README shows; and jars, which nobody may upload."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.config import Settings
from infra.stack import flink_rest
from jobs.submit import submit
from tests.end_to_end.actions import minutes, send
from tests.end_to_end.facts import answered, wait_for
from tests.end_to_end.readme import said, shown

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def scoring_afterwards(archived: Settings) -> Iterator[Settings]:
    """Whatever a test does to the job, the next one finds it running."""
    try:
        yield archived
    finally:
        submit(archived, "score_events")


def test_a_job_started_by_bare_flink_run_goes_on_and_is_found_by_its_name(scoring_afterwards: Settings) -> None:
    stack = scoring_afterwards
    first = flink_rest.alive(stack, "score_events")
    assert first is not None
    shell = shown("eval ")
    user = f"uses-{uuid.uuid4()}"

    # the user's own programs stay within reach of that shell
    listed = said(stack, shell, "mine", shown("flink list"), PATH=f"{a_program(stack, 'mine')}:{os.environ['PATH']}")
    assert f"{first.id} : score_events (RUNNING)" in listed
    assert "mine was called" in listed

    refused = said(stack, shell, shown("flink run"), status=31)  # beside the one that runs; 31: the program ended itself
    assert f"error: score_events runs already as job {first.id}; one copy of a job runs at a time" in refused

    (savepoint,) = re.findall(r"Path: (\S+)", said(stack, shell, shown("flink stop", JOB_ID=first.id)))
    assert flink_rest.alive(stack, "score_events") is None
    missed = send(stack, user, *minutes(0, 1, 2))
    before = answered(stack)
    assert not set(missed) & set(before)

    (second,) = re.findall(r"JobID (\w{32})", said(stack, shell, shown("flink run")))
    running = flink_rest.alive(stack, "score_events")
    assert running is not None
    assert running.id == second
    wait_for(lambda: set(missed) <= set(answered(stack)))
    assert answered(stack) == before + Counter(missed)  # each once, and nothing a second time
    assert said(stack, shown("./streamhouse submit")) == f"score_events runs already as job {second}\n"

    # what Flink's own client started, the short way finds again; a savepoint knows nothing that the outputs do not
    flink_rest.stop_with_savepoint(stack, running)
    between = send(stack, user, *minutes(3, 4))
    refused = said(stack, shell, f"flink run -s {savepoint} -py jobs/score_events.py", status=31)
    assert "error: score_events goes on behind what its outputs hold" in refused
    started = said(stack, shown("./streamhouse submit"))
    assert re.fullmatch(r"score_events started as job \w{32}: [\d,]+ offsets of user-actions are answered\n", started)
    wait_for(lambda: set(between) <= set(answered(stack)))
    assert answered(stack) == before + Counter([*missed, *between])

    # and Feast's own command line reads what all three runs of the job counted
    feature = json.loads(said(stack, shown("./streamhouse feast", user_0000=user)))
    assert feature == {"user_id": [user], "actions_1h": [5]}


def a_program(settings: Settings, name: str) -> Path:
    """A folder with a program that says that it was called."""
    folder = settings.state / "programs"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho {name} was called\n")
    (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("path", ["/jars/upload", "/v1/jars/upload"])
def test_a_jar_cannot_be_uploaded(stack: Settings, path: str) -> None:
    jar = min((stack.state / "flink" / "lib").glob("*.jar"), key=lambda file: file.stat().st_size)
    with jar.open("rb") as content:
        answer = httpx.post(
            f"{stack.flink.rest_url}{path}", files={"jarfile": (jar.name, content, "application/x-java-archive")}, timeout=30
        )
    assert 400 <= answer.status_code < 500
    assert httpx.get(f"{stack.flink.rest_url}/config", timeout=30).json()["features"]["web-submit"] is False
    assert httpx.get(f"{stack.flink.rest_url}/jars", timeout=30).status_code == httpx.codes.NOT_FOUND
