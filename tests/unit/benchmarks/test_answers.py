"""A benchmark's speed counts only when this finds nothing."""

from __future__ import annotations

import orjson

from tests.benchmarks.answers import Answer, Answers, differences, faults, unequal

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


def named(**scores: float) -> Answers:
    values = [orjson.dumps({"data": {"actionId": action, "score": score}}) for action, score in scores.items()]
    return Answers({(0, i): Answer(b"", b"", value) for i, value in enumerate(values)})


def test_a_rivals_scores_may_differ_in_their_last_digits_and_lie_elsewhere() -> None:
    assert unequal("bare", named(a=0.25, b=0.5), named(b=0.5000005, a=0.25)) == []


def test_each_other_difference_from_a_rival_is_said_with_an_action() -> None:
    assert unequal("bare", named(a=0.25, b=0.5, c=0.1), named(a=0.25001, b=0.5, d=0.1)) == [
        "bare: 1 of 3 actions left unanswered, the first c",
        "bare: 1 of 3 actions answered though we did not, the first d",
        "bare: 1 of 3 actions differ by more than 1e-06, the first a",
        "bare: action a is 0.25001, ours 0.25",
    ]


def test_two_answers_of_a_rival_that_name_one_action_are_no_equal_answers() -> None:
    value = named(a=0.25).of[0, 0]
    assert unequal("bare", named(a=0.25), Answers({(0, 0): value, (0, 1): value})) == ["bare: of 2 answers, some name the same action"]
    assert unequal("bare", Answers({(0, 0): value, (0, 1): value}), named(a=0.25)) == [
        "bare: of 2 answers of ours, some name the same action"
    ]
