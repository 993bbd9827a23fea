"""What the traffic is made of is answered as the traffic says: by the very function that the job runs."""

from __future__ import annotations

import numpy as np
import pytest

from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.chaos.actions import DRIFTED, GOOD, HUGE, POISON, Made, Maker
from jobs.records import Records
from jobs.scoring_parts import rules
from jobs.scoring_path import accept

TOPIC = load_contracts().topics["user-actions"]
RULES = rules()
SECRET = "canary"
NOW_MS = 1_780_000_000_000  # 2026: behind every event's time, and ten years before those that are too early


def maker(seed: int = 1) -> Maker:
    return Maker(TOPIC, seed, SECRET)


def refusal(made: Made) -> str | None:
    records = Records([made.key], [made.value], np.array([made.partition]), np.array([0]), np.array([NOW_MS]))
    _, refused = accept(records, RULES)
    return refused[0].reason if refused else None


@pytest.mark.parametrize("kind", ["plain", *GOOD])
def test_good_kinds_are_accepted(kind: str) -> None:
    source = maker()
    for _ in range(50):
        made = source.make(kind)
        assert (made.reason, refusal(made)) == (None, None), made


@pytest.mark.parametrize("kind", [*POISON, *HUGE])
def test_bad_kinds_are_refused_for_the_reason_they_name(kind: str) -> None:
    source = maker()
    for _ in range(2 if kind in HUGE else 30):
        made = source.make(kind)
        assert made.reason is not None
        assert refusal(made) == made.reason, made.kind


def test_every_refused_example_of_the_contract_is_sent_unless_its_time_decides() -> None:
    source = maker()
    sent = {source.make("example").kind.removeprefix("example/") for _ in range(500)}
    assert sent == {example.name for example in TOPIC.invalid if example.kafka_time_ms is None}


def test_the_same_seed_makes_the_same_records() -> None:
    kinds = [kind for kind in (*GOOD, *POISON) if kind != "ten_years_ahead"]  # its time is the clock's
    one, two, other = maker(5), maker(5), maker(6)
    made = [one.make(kind) for kind in kinds * 3]
    assert made == [two.make(kind) for kind in kinds * 3]
    assert made != [other.make(kind) for kind in kinds * 3]


def test_users_keep_to_their_partitions_and_all_partitions_have_some() -> None:
    source = maker()
    made = [source.make("plain") for _ in range(500)]
    assert {one.partition for one in made} == set(range(TOPIC.partitions))
    assert all(one.key and partition_of(one.key.decode(), TOPIC.partitions) == one.partition for one in made)


def test_shares_of_poison_and_of_other_good_kinds() -> None:
    source = maker()
    made = [source.next(good_kinds=0.2, poison=0.1) for _ in range(5000)]
    assert sum(one.reason is not None for one in made) / 5000 == pytest.approx(0.1, abs=0.02)
    assert sum(one.kind in GOOD for one in made) / 5000 == pytest.approx(0.2, abs=0.02)
    assert all(one.reason is None for one in [source.next(poison=0.0) for _ in range(500)])


def test_again_is_an_event_that_was_sent_before() -> None:
    source = maker()
    values = {source.make("plain").value for _ in range(20)}
    assert all(source.make("again").value in values for _ in range(20))


def test_the_secret_stands_in_good_and_in_drifted_events() -> None:
    source = maker()
    assert all(SECRET.encode() in (source.make(kind).value or b"") for kind in ("plain", "late", "without_key", *DRIFTED))
