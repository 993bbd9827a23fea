from __future__ import annotations

from inspect import signature

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.config import load_settings
from jobs.cli_history import replay
from models.inputs import build
from models.manifest import PUBLISHED, ModelInput, ModelRefused, list_published, load_manifest, published
from models.trial import LIMITS
from models.trial_rows import LARGE, ROWS, check_scores, plausible_columns
from tests.unit.models.builders import WORDS, a_manifest


class Mixed:
    """Scores that depend on the size of the batch from `rows` rows on."""

    manifest = a_manifest()

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def ask(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full(len(x), 0.25 if len(x) < self.rows else 0.5, np.float32)


def test_the_same_seed_draws_the_same_rows_and_another_draws_others() -> None:
    one, same, other = (build(a_manifest(), plausible_columns(a_manifest(), seed=seed), ROWS) for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes()
    assert one.tobytes() != other.tobytes()


def test_each_word_null_and_an_unknown_word_are_drawn() -> None:
    words = set(plausible_columns(a_manifest())["action:action"])
    assert words > {None, *WORDS}
    assert len(words) == len(WORDS) + 2


def test_counts_are_whole_seconds_are_not_and_both_reach_from_null_to_large() -> None:
    inputs = tuple(
        ModelInput(name=name, source=f"user_activity:{name}", dtype="float32", default=-1.0)
        for name in ("actions_7d", "seconds_since_action")
    )
    columns = plausible_columns(a_manifest(inputs=inputs))
    counts, seconds = (np.asarray(columns[column.source], np.float64) for column in inputs)
    for values in (counts, seconds):
        assert np.isnan(values).any()
        known = values[~np.isnan(values)]
        assert known.min() == 0
        assert known.max() == 1e9
        assert ((known > 10) & (known < 1000)).sum() > 100
    assert (counts[~np.isnan(counts)] % 1 == 0).all()
    assert (seconds[~np.isnan(seconds)] % 1 != 0).any()


def test_every_published_model_gets_rows_that_it_can_eat() -> None:
    for model in list_published(PUBLISHED):
        card = load_manifest(published(PUBLISHED, model))
        x = build(card, plausible_columns(card), ROWS)
        assert x.shape == (ROWS, len(card.inputs))
        assert np.isfinite(x).all()
        assert all(len(np.unique(column)) > 2 for column in x.T)


def test_batches_are_tried_that_are_as_large_as_those_of_job_and_replay_and_one_that_holds_no_square_of_its_rows() -> None:
    assert load_settings({}).score_events.batch_rows in LARGE
    assert signature(replay).parameters["batch"].default in LARGE
    assert 4 * LARGE[0] ** 2 > LIMITS.address_space


@pytest.mark.parametrize("rows", [1032, 2000, 2001, 20_000, 24_001])
def test_scores_that_change_in_large_batches_alone_are_refused(rows: int) -> None:
    check_scores(Mixed(24_002))
    with pytest.raises(ModelRefused, match=r"must score the same to the bit in batches of 1031 and of 24001, got 0.25 and 0.5"):
        check_scores(Mixed(rows))
