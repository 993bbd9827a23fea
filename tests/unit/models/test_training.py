from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from models.inputs import build
from models.outcome import HORIZON
from models.publishing import Trained
from models.scorer import Scorer, open_session
from models.training import (
    DAY,
    MINUTE,
    TEST,
    USUAL,
    VALIDATION,
    Frame,
    Recipe,
    RecipeRefused,
    TrainingImpossible,
    best_threshold,
    conversion_rate,
    measure,
    split_by_time,
    train,
)
from tests.unit.models.builders import a_frame


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(a_frame(), "buys", "3", {"feature_log": 11, "user_actions": 12})


def test_the_same_frame_gives_the_same_bytes(trained: Trained) -> None:
    assert train(a_frame(), "buys", "3", {"feature_log": 11, "user_actions": 12}) == trained


def test_the_model_is_better_than_its_baseline_on_the_last_weeks(trained: Trained) -> None:
    metrics = trained.manifest.metrics
    assert metrics.model.auc > metrics.baseline.auc + 0.02
    assert metrics.model.average_precision > metrics.baseline.average_precision
    assert metrics.model.log_loss < metrics.baseline.log_loss


def test_the_metrics_are_those_of_the_published_bytes(trained: Trained) -> None:
    frame = a_frame()
    x = build(trained.manifest, frame.columns, len(frame.time))
    score = Scorer(trained.manifest, open_session(trained.manifest, trained.onnx)).score(x)
    test = split_by_time(frame.time, frame.known).test
    assert measure(frame.label[test], score[test]) == trained.manifest.metrics.model


def test_onnx_and_lightgbm_differ_by_no_more_than_float32(trained: Trained) -> None:
    assert 0 < trained.manifest.training.largest_difference < 3e-7


def test_the_card_says_what_it_was_made_of(trained: Trained) -> None:
    card, split = trained.manifest, split_by_time(a_frame().time, a_frame().known)
    assert card.id == "buys@3"
    assert card.training.snapshot_ids == {"feature_log": 11, "user_actions": 12}
    assert card.training.rows == {
        "train": split.train.sum(),
        "validation": split.validation.sum(),
        "test": split.test.sum(),
    }
    assert card.training.split["test"][1] == "2024-02-02T22:10:20.000Z"
    assert "best F1 on the validation period" in card.training.threshold
    assert [column.source for column in card.inputs] == list(a_frame().columns)
    assert [column.default for column in card.inputs] == [0.0, -1.0, -1.0]


def test_categories_are_ordered_by_conversion_and_unknown_ones_are_left_to_the_default(trained: Trained) -> None:
    words = trained.manifest.inputs[2].vocabulary
    assert words is not None
    assert set(words) == {"home", "search", "cart"}
    assert words[-1] == "cart"


def test_a_category_that_only_later_weeks_know_is_not_in_the_vocabulary() -> None:
    frame = a_frame()
    words = list(frame.columns["action:action"])
    words[-1] = "from the future"
    later = dataclasses.replace(frame, columns={**frame.columns, "action:action": words})
    assert train(later, "buys", "3", {}).manifest.inputs[2].vocabulary == train(frame, "buys", "3", {}).manifest.inputs[2].vocabulary


def test_golden_rows_reach_from_the_lowest_score_to_the_highest(trained: Trained) -> None:
    scores = trained.golden.scores
    assert len(scores) == 16
    assert scores == sorted(scores)
    assert scores[0] < 0.1 < scores[-1]


def test_the_future_cannot_change_what_is_learnt() -> None:
    """Other labels in the last weeks change the metrics and not one byte of the model."""
    frame = a_frame()
    label = frame.label.copy()
    test = split_by_time(frame.time, frame.known).test
    label[test] = ~label[test]
    other, same = train(dataclasses.replace(frame, label=label), "buys", "1", {}), train(frame, "buys", "1", {})
    assert other.onnx == same.onnx
    assert other.manifest.threshold == same.manifest.threshold
    assert other.manifest.metrics != same.manifest.metrics


