"""The brake: a topic does not empty into its dead letters, and nothing but a person lets the job go on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import brakes, flink_rest
from infra.stack.report import status
from jobs.submit import submit
from tests.end_to_end.actions import minutes, send
from tests.end_to_end.facts import answered, pid_of, place_of, records, wait_for

BAD = 12_000
_LOOKS_SECONDS = 5.0  # more than two looks of the keeper


@pytest.fixture
def scoring_afterwards(archived: Settings) -> Iterator[Settings]:
    """Whatever the brake held, the next test finds both jobs running."""
    try:
        yield archived
    finally:
        time.sleep(_LOOKS_SECONDS)  # the rest may have been enough to pull it again, though all of it is answered
        release(archived)
        wait_for(lambda: status(archived).is_well)


def release(stack: Settings) -> None:
    """What a person does; a job that is being stopped has to end first."""
    if brakes.pulled(stack):
        wait_for(lambda: flink_rest.alive(stack, "score_events") is None)
    submit(stack, "score_events", flags=["--release-brake"])


def test_a_flood_of_bad_records_stops_the_job_until_a_person_releases_it(scoring_afterwards: Settings) -> None:
    stack = scoring_afterwards
    before = {place_of(message) for message in records(stack, "user-actions-dlq")}
    producer = Producer({**stack.kafka.client(), "enable.idempotence": True})
    for number in range(BAD):
        producer.produce("user-actions", f"no json {number}".encode(), partition=number % 4)
    assert producer.flush(60) == 0

    wait_for(lambda: bool(brakes.pulled(stack)))
    wait_for(lambda: flink_rest.alive(stack, "score_events") is None)
    held = f"the brake holds score_events: {brakes.pulled(stack)['score_events']}"
    assert "records (" in held
    assert "were rejected, and 50 % stop the job" in held
    assert held in status(stack).troubles

    # neither a start nor a failover goes past it
    with pytest.raises(StreamhouseError, match="the brake holds score_events"):
        submit(stack, "score_events")
    archiving = flink_rest.running(stack, "archive_topics")
    os.kill(pid_of(stack, "jobmanager"), signal.SIGKILL)
    wait_for(lambda: flink_rest.expected(stack).get("archive_topics") != archiving)
    assert flink_rest.running(stack, "score_events") is None
    wait_for(lambda: status(stack).troubles == [held])

    # released, it answers the rest, each once, and what was rejected before counts no more
    late = send(stack, "after-the-brake", *minutes(0, 1))
    release(stack)

    def all_is_answered() -> bool:
        if brakes.pulled(stack):  # by what was left of the flood
            release(stack)
        refused = {place_of(message) for message in records(stack, "user-actions-dlq")} - before
        return len(refused) >= BAD and set(late) <= set(answered(stack))

    wait_for(all_is_answered)
    assert len(records(stack, "user-actions-dlq")) == len(before) + BAD
