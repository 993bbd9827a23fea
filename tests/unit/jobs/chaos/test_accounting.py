"""The plain count names each thing that can go wrong, by places."""

from __future__ import annotations

import orjson
import pytest

from jobs.chaos.accounting import Count
from jobs.chaos.oracle import Expected
from jobs.chaos.reader import LETTERS, PREDICTIONS, Answers
from jobs.chaos.traffic import Sent

USERS = {0: b"anna", 1: b"bert"}
Record = tuple[str, tuple[int, int], bytes | None, bytes]


def prediction(partition: int, offset: int, score: float = 0.5) -> bytes:
    return orjson.dumps({"data": {"actionPartition": partition, "actionOffset": offset, "score": score}})


def letter(partition: int, offset: int, reason: str = "tombstone") -> bytes:
    return orjson.dumps({"data": {"sourcePartition": partition, "sourceOffset": offset, "error": {"reason": reason}}})


def a_clean_run() -> tuple[Expected, Sent, list[Record]]:
    """Two partitions with three good actions and a bad one each, answered in order."""
    expected, sent, records = Expected(2), Sent(2), list[Record]()
    for partition in (0, 1):
        for offset in range(3):
            expected.add(partition, offset, prediction(partition, offset))
            sent.note("plain", None, partition, offset)
            records.append((PREDICTIONS, (partition, offset), USERS[partition], prediction(partition, offset)))
        expected.add(partition, 3, None)
        sent.note("tombstone", "tombstone", partition, 3)
        records.append((LETTERS, (partition, 0), None, letter(partition, 3)))
    return expected, sent, records


def counted(expected: Expected, sent: Sent, records: list[Record]) -> Count:
    count = Count(expected, sent)
    for record in records:
        count.take(*record)
    return count


def test_a_clean_run_has_no_findings() -> None:
    assert counted(*a_clean_run()).findings() == []


def test_offsets_that_the_topic_skips_need_no_answer() -> None:
    expected, sent, records = a_clean_run()
    expected.add(0, 10, prediction(0, 10))  # control records lie between
    sent.note("plain", None, 0, 10)
    records.append((PREDICTIONS, (0, 12), USERS[0], prediction(0, 10)))
    assert counted(expected, sent, records).findings() == []


def test_what_the_broker_took_without_saying_so_must_be_answered_too() -> None:
    expected, sent, records = a_clean_run()
    expected.add(1, 4, prediction(1, 4))
    assert counted(expected, sent, records).findings() == ["1 actions were left unanswered, the first at (partition, offset) (1, 4)"]


@pytest.mark.parametrize("gone", [0, 3, 7])
def test_a_dropped_answer(gone: int) -> None:
    expected, sent, records = a_clean_run()
    del records[gone]
    (finding,) = counted(expected, sent, records).findings()
    assert "1 actions were left unanswered" in finding


def test_a_doubled_answer_and_its_disorder() -> None:
    expected, sent, records = a_clean_run()
    records.append((PREDICTIONS, (0, 9), USERS[0], prediction(0, 1)))
    twice, disorder = counted(expected, sent, records).findings()
    assert twice == "1 actions were answered more than once, the first at (partition, offset) (0, 1)"
    assert disorder == "1 predictions are out of their user's order: anna: offset 1 of partition 0 after 2"


def test_a_prediction_beside_a_dead_letter() -> None:
    expected, sent, records = a_clean_run()
    records.append((LETTERS, (0, 1), None, letter(0, 2)))
    findings = counted(expected, sent, records).findings()
    assert findings[0] == "1 actions were answered more than once, the first at (partition, offset) (0, 2)"
    assert "1 good actions became dead letters" in findings[1]


def test_an_answer_to_nothing() -> None:
    expected, sent, records = a_clean_run()
    records.append((PREDICTIONS, (1, 9), USERS[1], prediction(1, 77)))
    findings = counted(expected, sent, records).findings()
    assert findings[0] == "1 answers are for actions that the topic does not hold, the first at (partition, offset) (1, 77)"


def test_a_changed_score() -> None:
    expected, sent, records = a_clean_run()
    records[1] = (PREDICTIONS, (0, 1), USERS[0], prediction(0, 1, score=0.5000001))
    (finding,) = counted(expected, sent, records).findings()
    assert finding == "1 predictions differ from those of an unbroken run, the first at (partition, offset) (0, 1)"


def test_a_lost_action() -> None:
    expected, sent, records = a_clean_run()
    sent.note("plain", None, 1, 4)
    assert counted(expected, sent, records).findings() == [
        "1 actions that the broker took are not in the topic, the first at (partition, offset) (1, 4)"
    ]


def test_a_bad_action_that_was_predicted() -> None:
    expected, sent, records = a_clean_run()
    expected.add(0, 3, prediction(0, 3))
    records[3] = (PREDICTIONS, (0, 5), USERS[0], prediction(0, 3))
    assert counted(expected, sent, records).findings() == ["1 bad actions were predicted, the first at (partition, offset) (0, 3)"]


def test_another_reason() -> None:
    expected, sent, records = a_clean_run()
    records[3] = (LETTERS, (0, 0), None, letter(0, 3, "too_deep"))
    assert counted(expected, sent, records).findings() == [
        "1 dead letters give another reason: tombstone at (0, 3): expected tombstone, got too_deep"
    ]


def seen(records: list[Record]) -> Answers:
    answers = Answers(2)
    for record in records:
        answers.add(*record)
    return answers


def test_two_readers_that_saw_the_same_in_another_order_agree() -> None:
    expected, sent, records = a_clean_run()
    assert counted(expected, sent, records).compared(seen(records[::-1])) == []


def test_two_readers_that_saw_something_else_do_not() -> None:
    expected, sent, records = a_clean_run()
    count = counted(expected, sent, records)
    assert count.compared(seen(records[1:])) == [
        "topic predictions, partition 0: who read on all the time saw 2 records, who reads at the end 3"
    ]
    aborted = [*records, (PREDICTIONS, (2, 5), b"carl", prediction(0, 5))]
    assert count.compared(seen(aborted)) == [
        "topic predictions, partition 2: who read on all the time saw 1 records, who reads at the end 0"
    ]
    swapped = [(PREDICTIONS, (0, 0), USERS[0], prediction(0, 0, 0.1)), *records[1:]]
    assert count.compared(seen(swapped)) == [
        "topic predictions, partition 0: who read on all the time saw 3 other records, who reads at the end 3"
    ]


def test_the_log_of_what_was_sent() -> None:
    _, sent, _ = a_clean_run()
    sent.note("example/list", "not_an_object", 0, 9)
    assert sent.at(0, 9) == ("example/list", "not_an_object")
    assert sent.at(0, 7) == sent.at(1, 99) == ("", None)
    assert sent.ends() == [10, 4]
    assert sent.by_kind() == {"example": 1, "plain": 6, "tombstone": 2}