def test_periods_follow_each_other_with_half_an_hour_between() -> None:
    time = np.arange(0, 80 * DAY, 10 * MINUTE)
    split = split_by_time(time, time + HORIZON)
    assert time[split.test].min() == time.max() - TEST
    assert time[split.validation].min() == time.max() - TEST - VALIDATION
    for earlier, later in ((split.train, split.validation), (split.validation, split.test)):
        assert time[earlier].max() + HORIZON < time[later].min()
    left_out = ~(split.train | split.validation | split.test)
    assert left_out.sum() == 6
    assert not (split.train & split.validation).any()
    assert not (split.validation & split.test).any()


def test_a_row_whose_label_became_known_in_the_next_period_belongs_to_none() -> None:
    time = np.arange(0, 80 * DAY, 10 * MINUTE)
    before = split_by_time(time, time + HORIZON)
    validation_from, test_from = time.max() - TEST - VALIDATION, time.max() - TEST
    known = time + HORIZON
    late = {"train": (5, validation_from), "validation": (int(np.flatnonzero(before.validation)[3]), test_from)}
    for row, begins in late.values():
        known[row] = begins - 1
    assert all((vars(split_by_time(time, known))[period] == mask).all() for period, mask in vars(before).items())
    for row, begins in late.values():
        known[row] = begins
    after = split_by_time(time, known)
    for period, (row, _) in late.items():
        assert np.flatnonzero(vars(before)[period] & ~vars(after)[period]).tolist() == [row]
    assert (after.test == before.test).all()


def test_the_threshold_is_the_one_with_the_best_f1() -> None:
    label = np.array([False, False, True, False, True, True])
    score = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], np.float32)
    # F1 at 0.3: 2*3/(4+3) = 0.857; at 0.5: 2*2/(2+3) = 0.8
    assert best_threshold(label, score) == 0.3


def test_the_baseline_is_the_actions_conversion_rate_drawn_to_the_overall_rate() -> None:
    label = np.array([True, True, False, False, True])
    in_training = np.array([True, True, True, True, False])
    rate = conversion_rate(["cart", "cart", "home", None, "never seen"], label, in_training)
    overall = 0.5
    expected = [(2 + 20 * overall) / 22] * 2 + [(0 + 20 * overall) / 21] * 2 + [overall]
    assert rate.tolist() == pytest.approx(expected)


def test_data_of_too_few_days_is_refused() -> None:
    with pytest.raises(TrainingImpossible, match=r"the train period needs .* got 0 of 0; train on more than 42 days of data"):
        train(a_frame(days=30), "buys", "1", {})


def test_a_period_without_a_purchase_is_refused() -> None:
    frame = a_frame()
    label = frame.label & ~split_by_time(frame.time, frame.known).validation
    with pytest.raises(TrainingImpossible, match=r"the validation period needs actions with and without a purchase .* got 0 of \d+;"):
        train(dataclasses.replace(frame, label=label), "buys", "1", {})


def test_a_frame_without_rows_is_refused() -> None:
    empty = Frame({"action:action": []}, np.array([], np.int64), np.array([], bool), np.array([], np.int64))
    with pytest.raises(TrainingImpossible, match=r"the train period needs .* got 0 of 0"):
        train(empty, "buys", "1", {})


def test_a_model_says_what_was_chosen_for_it_and_another_choice_makes_another(trained: Trained) -> None:
    assert trained.manifest.training.parameters == {"trees": 100, "leaves": 7, "learning_rate": 0.05}
    snapshots = {"feature_log": 11, "user_actions": 12}
    assert train(a_frame(), "buys", "3", snapshots, USUAL) == trained
    made = [train(a_frame(), "buys", "3", snapshots, recipe) for recipe in (Recipe(trees=20), Recipe(leaves=3), Recipe(learning_rate=0.1))]
    assert len({other.onnx for other in (trained, *made)}) == 4
    assert made[0].manifest.training.parameters == {"trees": 20, "leaves": 7, "learning_rate": 0.05}


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ({"trees": 0}, "training with trees 0: expected a number from 1 to 5000; leave it out for the usual one"),
        ({"leaves": 1}, "training with leaves 1: expected a number from 2 to 1024"),
        ({"learning_rate": float("nan")}, "training with learning_rate nan: expected a number from 0.0001 to 1"),
        ({"learning_rate": 0.0}, "training with learning_rate 0: expected a number"),
    ],
)
def test_numbers_that_no_training_can_use_are_refused(recipe: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeRefused) as refusal:
        Recipe(**recipe)
    assert sentence in str(refusal.value)
