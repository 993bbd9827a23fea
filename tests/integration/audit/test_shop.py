"""The topics of the shop and the bank beside their tables: by bytes, by the headers of an event store, and before anybody archives them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs import as_started
from jobs.archive_columns import ARCHIVED
from jobs.audit.catch_up import wait
from jobs.audit.run import audit
from jobs.bank.account import ACCOUNT, DepositMoney, OpenAccount
from jobs.patterns.aggregate import begun, decided
from jobs.patterns.message import Envelope, Message, derived_id, encode
from lakehouse.read import read
from tests.audited import Archive, Sent, Writer, audited_anew
from tests.integration.audit.reports import archived_apart, found, kinds, with_value
from tests.integration.audit.test_tables import change

ACCOUNTS, DEPOSITS = 10, 5
NOW = 1_710_325_332_000
CONTRACTS = load_contracts().topics


def account_events() -> Iterator[tuple[str, Sent]]:
    """As the account service makes them: each account's in the order of its versions."""
    for number in range(ACCOUNTS):
        name = f"account_{number}"
        commands: list[Message] = [OpenAccount(name, 100), *(DepositMoney(name, 1 + i) for i in range(DEPOSITS - 1))]
        held = begun(ACCOUNT)
        for i, command in enumerate(commands):
            cause = derived_id(name, str(i))
            decision = decided(ACCOUNT, held, Envelope(cause, NOW, "test", cause, command), NOW + i)
            held = decision.held
            for event in decision.events:
                key, value, headers = encode(event)
                yield "accounts", Sent(key, value, [*headers])


def others() -> Iterator[tuple[str, Sent]]:
    """Each valid example of the other topics, and what is no event."""
    for topic in ARCHIVED["archive_shop"]:
        if topic != "accounts":
            yield from ((topic, Sent(b"key", example.value)) for example in CONTRACTS[topic].valid)
    yield "orders", Sent(None, b"no json", [("aggregate-version", b"1")])
    yield "payments", Sent(b"\xff", None, [("aggregate-version", b"x"), ("causation-id", b"\xff")])


@pytest.fixture(scope="module")
def shop(broker: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = audited_anew(broker, tmp_path_factory.mktemp("shop"))
    writer = Writer(settings, "shop")
    writer.send(list(account_events())[:7], commit=False)
    writer.send(account_events())
    writer.send(others())
    return settings


@pytest.fixture
def archived(shop: Settings, tmp_path: Path) -> Settings:
    return archived_apart(shop, tmp_path / "state", step=20)


def test_archived_events_are_clean_and_tell_aggregate_version_and_cause(archived: Settings) -> None:
    report = audit(archived, settled=True)
    assert kinds(report) == {}
    assert report.counts.not_begun == []
    assert report.counts.records["accounts"] == ACCOUNTS * DEPOSITS
    assert report.counts.without_row["accounts"].aborted == 7
    rows = read(archived, "accounts").to_pylist()
    versions: dict[str, list[int]] = {}
    for row in sorted(rows, key=lambda row: (row["topic_partition"], row["topic_offset"])):
        versions.setdefault(row["aggregate_id"], []).append(row["aggregate_version"])
    assert versions == {f"account_{number}": [*range(1, DEPOSITS + 1)] for number in range(ACCOUNTS)}
    causes = {derived_id(f"account_{number}", str(i)) for number in range(ACCOUNTS) for i in range(DEPOSITS)}
    assert {row["causation_id"] for row in rows} == causes
    assert all(row["data"].encode() in row["value"] for row in rows)
    (unread,) = [row for row in read(archived, "payments").to_pylist() if row["value"] is None]
    assert (unread["key"], unread["event_type"], unread["aggregate_id"]) == (b"\xff", None, None)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("accounts", "aggregate_id", "account_99"),
        ("accounts", "aggregate_version", 99),
        ("accounts", "causation_id", None),
        ("accounts", "data", '{"cents":1000000}'),
        ("accounts", "headers", [("aggregate-version", b"9")]),
        ("order_commands_dlq", "step", "score"),
    ],
)
def test_a_changed_column_is_found_and_nothing_else(archived: Settings, table: str, column: str, value: Any) -> None:
    partition, offset = change(archived, table, lambda rows, at: with_value(rows, column, at, value))
    report = audit(archived, settled=True)
    assert kinds(report) == {(table, f"changed_{column}"): 1}
    (finding,) = found(report, table, f"changed_{column}")
    assert (finding.partition, finding.offset) == (partition, offset)


def test_a_dropped_event_is_found(archived: Settings) -> None:
    place = change(archived, "accounts", lambda rows, at: rows.take([i for i in range(len(rows)) if i != at]))
    report = audit(archived, settled=True)
    assert [(one.partition, one.offset) for one in found(report, "accounts", "dropped_row")] == [place]


def test_what_nobody_archives_is_not_archived_yet_until_somebody_began(shop: Settings) -> None:
    archive = Archive(shop)
    for topic in ARCHIVED["archive_topics"]:
        archive.follow(topic)
    began = time.monotonic()
    assert wait(shop, 60, lambda: round(time.monotonic() * 1000), time.sleep)
    assert time.monotonic() - began < 30
    report = audit(shop, settled=True)
    assert kinds(report) == {}
    assert set(report.counts.not_begun) == set(ARCHIVED["archive_shop"])
    assert report.counts.not_archived["accounts"] == ACCOUNTS * DEPOSITS
    as_started.note(shop, "archive_shop")
    lost = audit(shop, settled=True)
    assert lost.counts.not_begun == []
    assert {(where, kind) for where, kind in kinds(lost) if kind == "dropped_row"} == {
        (CONTRACTS[topic].archive, "dropped_row") for topic in ARCHIVED["archive_shop"]
    }
    assert not wait(shop, 2, lambda: round(time.monotonic() * 1000), time.sleep)


def test_a_broker_of_before_has_none_of_these_topics(broker: Settings, tmp_path: Path) -> None:
    settings = audited_anew(broker, tmp_path / "state")
    client = AdminClient(dict(settings.kafka.client()))
    for future in client.delete_topics([*ARCHIVED["archive_shop"]]).values():
        future.result(20)
    deadline = time.monotonic() + 180
    while set(ARCHIVED["archive_shop"]) & client.list_topics(timeout=10).topics.keys():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    report = audit(settings, settled=True)
    assert kinds(report) == {}
    assert set(report.counts.records) == set(ARCHIVED["archive_topics"])
    assert wait(settings, 10, lambda: round(time.monotonic() * 1000), time.sleep)
