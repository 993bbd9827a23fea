"""The job that archives the shop and the bank, on the real stack: each event and letter once in its table, also over a start behind it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.stack import flink_rest
from infra.stack.report import status
from jobs.archive_columns import ARCHIVED
from jobs.audit.run import Report, audit
from jobs.bank.account import ACCOUNT, DepositMoney, OpenAccount
from jobs.patterns.aggregate import begun, decided
from jobs.patterns.message import Envelope, Message, derived_id, encode
from jobs.submit import submit
from lakehouse.read import count_rows, read
from tests.audited import Sent, Writer
from tests.end_to_end.facts import pid_of, place_of, records, wait_for

pytestmark = pytest.mark.timeout(1800)  # three jobs come back twice, one after the other where the machine is busy
JOB = "archive_shop"
ACCOUNTS, EVENTS = 40, 25
NOW = 1_710_325_332_000
TOPICS = {name: load_contracts().topics[name] for name in ARCHIVED[JOB]}


@pytest.fixture
def archiving(stack: Settings) -> Iterator[Settings]:
    """The stack with the third job beside the two others, until the test is done with it."""
    submit(stack, JOB)
    try:
        yield stack
    finally:
        if job := flink_rest.alive(stack, JOB):
            flink_rest.stop_with_savepoint(stack, job)
        flink_rest.forget(stack, JOB)
        wait_for(lambda: flink_rest.alive(stack, JOB) is None)


def account_events(first: int, last: int) -> Iterator[tuple[str, Sent]]:
    """Events of accounts `first` to `last`, as their service makes them."""
    for number in range(first, last):
        name = f"account_{number}"
        commands: list[Message] = [OpenAccount(name, 100), *(DepositMoney(name, 1 + i) for i in range(EVENTS - 1))]
        held = begun(ACCOUNT)
        for i, command in enumerate(commands):
            cause = derived_id(name, str(i))
            decision = decided(ACCOUNT, held, Envelope(cause, NOW, "test", cause, command), NOW + i)
            held = decision.held
            for event in decision.events:
                key, value, headers = encode(event)
                yield "accounts", Sent(key, value, [*headers])


def all_examples() -> Iterator[tuple[str, Sent]]:
    """What each topic's contract shows, and what is no event."""
    for topic in TOPICS.values():
        yield from ((topic.name, Sent(b"key", example.value, [("causation-id", b"x")])) for example in topic.valid)
        yield topic.name, Sent(None, b"no json")
        yield topic.name, Sent(b"\xff", None, [("aggregate-version", None)])


def is_archived(settings: Settings) -> bool:
    return all(count_rows(settings, topic.archive) == len(records(settings, topic.name)) for topic in TOPICS.values())


def about_the_shop(report: Report) -> list[str]:
    names = {*TOPICS, *(topic.archive for topic in TOPICS.values())}
    return [finding.sentence for finding in report.findings.kept if finding.where in names]


def test_each_event_and_letter_is_archived_once_whatever_ends_the_job(archiving: Settings) -> None:
    writer = Writer(archiving, "shop")
    half = ACCOUNTS // 2
    writer.send(account_events(0, half))
    writer.send(account_events(0, 3), commit=False)
    writer.send(all_examples())
    wait_for(lambda: is_archived(archiving))

    # both TaskManagers die with what was not committed yet
    writer.send(account_events(half, half + 5))
    for name in ("taskmanager", "standby"):
        os.kill(pid_of(archiving, name), signal.SIGKILL)
    writer.send(account_events(half + 5, half + 10))
    wait_for(lambda: is_archived(archiving))

    # the JobManager forgets the job, and the keeper starts it behind its tables
    before = flink_rest.running(archiving, JOB)
    os.kill(pid_of(archiving, "jobmanager"), signal.SIGKILL)
    writer.send(account_events(half + 10, ACCOUNTS))

    def is_back() -> bool:
        return flink_rest.expected(archiving).get(JOB) not in (before, None) and status(archiving).is_well

    wait_for(is_back, seconds=600)
    wait_for(lambda: is_archived(archiving))

    for topic in TOPICS.values():
        sent = {place_of(message): (message.key(), message.value()) for message in records(archiving, topic.name)}
        rows = read(archiving, topic.archive, columns=["topic_partition", "topic_offset", "key", "value"]).to_pylist()
        assert {(row["topic_partition"], row["topic_offset"]): (row["key"], row["value"]) for row in rows} == sent
        assert len(rows) == len(sent) > 0
    where = "event_type is not null and source = 'streamhouse/account' and aggregate_version is not null"
    versions: dict[str, list[int]] = {}
    for row in read(archiving, "accounts", columns=["aggregate_id", "aggregate_version"], where=where).to_pylist():
        versions.setdefault(row["aggregate_id"], []).append(row["aggregate_version"])
    assert {name: sorted(of) for name, of in versions.items()} == {f"account_{n}": [*range(1, EVENTS + 1)] for n in range(ACCOUNTS)}

    report = audit(archiving)
    assert about_the_shop(report) == []
    assert report.counts.not_begun == []
    assert report.counts.without_row["accounts"].aborted == 3 * EVENTS
    assert report.counts.not_archived["accounts"] == 0
