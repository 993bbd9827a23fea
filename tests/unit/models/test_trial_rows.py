from __future__ import annotations

import numpy as np

from models.inputs import build
from models.manifest import PUBLISHED, ModelInput, list_published, load_manifest, published
from models.trial_rows import ROWS, plausible_columns
from tests.unit.models.builders import WORDS, a_manifest


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
