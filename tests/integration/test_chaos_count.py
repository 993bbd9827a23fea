"""Traffic through the proxy to a real broker, answered by the scoring path itself, read all the time, counted at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer

from features.enrich import Batch, Enricher
from features.memory_store import MemoryStore
from infra.config import Settings, load_settings
from infra.contracts import topics
from infra.contracts.load import load_contracts
from jobs.chaos.accounting import count
from jobs.chaos.actions import GOOD, POISON, Maker
from jobs.chaos.proxy import Proxy, Weather
from jobs.chaos.reader import ACTIONS, LETTERS, PREDICTIONS, Reader
from jobs.chaos.traffic import Traffic
from jobs.scoring_parts import Topic, model, rules
from jobs.scoring_path import answer
from lakehouse import migrate
from tests.brokers import embedded_broker
from tests.ports import free_ports

TOPICS = load_contracts().topics
PARTITIONS = TOPICS[ACTIONS].partitions
RATE, FAULTY_SECONDS = 300.0, 1.0


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Proxy]]:
    """The embedded broker by itself behind a proxy, with the project's topics, and empty tables."""
    folder = tmp_path_factory.mktemp("chaos")
    ports = dict(zip(("KAFKA_PORT", "KAFKA_LISTEN_PORT", "KAFKA_CONTROLLER_PORT"), free_ports(3), strict=True))
    settings = load_settings({"STREAMHOUSE_STATE": str(folder), **{f"STREAMHOUSE_{name}": port for name, port in ports.items()}})
    proxied = Proxy(settings.kafka.port, settings.kafka.listens_on)
    with proxied as proxy, embedded_broker(settings):
        topics.apply(settings)
        migrate.apply(settings)
        yield settings, proxy


def test_what_was_sent_through_bad_weather_is_counted_and_each_planted_fault_found(behind: tuple[Settings, Proxy]) -> None:
    settings, proxy = behind
    traffic = Traffic(settings, TOPICS[ACTIONS], Maker(TOPICS[ACTIONS], 1, "canary"), RATE, poison=0.2)
    reader = Reader(settings)
    traffic.start()
    traffic.insert([*GOOD, *POISON])
    for weather in (Weather(), Weather(delay=0.05), Weather(cut=True), Weather(silent=True), Weather(answers_lost=frozenset({0}))):
        with proxy.weather(weather):
            time.sleep(FAULTY_SECONDS)
    until(lambda: not traffic.waiting)
    traffic.stop()
    assert traffic.taken > RATE
    assert set(traffic.sent.by_kind()) >= {"plain", *GOOD, *POISON}

    ends = traffic.sent.ends()
    reader.expect([end - 1 for end in ends])
    answered = answer_all(settings)
    until(lambda: reader.answers.distinct == traffic.taken)
    counted = count(settings, traffic.sent)
    assert counted.findings() == []
    assert counted.compared(reader.answers) == []
    assert reader.came(0) is not None

    publish(settings, [answered[0]], commit=False)  # aborted: nobody sees it
    assert count(settings, traffic.sent).findings() == []
    publish(settings, [answered[0]], commit=True)
    twice, *_ = count(settings, traffic.sent).findings()
    assert twice.startswith("1 actions were answered more than once")
    until(lambda: sum(number for number, _ in reader.answers.seen.values()) == len(answered) + 1)
    reader.close()
    assert reader.error is None


def answer_all(settings: Settings) -> list[tuple[str, bytes | None, bytes]]:
    """What the scoring path answers to the whole topic, published in one transaction."""
    enrich = Enricher(MemoryStore(), lambda *_: iter(list[Batch]()), lambda _: 0, time.sleep, wait_seconds=0)
    found = []
    for partition in range(PARTITIONS):
        enrich.start_over(partition)
        for records in Topic(settings, ACTIONS).records(partition, 0, 2**62):
            answers = answer(records, rules(), enrich, model(settings), now_ms=0)
            for is_prediction, key, value in zip(answers.is_prediction, answers.keys, answers.values, strict=True):
                found.append((PREDICTIONS if is_prediction else LETTERS, key, value))
    publish(settings, found, commit=True)
    return found


def publish(settings: Settings, answers: list[tuple[str, bytes | None, bytes]], *, commit: bool) -> None:
    producer = Producer({**settings.kafka.client(), "transactional.id": "chaos-count", "message.max.bytes": 4 << 20})
    producer.init_transactions(20)
    producer.begin_transaction()
    for topic, key, value in answers:
        producer.produce(topic, value, key)
        producer.poll(0)
    (producer.commit_transaction if commit else producer.abort_transaction)(20)


def until(what: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
