"""When the brake is pulled."""

from __future__ import annotations

from infra.config import Brake
from jobs.brake import Recent, verdict

RULE = Brake(percent=50, answers=10, seconds=60)


def recent(answers: int, dead_letters: int, ms: int = 1_700_000_000_000) -> Recent:
    found = Recent()
    for i in range(answers):
        found.add(ms + i, is_dead_letter=i < dead_letters)
    return found


def test_half_of_enough_recent_records_rejected_pulls_it_with_a_clear_sentence() -> None:
    sentence = verdict(recent(10, 5), RULE)
    assert sentence is not None
    assert sentence.startswith("5 of the last 10 records (50 %) were rejected, and 50 % stop the job; ")
    assert "--release-brake" in sentence
    assert verdict(recent(10, 4), RULE) is None
    assert verdict(recent(9, 9), RULE) is None
    assert verdict(recent(1000, 1000), Brake(percent=0, answers=10, seconds=60)) is None


def test_what_is_older_counts_no_more() -> None:
    found = recent(10, 10, ms=1_700_000_000_000)
    for i in range(10):
        found.add(1_700_000_060_000 + i, is_dead_letter=False)
    assert (found.answers, found.dead_letters) == (20, 10)
    assert verdict(found, RULE) is not None
    found.forget(1_700_000_000_001)
    assert (found.answers, found.dead_letters) == (10, 0)
    assert verdict(found, RULE) is None


def test_times_of_several_partitions_may_go_back_a_little() -> None:
    found = Recent()
    for ms in (5_000, 4_990, 6_100, 5_999, 6_000):
        found.add(ms, is_dead_letter=True)
    found.forget(6_000)
    assert found.answers == 3  # the one of 5.999 s came behind one of 6.1 s
    found.forget(7_000)
    assert (found.answers, found.dead_letters) == (0, 0)
