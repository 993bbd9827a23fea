"""A benchmark's speed counts only when this finds nothing."""

from __future__ import annotations

from tests.benchmarks.answers import Answer, Answers, differences, faults

RIGHT = Answer(b"0.25", b"[1.0,0.0]", b"{}")


def test_each_action_answered_once_is_no_fault() -> None:
    assert faults("loop", [(0, 0), (1, 5)], Answers({(0, 0): RIGHT, (1, 5): RIGHT})) == []


def test_what_is_missing_twice_unasked_or_refused_is_said_with_its_place() -> None:
    got = Answers({(0, 0): RIGHT, (3, 7): RIGHT}, twice=[(0, 0)], dead_letters=1)
    assert faults("loop", [(0, 0), (1, 5)], got) == [
        "loop: 1 of 2 actions left unanswered, the first at (partition, offset) (1, 5)",
        "loop: 1 of 2 actions answered twice, the first at (partition, offset) (0, 0)",
        "loop: 1 of 2 actions answered though not sent, the first at (partition, offset) (3, 7)",
        "loop: 1 of 2 actions became dead letters; every one is good",
    ]


def test_a_score_that_differs_in_its_last_bit_is_said() -> None:
    other = Answers({(0, 0): Answer(b"0.25000003", RIGHT.features, RIGHT.value)})
    assert differences("flink", Answers({(0, 0): RIGHT}), "loop", other) == [
        "1 of 1 actions differ in score, the first at (partition, offset) (0, 0): flink 0.25, loop 0.25000003"
    ]


def test_equal_answers_do_not_differ() -> None:
    assert differences("flink", Answers({(0, 0): RIGHT}), "loop", Answers({(0, 0): RIGHT})) == []
