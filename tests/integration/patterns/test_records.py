"""Records that cannot be handled become dead letters and stop nobody; a log that somebody else wrote into stops its owner."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.clock import system_clock
from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.errors import StreamhouseError
from jobs.bank.account import ACCOUNT, Account, DepositMoney, MoneyDeposited, OpenAccount
from jobs.committed_records import read_all
from jobs.patterns.aggregate import Held, Refused
from jobs.patterns.commands import Commands
from jobs.patterns.event_log import EventLogBroken, rebuilt
from jobs.patterns.kafka_store import KafkaEventStore
from jobs.patterns.message import Envelope, Message, derived_id, encode
from jobs.patterns.participant import Participant
from jobs.patterns.replies import CommandAccepted
from jobs.patterns.snapshots import snapshot_of
from tests.integration.patterns.working import working

COMMANDS, LETTERS = ACCOUNT.command_topic, f"{ACCOUNT.command_topic}-dlq"
PARTITIONS = load_contracts().topics[COMMANDS].partitions


def produce(settings: Settings, topic: str, value: bytes | None, key: bytes, partition: int, headers: Any = ()) -> None:
    producer = Producer({**settings.kafka.client(), "log_level": 2})
    producer.produce(topic, value, key, partition, headers=list(headers))
    assert producer.flush(20) == 0


def letters(settings: Settings, count: int) -> list[dict[str, Any]]:
    until = time.monotonic() + 60
    while True:
        found = [orjson.loads(message.value() or b"") for message in read_all(settings, LETTERS, PARTITIONS)]
        if len(found) >= count or time.monotonic() > until:
            return found
        time.sleep(0.2)


def test_what_no_contract_allows_becomes_a_dead_letter_and_the_rest_goes_on(topics: Settings) -> None:
    right = partition_of("a", PARTITIONS)
    key, value, _ = encode(Envelope(derived_id("bad", "1"), system_clock(), "test", "c", DepositMoney("a", 1)))
    with working(topics, Participant("account", ACCOUNT)), Commands(topics, system_clock, "test", seconds=30) as commands:
        produce(topics, COMMANDS, b"{", key, right)
        produce(topics, COMMANDS, None, key, right)
        produce(topics, COMMANDS, value, key, (right + 1) % PARTITIONS)
        produce(topics, COMMANDS, value, b"b", partition_of("b", PARTITIONS))
        produce(topics, COMMANDS, value.replace(b"DepositMoney", b"StealMoney!!"), key, right)
        produce(topics, COMMANDS, value, key, right, [("expected-version", b"latest")])
        event = encode(Envelope(derived_id("bad", "2"), system_clock(), "test", "c", MoneyDeposited("a", 1)))[1]
        produce(topics, COMMANDS, event, key, right)
        assert isinstance(commands.execute(OpenAccount("a", 5), derived_id("good", "1")), CommandAccepted)
        found = letters(topics, 7)
    assert Counter(letter["data"]["error"]["reason"] for letter in found) == {
        "invalid_json": 1,
        "tombstone": 1,
        "wrong_partition": 2,
        "unknown_event_type": 2,
        "invalid_value": 1,
    }
    assert {letter["data"]["failedIn"] for letter in found} == {"account"}
    assert {letter["data"]["sourceTopic"] for letter in found} == {COMMANDS}
    assert KafkaEventStore(topics, ACCOUNT).load("a").state == Account(5)


def test_code_that_fails_is_tried_again_with_backoff_and_given_up_as_a_dead_letter(topics: Settings) -> None:
    tried = Counter[int]()
    times: list[float] = []

    def decide(account: Account, command: Message, now_ms: int) -> Sequence[Message] | Refused:
        if isinstance(command, DepositMoney):
            tried[command.cents] += 1
            if command.cents == 13:
                times.append(time.monotonic())
                message = "thirteen is not to be had"
                raise RuntimeError(message)
            if command.cents == 7 and tried[7] < 3:
                message = "not yet"
                raise ConnectionError(message)
        return ACCOUNT.decide(account, command, now_ms)

    with (
        working(topics, Participant("account", replace(ACCOUNT, decide=decide))),
        Commands(topics, system_clock, "test", seconds=30) as commands,
    ):
        futures = [
            commands.begin(data, derived_id("try", str(i)))
            for i, data in enumerate((OpenAccount("a", 1), DepositMoney("a", 7), DepositMoney("a", 13), DepositMoney("a", 2)))
        ]
        for i in (0, 1, 3):
            assert isinstance(futures[i].result(30), CommandAccepted)
        (letter,) = letters(topics, 1)
    assert (letter["data"]["retryCount"], letter["data"]["error"]["step"]) == (3, "decide")
    assert letter["data"]["error"]["message"] == "RuntimeError: thirteen is not to be had"
    assert letter["data"]["originalEvent"]["data"]["cents"] == 13
    assert tried == {7: 3, 13: 4, 2: 1}
    pauses = [after - before for before, after in pairwise(times)]
    assert all(later > 1.5 * earlier for earlier, later in pairwise(pauses)), pauses
    assert KafkaEventStore(topics, ACCOUNT).load("a").state == Account(1 + 7 + 2)


@pytest.mark.parametrize("fault", ["foreign", "doubled", "cut"])
def test_a_log_that_was_written_into_or_cut_stops_its_owner_and_names_the_place(topics: Settings, fault: str) -> None:
    number = partition_of("a", PARTITIONS)
    with working(topics, Participant("account", ACCOUNT)), Commands(topics, system_clock, "test", seconds=30) as commands:
        for i, data in enumerate((OpenAccount("a", 5), DepositMoney("a", 1), DepositMoney("a", 2))):
            assert isinstance(commands.execute(data, derived_id("log", str(i))), CommandAccepted)
    if fault == "cut":
        client = AdminClient({**topics.kafka.client()})  # its futures need it
        (future,) = client.delete_records([TopicPartition(ACCOUNT.topic, number, 1)]).values()
        future.result(20)
    else:
        version = 1 if fault == "doubled" else None
        _, value, headers = encode(Envelope(derived_id("log", "x"), 1, "me", "c", MoneyDeposited("a", 1), None, version))
        produce(topics, ACCOUNT.topic, value, b"a" if fault == "doubled" else b"b", number, headers)
    with pytest.raises(EventLogBroken, match=r"topic accounts, partition \d, offset \d"):
        rebuilt(topics, ACCOUNT, number, use_snapshots=False)
    assert isinstance(ended_by(topics), EventLogBroken)


def test_one_id_for_commands_to_two_aggregates_is_two_commands(topics: Settings) -> None:
    with working(topics, Participant("account", ACCOUNT)), Commands(topics, system_clock, "test", seconds=30) as commands:
        one, other = derived_id("same", "open"), derived_id("same", "open").upper()
        futures = [commands.begin(OpenAccount(who, cents), one) for who, cents in (("a", 1), ("b", 2))]
        replies = [future.result(30) for future in futures]
        assert [(reply.aggregate_id, reply.aggregate_version) for reply in replies] == [("a", 1), ("b", 1)]
        assert commands.execute(OpenAccount("a", 1), other) == replies[0]
        ids = {event.envelope.id for who in "ab" for event in KafkaEventStore(topics, ACCOUNT).history(who)}
        assert len(ids) == 2
        for command, name, says in (
            (OpenAccount("a", 0), one, "Expected `int` >= 1"),
            (OpenAccount("a" * 129, 1), one, "length <= 128"),
            (OpenAccount("a", 1), "no uuid", "matching regex"),
        ):
            with pytest.raises(StreamhouseError, match=says):
                commands.begin(command, name)


def test_an_owner_whose_offsets_are_gone_asks_a_person(topics: Settings) -> None:
    with working(topics, Participant("account", ACCOUNT)), Commands(topics, system_clock, "test", seconds=30) as commands:
        assert isinstance(commands.execute(OpenAccount("a", 5), derived_id("gone", "1")), CommandAccepted)
    client = AdminClient({**topics.kafka.client()})
    (future,) = client.delete_consumer_groups(["account"]).values()
    future.result(20)
    assert "its offset in account-commands is gone" in str(ended_by(topics))


def test_a_transaction_that_somebody_keeps_open_is_waited_for_before_the_log_is_folded(topics: Settings) -> None:
    with working(topics, Participant("account", ACCOUNT)), Commands(topics, system_clock, "test", seconds=30) as commands:
        assert isinstance(commands.execute(OpenAccount("a", 5), derived_id("open", "1")), CommandAccepted)
        number = partition_of("a", PARTITIONS)
        stranger = Producer({**topics.kafka.client(), "transactional.id": "stranger", "transaction.timeout.ms": 8_000, "log_level": 2})
        stranger.init_transactions(20)
        stranger.begin_transaction()
        stranger.produce(ACCOUNT.topic, b"{}", b"z", number)
        stranger.flush(20)
        assert isinstance(commands.execute(DepositMoney("a", 1), derived_id("open", "2")), CommandAccepted)
    assert rebuilt(topics, ACCOUNT, number)[0]["a"].state == Account(6)  # once the broker has ended it


@pytest.mark.parametrize("version", [1, 9])
def test_a_snapshot_that_is_not_of_the_log_stops_its_owner(topics: Settings, version: int) -> None:
    with working(topics, Participant("account", ACCOUNT)), Commands(topics, system_clock, "test", seconds=30) as commands:
        assert isinstance(commands.execute(OpenAccount("a", 5), derived_id("forged", "1")), CommandAccepted)
    number = partition_of("a", PARTITIONS)
    forged = snapshot_of(ACCOUNT, "a", Held(Account(777), version, {derived_id("forged", "x"): version}), number, 0, system_clock())
    produce(topics, forged.topic, forged.value, forged.key or b"", number)
    assert "the snapshot of account 'a' at version" in str(ended_by(topics))


def ended_by(settings: Settings) -> BaseException:
    """What ends an owner that begins now."""
    with working(settings, Participant("account", ACCOUNT)) as ended:
        until = time.monotonic() + 180
        while not ended and time.monotonic() < until:
            time.sleep(0.1)
    return ended[0]
