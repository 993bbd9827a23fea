"""Snapshots change nothing but the time: with them and without, an aggregate is the same, now and at any time before."""

from __future__ import annotations

from dataclasses import replace

from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from infra.clock import system_clock
from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.bank.account import ACCOUNT, DepositMoney, OpenAccount
from jobs.committed_records import read_to_end
from jobs.patterns import event_log, snapshots
from jobs.patterns.commands import Commands
from jobs.patterns.event_store import Until
from jobs.patterns.kafka_store import KafkaEventStore
from jobs.patterns.message import derived_id
from jobs.patterns.participant import Participant
from jobs.patterns.replies import CommandAccepted
from tests.integration.patterns.working import working

OFTEN = replace(ACCOUNT, snapshot_every=10)
NUMBER = partition_of("a", load_contracts().topics[ACCOUNT.topic].partitions)


def deposit(settings: Settings, first: int, last: int) -> None:
    with working(settings, Participant("account", OFTEN)), Commands(settings, system_clock, "test", seconds=60) as commands:
        futures = [
            commands.begin(DepositMoney("a", 1) if i else OpenAccount("a", 1), derived_id("snapshot", str(i))) for i in range(first, last)
        ]
        assert all(isinstance(future.result(60), CommandAccepted) for future in futures)


def test_an_owner_goes_on_from_snapshots_and_loads_agree(topics: Settings) -> None:
    deposit(topics, 0, 25)
    deposit(topics, 20, 48)  # begun from a snapshot, it knows the five that come again
    made = [snapshot.held.version for snapshot in event_log.snapshots_of(topics, OFTEN, NUMBER)]
    assert made == sorted(made)
    assert {version // 10 for version in made} == {1, 2, 3, 4}
    store = KafkaEventStore(topics, OFTEN)
    assert store.load("a") == store.load("a", use_snapshots=False)
    assert store.load("a").version == 48
    for version in (0, 1, 10, 11, 30, 47, 48):
        until = Until(version=version)
        assert store.load("a", until) == store.load("a", until, use_snapshots=False)
        assert store.load("a", until).version == version
    history = list(store.history("a"))
    for event in history[::20]:
        assert store.load("a", Until(at=event.envelope.at)) == store.load("a", Until(at=event.envelope.at), use_snapshots=False)
    assert event_log.rebuilt(topics, OFTEN, NUMBER) == event_log.rebuilt(topics, OFTEN, NUMBER, use_snapshots=False)


def test_a_snapshot_of_another_fold_is_passed_over(topics: Settings) -> None:
    deposit(topics, 0, 15)
    other = replace(OFTEN, state_version=2)
    assert list(event_log.snapshots_of(topics, other, NUMBER)) == []
    assert KafkaEventStore(topics, other).load("a").version == 15
    messages = [m for batch in read_to_end(topics, [TopicPartition(snapshots.TOPIC, NUMBER, OFFSET_BEGINNING)]) for m in batch]
    assert messages
