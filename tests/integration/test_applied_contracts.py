"""What was applied and is declared no more, on a real broker: refused until the promised day, and a stranger's is never taken for ours."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported in silence
from rich.console import Console

from infra.config import Settings
from infra.contracts import changes
from infra.contracts.change import Change
from infra.contracts.changes import CHANGES
from infra.contracts.compare import compare
from infra.contracts.contract import Contracts
from infra.contracts.load import read_contracts
from infra.errors import StreamhouseError
from jobs import applied_contracts, apply, contract_history
from jobs.committed_records import read_all
from tests.brokers import emptied
from tests.contracts.edits import Edit, copied, next_version, topic, without_version

TODAY = datetime.now(UTC).date()
WITHOUT_SHIPPED = without_version("orders", "OrderShipped", 1)


@pytest.fixture
def settings(broker: Settings, tmp_path: Path) -> Settings:
    """Empty topics and empty tables."""
    return emptied(broker, tmp_path)


def without_snapshots(folder: Path) -> None:
    (folder / "topics" / "aggregate-snapshots.yaml").unlink()


def deprecated(ends: date) -> Edit:
    """OrderShipped is on its way out."""

    def change(contract: dict[str, object]) -> None:
        events = contract["events"]
        assert isinstance(events, list)
        (one,) = (event for event in events if event["type"] == "OrderShipped")
        one["deprecated"] = {"ends": ends, "owner": "order-team", "replacement": {"type": "OrderPlaced", "version": 1}}

    return topic("orders", change)


def refused(changes: list[Change]) -> list[str]:
    return [change.detail for change in changes if change.action == "refuse"]


def at(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def read(tmp_path: Path, name: str, *edits: Edit) -> Contracts:
    folder = copied(tmp_path / name)
    for edit in edits:
        edit(folder)
    return read_contracts(folder)


@pytest.mark.parametrize("edit", [WITHOUT_SHIPPED, without_snapshots], ids=["an event type", "a topic"])
def test_what_was_applied_and_is_gone_is_refused_with_the_gates_sentence(settings: Settings, tmp_path: Path, edit: Edit) -> None:
    ours, without = read(tmp_path, "ours"), read(tmp_path, "without", edit)
    assert {change.action for change in applied_contracts.plan(settings, without)} == {"create"}, "nothing was applied yet"
    assert {change.action for change in applied_contracts.apply(settings, ours)} == {"create"}
    assert {change.action for change in applied_contracts.plan(settings, ours)} == {"keep"}
    sentences = [str(finding) for finding in compare(ours, without, TODAY) if not finding.safe]
    assert sentences
    assert refused(applied_contracts.plan(settings, without)) == sentences
    part = apply.Part(lambda s: applied_contracts.plan(s, without), lambda s: applied_contracts.apply(s, without))
    with pytest.raises(apply.ApplyRefused, match="nothing was changed") as told:
        apply.main(settings, parts={"record": part}, console=Console(file=io.StringIO()))
    assert sentences[0] in str(told.value)
    assert {change.action for change in applied_contracts.plan(settings, ours)} == {"keep"}


def test_apply_knows_of_the_record_and_it_leaves_what_actions_are_decoded_by_alone(settings: Settings) -> None:
    parts = list(apply.PARTS)
    assert parts.index("topics") < parts.index("record") < parts.index("schemas")
    contract_history.apply(settings)
    before = contract_history.announced(settings)
    apply.PARTS["record"].apply(settings)
    assert contract_history.announced(settings) == before
    assert {change.action for change in (*apply.PARTS["record"].plan(settings), *contract_history.plan(settings))} == {"keep"}


def test_a_deprecated_event_may_go_after_its_last_day_and_not_before(settings: Settings, tmp_path: Path) -> None:
    ends = date(2099, 12, 31)
    applied_contracts.apply(settings, read(tmp_path, "ours"))
    promised, without = read(tmp_path, "promised", deprecated(ends)), read(tmp_path, "without", WITHOUT_SHIPPED)
    assert refused(applied_contracts.plan(settings, read(tmp_path, "hastened", deprecated(date(2020, 1, 1))))) != [], "its day is over"
    assert [change.name for change in applied_contracts.apply(settings, promised) if change.action == "update"] == ["orders"]
    (told,) = refused(applied_contracts.plan(settings, without, lambda: at(ends)))
    assert "OrderShipped 1: removed, though it may be sent until 2099-12-31" in told
    assert refused(applied_contracts.apply(settings, without, clock=lambda: at(date(2100, 1, 1)))) == []
    assert {change.action for change in applied_contracts.plan(settings, without)} == {"keep"}, "and it is not missed ever after"


def gift(name: str, **filled: object) -> Edit:
    """A second version of OrderPlaced, with a field for each that is filled in."""

    def change(part: dict[str, Any]) -> None:
        for field in filled:
            part["properties"][field] = {"type": "boolean", "description": "Said by who orders", "unit": "truth"}

    return next_version(name, "OrderPlaced", change, {"filled": filled})


def test_what_older_events_become_stays_but_for_new_fields(settings: Settings, tmp_path: Path) -> None:
    wrapped, other = read(tmp_path, "wrapped", gift("orders", giftWrap=False)), read(tmp_path, "other", gift("orders", giftWrap=True))
    more = read(tmp_path, "more", gift("orders", giftWrap=False, asAGift=False))
    applied_contracts.apply(settings, wrapped)
    sentences = [str(finding) for finding in compare(wrapped, other, TODAY) if not finding.safe]
    assert "the upcast changed" in sentences[0]
    assert refused(applied_contracts.plan(settings, other)) == sentences
    assert [finding for finding in compare(wrapped, more, TODAY) if not finding.safe] == []
    (noted,) = [change for change in applied_contracts.apply(settings, more) if change.action != "keep"]
    assert (noted.name, noted.action, noted.detail) == ("orders", "update", "OrderPlaced 2: older events have asAGift as `filled` says")
    assert {change.action for change in applied_contracts.plan(settings, more)} == {"keep"}


def test_a_topic_may_go_when_the_broker_does_not_have_it_and_its_name_is_free_again(settings: Settings, tmp_path: Path) -> None:
    ours, without, client = read(tmp_path, "ours"), read(tmp_path, "without", without_snapshots), AdminClient(dict(settings.kafka.client()))
    applied_contracts.apply(settings, ours)
    client.delete_topics(["aggregate-snapshots"])["aggregate-snapshots"].result(20)
    assert [(change.name, change.action) for change in applied_contracts.apply(settings, without) if change.action != "keep"] == [
        ("aggregate-snapshots", "update")
    ]
    client.create_topics([NewTopic("aggregate-snapshots", 1, 1)])["aggregate-snapshots"].result(20)  # a stranger's by now
    assert {change.action for change in applied_contracts.plan(settings, without)} == {"keep"}


def test_what_strangers_put_there_is_not_ours(settings: Settings, tmp_path: Path) -> None:
    ours, client = read(tmp_path, "ours"), AdminClient(dict(settings.kafka.client()))
    applied_contracts.apply(settings, ours)
    client.create_topics([NewTopic("not-ours", 1, 1)])["not-ours"].result(20)
    producer = Producer(settings.kafka.client())
    (told,) = [message.value() for message in read_all(settings, CHANGES, 1) if message.key() == b"orders"]
    assert told is not None
    less, other, cut = json.dumps({"events": []}), json.loads(told), json.loads(told)
    other["eventType"] = "Other"
    other["data"] |= {"document": less, "sha256": hashlib.sha256(less.encode()).hexdigest()}
    cut["data"]["document"] = less  # of which its sha256 is not
    for value in (b"no JSON", None, b'{"eventType":"ContractChanged"}', json.dumps(other).encode(), json.dumps(cut).encode()):
        producer.produce(CHANGES, value, b"not-ours")
    producer.flush(20)
    assert {change.action for change in applied_contracts.plan(settings, ours)} == {"keep"}
    client.delete_topics(["not-ours"])["not-ours"].result(20)


@pytest.mark.parametrize(
    "document", ["no JSON", "{}", '{"events":[{"type":"X"}]}', '{"events":[{"type":"X","version":1,"deprecated":{}}]}']
)
def test_a_note_that_this_code_does_not_read_is_named(settings: Settings, tmp_path: Path, document: str) -> None:
    changes.append(settings, [changes.Said("orders", document, True, "1")], 0)
    with pytest.raises(StreamhouseError, match=r"topic contract-changes: expected the events of orders.* run a newer release"):
        applied_contracts.plan(settings, read(tmp_path, "ours"))
