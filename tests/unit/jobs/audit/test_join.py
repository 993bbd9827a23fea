from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobs.audit.answers import Order, identities, out_of_order
from jobs.audit.join import Expect, Joined, join
from jobs.audit.pins import LETTERS, PREDICTIONS
from jobs.audit.spill import ACTION, ANSWER, Rows, Spill

REST = Expect(partition=1, tail_from=2**63 - 1, answers_known_from=0, actions_known_from=0)


def actions(*offsets: int, identity: int = 7, value: int = 3, key: int = 4) -> Rows:
    return np.array([(offset, identity, value, key) for offset in offsets], ACTION)


def answers(*offsets: int, identity: int = 7, lies_at: int = 100, user: int = 5, value: int = 0, key: int = 0) -> Rows:
    return np.array([(offset, identity, user, lies_at + i, 2, 1, value, key) for i, offset in enumerate(offsets)], ANSWER)


def joined(expect: Expect, acted: Rows, predicted: Rows, refused: Rows | None = None, asked: frozenset[int] = frozenset()) -> Joined:
    return join(expect, acted, {PREDICTIONS: predicted, LETTERS: answers() if refused is None else refused}, asked)


def found(result: Joined) -> list[tuple[str, int, int | None]]:
    """Missing answers first."""
    missing = [("unanswered", result.partition, offset) for offset in result.missing]
    return missing + [(finding.kind, finding.partition, finding.offset) for finding in result.findings.kept]


def test_one_answer_each_is_clean_in_whatever_order_they_lie() -> None:
    result = joined(REST, actions(3, 4, 6, 9), answers(9, 3), answers(6, 4, identity=0))
    assert found(result) == []
    assert (result.predicted, result.refused) == (2, 2)


def test_a_letter_that_holds_another_record_is_named() -> None:
    letters = np.concatenate([answers(3, value=3, key=4), answers(4, value=3), answers(6, value=9, key=4), answers(9, value=3, key=9)])
    letters["lies_at"] = range(50, 54)
    result = joined(REST, actions(3, 4, 6, 9), answers(), letters)
    assert found(result) == [("other_record", 2, 52), ("other_record", 2, 53)]
    assert "are not those of the record that it answers, user-actions 1:6" in result.findings.kept[0].sentence


def test_missing_and_doubled_answers_are_named_by_the_action() -> None:
    result = joined(REST, actions(3, 4, 6, 9), answers(3, 6, 6), answers(3, identity=0))
    assert found(result) == [("unanswered", 1, 4), ("unanswered", 1, 9), ("answered_twice", 1, 3), ("answered_twice", 1, 6)]
    assert "prediction in predictions, partition 2, offset 101" in result.findings.kept[-1].sentence


def test_answers_without_action_are_named_by_their_own_place() -> None:
    result = joined(REST, actions(3), answers(3, 5), answers(8, lies_at=40))
    assert found(result) == [("prediction_without_action", 2, 101), ("dead_letter_without_action", 2, 40)]


def test_a_prediction_for_another_user_is_found_and_a_dead_letter_is_not_asked_who_acted() -> None:
    result = joined(REST, actions(3, 4), answers(3, identity=8), answers(4, identity=0))
    assert found(result) == [("other_action", 2, 100)]


def test_only_the_tail_may_still_be_unanswered() -> None:
    result = joined(Expect(1, 7, 0, 0), actions(3, 4, 6, 7, 8), answers(3, 6))
    assert found(result) == [("unanswered", 1, 4)]
    assert result.tail == 2


def test_of_what_retention_has_cut_nothing_is_guessed() -> None:
    result = joined(Expect(1, 2**63 - 1, 6, 5), actions(5, 6, 7), answers(2, 7))
    assert found(result) == [("unanswered", 1, 6)]
    assert result.unproven == [5, 5, 1]


def test_accepted_are_the_asked_that_have_a_prediction() -> None:
    result = joined(REST, actions(3, 4, 6), answers(3, 6), answers(4, identity=0), frozenset({3, 4}))
    assert result.accepted == {3}


def test_who_acted_has_a_fingerprint_and_no_id_has_none() -> None:
    made = identities(["a", "a", "ab", None, "a"], ["b", "b", "", "b", None])
    assert made[0] == made[1] != made[2]
    assert made[3] == made[4] == 0


@pytest.mark.parametrize(
    ("offsets", "users", "kept", "wrong"),
    [
        ([1, 2, 5], [5, 6, 5], True, []),
        ([1, 5, 2], [5, 5, 6], False, []),  # another user's answer may come later
        ([1, 5, 2, 3, 6], [5, 5, 5, 5, 5], False, [102, 103]),
        ([4, 4], [5, 5], False, []),  # answered twice, which is told elsewhere
    ],
)
def test_order_is_by_user(offsets: list[int], users: list[int], kept: bool, wrong: list[int]) -> None:
    rows, order = answers(*offsets), Order()
    rows["user"] = users
    order.add(rows[:1])
    order.add(rows[1:])
    assert order.is_kept == kept
    assert order.last == {1: max(offsets)}
    assert [finding.offset for finding in out_of_order(PREDICTIONS, lambda: iter([rows[1:], rows[:1]])).kept] == wrong


def test_what_is_spilled_comes_back_by_bucket(tmp_path: Path) -> None:
    spill, far = Spill(tmp_path), 1 << 19
    spill.put_actions(1, actions(3, far - 1, far))
    spill.put_actions(1, actions(far + 2))
    spill.put_answers(PREDICTIONS, 0, answers(3, far))
    spill.put_answers(PREDICTIONS, 2, answers(5))
    assert spill.actions(1, 0)["offset"].tolist() == [3, far - 1]
    assert spill.actions(1, 1)["offset"].tolist() == [far, far + 2]
    assert spill.actions(2, 0).tolist() == []
    assert spill.answers(PREDICTIONS, 1, 0)["offset"].tolist() == [3, 5]
    assert spill.answers(LETTERS, 1, 0).tolist() == []
    assert sorted(offset for rows in spill.answers_in(PREDICTIONS, 0) for offset in rows["offset"]) == [3, far]


@pytest.mark.parametrize("bits", [0, 3])
def test_repeated_event_ids_are_counted_over_all_partitions(tmp_path: Path, bits: int) -> None:
    spill, prints = Spill(tmp_path), np.arange(1, 9, dtype=np.uint64) << np.uint64(60)
    spill.put_events(prints, bits, "0")
    spill.put_events(prints[:3], bits, "1")
    spill.put_events(prints[:1], bits, "1")
    assert sum(spill.repeated_events(part) for part in range(1 << bits)) == 4
