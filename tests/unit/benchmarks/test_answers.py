"""A benchmark's speed counts only when this finds nothing."""

from __future__ import annotations

from tests.benchmarks.answers import Answer, Answers, differences, faults

RIGHT = Answer(b"0.25", b"[1.0,0.0]", b"{}")


def test_each_action_answered_once_is_no_fault() -> None:
    assert faults("loop", {(0, 0): None, (1, 5): None}, Answers({(0, 0): RIGHT, (1, 5): RIGHT})) == []


def test_what_is_missing_twice_unasked_or_refused_is_said_with_its_place() -> None:
    got = Answers({(0, 0): RIGHT, (3, 7): RIGHT}, {(2, 1): "tombstone"}, twice=[(0, 0)])
    assert faults("loop", {(0, 0): None, (1, 5): None, (2, 1): None}, got) == [
        "loop: 1 of 3 actions left unanswered, the first at (partition, offset) (1, 5)",
        "loop: 1 of 3 actions answered twice, the first at (partition, offset) (0, 0)",
        "loop: 1 of 3 actions answered though not sent, the first at (partition, offset) (3, 7)",
        "loop: 1 of 3 actions became dead letters though they are good, the first at (partition, offset) (2, 1)",
    ]


def test_bad_input_is_answered_by_a_dead_letter_with_its_reason() -> None:
    sent = {(0, 0): None, (0, 1): "tombstone", (0, 2): "not_utf8"}
    assert faults("poisoned", sent, Answers({(0, 0): RIGHT}, {(0, 1): "tombstone", (0, 2): "not_utf8"})) == []
    assert faults("poisoned", sent, Answers({(0, 0): RIGHT, (0, 1): RIGHT}, {(0, 2): "invalid_json"})) == [
        "poisoned: 1 of 3 actions were predicted though they are bad, the first at (partition, offset) (0, 1)",
        "poisoned: 1 of 3 actions were refused for another reason, the first at (partition, offset) (0, 2):"
        " expected not_utf8, got invalid_json",
    ]


def test_a_score_that_differs_in_its_last_bit_is_said() -> None:
    other = Answers({(0, 0): Answer(b"0.25000003", RIGHT.features, RIGHT.value)})
    assert differences("flink", Answers({(0, 0): RIGHT}), "loop", other) == [
        "1 of 1 actions differ in score, the first at (partition, offset) (0, 0): flink 0.25, loop 0.25000003"
    ]


def test_equal_answers_do_not_differ() -> None:
    assert differences("flink", Answers({(0, 0): RIGHT}), "loop", Answers({(0, 0): RIGHT})) == []
