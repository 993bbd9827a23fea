"""Contracts that take effect while actions flow, on a real broker: nobody decodes a record before its contract is known."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer, TopicPartition

from infra.clock import system_clock
from infra.config import Settings, load_settings
from infra.contracts import changes, topics
from infra.contracts.actions import TOPIC
from infra.contracts.changes import AHEAD_MS, CHANGES, Changes, Followed
from infra.contracts.contract import Contracts
from infra.contracts.events import UserAction
from infra.contracts.in_effect import BEGINNING, InEffect, described
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs import contract_history
from jobs.committed_records import read_to_end
from jobs.contract_history import announced, in_effect
from lakehouse import contract_changes
from tests.brokers import emptied, empty_topics
from tests.evolved import action, own, with_field, with_version, with_window
from tests.ports import free_ports

NUMBER = {"type": "integer", "description": "A number.", "unit": "count"}


@pytest.fixture
def settings(broker: Settings, tmp_path: Path) -> Settings:
    """Empty topics and empty tables."""
    return emptied(broker, tmp_path)


def send(settings: Settings, values: list[bytes], partition: int = 0) -> None:
    producer = Producer(settings.kafka.client())
    for value in values:
        producer.produce(TOPIC, value, partition=partition)
    producer.flush(20)


def received(settings: Settings, start: int = 0) -> tuple[list[bytes | None], Any]:
    messages = [m for batch in read_to_end(settings, [TopicPartition(TOPIC, 0, start)]) for m in batch]
    return [m.value() for m in messages], np.array([m.timestamp()[1] for m in messages], np.int64)


def numbered(number: int) -> Contracts:
    """Contract n has fields extra1 to extra<n>."""
    contracts = own()
    for i in range(1, number + 1):
        contracts = with_field(contracts, f"extra{i}", NUMBER)
    return contracts


def test_the_first_contract_holds_for_all_and_the_next_for_what_comes_later(settings: Settings) -> None:
    assert in_effect(settings).revisions[0].change_id == ""
    send(settings, [action(extra1="text")])
    assert [c.action for c in contract_history.plan(settings, own())] == ["create"]
    contract_history.apply(settings, own())
    assert [c.action for c in contract_history.plan(settings, own())] == ["keep"]
    assert [c.action for c in contract_history.plan(settings, numbered(1))] == ["update"]
    contract_history.apply(settings, numbered(1))
    first, second = announced(settings)
    assert first.from_ms == BEGINNING
    send(settings, [action(extra1="text")])
    while system_clock() <= second.from_ms:
        time.sleep(0.1)
    send(settings, [action(extra1="text"), action(extra1=5)])
    values, moments = received(settings)
    told = [isinstance(event, UserAction) for event in in_effect(settings).decode(values, moments)]
    assert told == [True, True, False, True]
    assert contract_changes.on_record(settings) == tuple(announced(settings))


@pytest.mark.parametrize("seed", [1, 2])
def test_workers_that_follow_decode_as_who_reads_it_all_afterwards(settings: Settings, seed: int) -> None:
    """Batches of any size and delay, contracts in between: `Followed` never decodes a record by another contract than the log says."""
    rng, workers = random.Random(seed), [Followed(Changes(settings)) for _ in range(2)]
    contract_history.apply(settings, own())
    told: list[list[bool]] = [[], []]
    gaps = [rng.uniform(0.2, 3) for _ in range(4)]
    number, last, due = 0, 0, time.monotonic() + 1
    with sent_all_along(settings, random.Random(-seed)):
        while number < 4 or system_clock() < last + 500:
            if time.monotonic() > due and number < 4:
                number += 1
                contract_history.apply(settings, numbered(number))
                last = announced(settings)[-1].from_ms
                due = time.monotonic() + gaps.pop()
            if rng.random() < 0.8:
                reads(settings, workers[0], told[0])
            if rng.random() < 0.05:  # one that is slow, and then has much at hand
                reads(settings, workers[1], told[1])
            time.sleep(rng.uniform(0, 0.1))
    for worker, heard in zip(workers, told, strict=True):
        reads(settings, worker, heard)
    values, moments = received(settings)
    final = [isinstance(event, UserAction) for event in in_effect(settings).decode(values, moments)]
    assert told == [final, final]
    assert 0 < sum(final) < len(final)
    held = in_effect(settings)
    assert len({held.at(int(moment)).decoder for moment in moments}) == 5


@contextmanager
def sent_all_along(settings: Settings, rng: random.Random) -> Iterator[None]:
    """Actions, one to five at a time, while the block runs: however slow that is, some come while each contract holds."""
    ended = threading.Event()

    def go() -> None:
        producer = Producer(settings.kafka.client())
        while not ended.wait(rng.uniform(0, 0.1)):
            for _ in range(rng.randint(1, 5)):
                producer.produce(TOPIC, action(**some(rng)), partition=0)
            producer.flush(20)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def some(rng: random.Random) -> dict[str, Any]:
    return {f"extra{rng.randint(1, 4)}": rng.choice([1, "text"])}


def reads(settings: Settings, worker: Followed, told: list[bool]) -> None:
    values, moments = received(settings, len(told))
    told += [isinstance(event, UserAction) for event in worker.decode(values, moments)]


def test_the_broker_is_asked_for_two_seconds_of_the_log_at_a_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    contract_history.apply(settings, own())
    asked, reader = [0], Changes(settings)
    refresh = reader.refresh
    monkeypatch.setattr(reader, "refresh", lambda: (asked.__setitem__(0, asked[0] + 1), refresh())[1])
    for moment in range(10_000, 20_000, 10):
        reader.upto(moment)
    assert asked[0] == 5
    reader.close()


@pytest.mark.parametrize("ends_after", ["intended", "announced"])
def test_an_apply_that_was_interrupted_is_completed(settings: Settings, monkeypatch: pytest.MonkeyPatch, ends_after: str) -> None:
    contract_history.apply(settings, own())

    class Killed(Exception):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if ends_after == "intended":
            patch.setattr(changes, "announce", killed)
        else:
            note = contract_changes.note
            patch.setattr(contract_changes, "note", lambda s, state, *rest: killed() if state == "announced" else note(s, state, *rest))
        with pytest.raises(Killed):
            contract_history.apply(settings, numbered(1))
    away = replace(settings, kafka=load_settings({"STREAMHOUSE_KAFKA_PORT": free_ports(1)[0]}).kafka)
    with pytest.raises(StreamhouseError, match="an `apply` was interrupted"):
        in_effect(away)
    assert len(in_effect(settings).revisions) == (1 if ends_after == "intended" else 2)
    contract_history.apply(settings, numbered(1))
    assert [r.document for r in announced(settings)] == [described(own()), described(numbered(1))]
    assert in_effect(away).revisions == in_effect(settings).revisions
    assert [c.action for c in contract_history.plan(settings, numbered(1))] == ["keep"]


def test_a_topic_that_was_made_anew_is_not_begun_again_in_silence(settings: Settings) -> None:
    contract_history.apply(settings, own())
    empty_topics(settings)
    assert [c.action for c in contract_history.plan(settings, own())] == ["refuse"]


@pytest.mark.parametrize(
    ("value", "is_passed_over"),
    [
        (b"no JSON", True),
        (None, True),
        (b'{"eventType":"Other"}', True),
        (b'{"eventType":"ContractChanged","version":2}', False),
        (b'{"eventType":"ContractChanged"}', False),
    ],
)
def test_what_else_lies_in_the_topic(settings: Settings, value: bytes | None, is_passed_over: bool) -> None:
    contract_history.apply(settings, own())
    producer = Producer(settings.kafka.client())
    producer.produce(CHANGES, value)
    producer.flush(20)
    if is_passed_over:
        assert len(announced(settings)) == 1
    else:
        with pytest.raises(StreamhouseError, match="topic contract-changes, offset 1: expected a contract that this code reads"):
            announced(settings)


def test_a_version_is_announced_beside_the_one_before(settings: Settings) -> None:
    contract_history.apply(settings, own())
    second = with_version(own(), {"platform": "device"}, {}, {})
    contract_history.apply(settings, second)
    newest = in_effect(settings).newest
    assert newest.decoder.known == {"UserAction": (1, 2)}
    assert str(newest.topic.deprecations["UserAction", 1].ends) == "2031-01-31"


def test_what_breaks_who_keeps_to_the_last_contract_is_not_announced(settings: Settings) -> None:
    contract_history.apply(settings, with_version(own(), {"platform": "device"}, {}, {}))
    before = announced(settings)
    days = {2026: 1_790_000_000_000, 2032: 1_960_000_000_000}
    for contracts, year, action_, says in (
        (own(), 2026, "refuse", "UserAction 2: removed, and it was never deprecated"),
        (with_window(with_version(own(), {"platform": "device"}, {}, {}), 60_000), 2026, "refuse", "the event-time window is narrower"),
        (with_version(own(), {"platform": "gadget"}, {}, {}), 2026, "refuse", "the upcast changed"),
        (with_field(with_version(own(), {"platform": "device"}, {}, {}), "extra", NUMBER, 2), 2032, "update", "no job restarts"),
    ):
        (change,) = contract_history.plan(settings, contracts, lambda year=year: days[year])
        assert (change.action, says in change.detail) == (action_, True), change
    assert announced(settings) == before


def test_the_margin_is_twice_the_look() -> None:
    """Half of it is for clocks that differ."""
    assert AHEAD_MS == 2 * changes.LOOK_MS


def test_settings_of_topics() -> None:
    topic = load_contracts().topics[CHANGES]
    assert (topic.partitions, topic.retention_ms, topic.table) == (1, None, None)
    assert topics.configuration(topic)["cleanup.policy"] == "delete"
    assert isinstance(InEffect(in_effect(load_settings({})).revisions), InEffect)
