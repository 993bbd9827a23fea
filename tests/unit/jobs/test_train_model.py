"""The training frame: rows, labels and profiles as they were known, from tables in any order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from features.activity import FEATURES
from infra.config import load_settings
from jobs.train_model import TablesDisagree, main, training_frame
from models.manifest import ModelRefused
from models.training import Frame

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def tables(
    actions: list[tuple[str, float, str | None]],
    profiles: Sequence[tuple[str, float, str, float]] = (),
    created: Sequence[float | None] | None = None,
) -> list[pa.Table]:
    """`actions`: user, minute, action, in the log's order; `profiles`: user, known from, channel, created.

    `created`: the minute at which each action became known; by default at its own.
    """
    n = len(actions)
    place = {"topic_partition": pa.array([0] * n, pa.int32()), "topic_offset": pa.array(range(n), pa.int64())}
    words = pa.array([a for *_, a in actions], pa.string())
    log: dict[str, Any] = {
        **place,
        "user_id": pa.array([u for u, *_ in actions], pa.string()),
        "event_time": pa.array([at(m) for _, m, _ in actions], TIME),
        "created": pa.array([None if m is None else at(m) for m in created or [None] * n], TIME),
    }
    log |= {f: pa.array(np.arange(n) + i, pa.int64()) for i, f in enumerate(FEATURES) if not f.startswith("seconds")}
    log |= {f: pa.array([None, *([1.5] * (n - 1))][:n], pa.float64()) for f in FEATURES if f.startswith("seconds")}
    known = {
        "user_id": pa.array([u for u, *_ in profiles], pa.string()),
        "channel": pa.array([c for _, _, c, _ in profiles], pa.string()),
        "cohort": pa.array(["2024-05"] * len(profiles), pa.string()),
        "known_from": pa.array([at(m) for _, m, _, _ in profiles], TIME),
        "created": pa.array([at(m) for *_, m in profiles], TIME),
    }
    return [pa.table(log), pa.table({**place, "action": words, "platform": words, "lifecycle": words}), pa.table(known)]


def labels(*actions: tuple[str, float, str]) -> dict[float, bool]:
    """The label of each of user `a`'s actions by its minute; someone else acts much later: no row is left out."""
    frame = training_frame(*tables([*actions, ("z", 10_000, "home")]))
    return {(t - NOON.timestamp() * 1000) / 60_000: bool(label) for t, label in zip(frame.time.tolist(), frame.label, strict=True)}


def test_an_action_is_labelled_by_a_purchase_within_the_next_thirty_minutes() -> None:
    bought = ("a", 40.0, "purchase")
    assert labels(("a", 9.99, "home"), ("a", 10.0, "home"), ("a", 39.9, "home"), bought) == {
        9.99: False,
        10.0: True,
        39.9: True,
        40.0: False,
    }


def test_a_purchase_at_the_same_moment_is_not_later() -> None:
    assert labels(("a", 5.0, "cart"), ("a", 5.0, "purchase")) == {5.0: False}


def test_a_purchase_is_labelled_by_the_next_one_only() -> None:
    assert labels(("a", 0.0, "purchase"), ("a", 20.0, "purchase")) == {0.0: True, 20.0: False}


def test_another_users_purchase_labels_nothing() -> None:
    assert labels(("a", 0.0, "cart"), ("b", 10.0, "purchase")) == {0.0: False, 10.0: False}


def test_a_purchase_that_the_log_brought_earlier_but_happened_later_still_counts() -> None:
    assert labels(("a", 10.0, "purchase"), ("a", 5.0, "cart")) == {5.0: True, 10.0: False}


def test_a_label_is_known_when_the_log_brought_the_purchase_or_when_the_half_hour_is_over() -> None:
    actions: list[tuple[str, float, str | None]] = [
        ("a", 0.0, "home"),
        ("b", 0.5, "home"),
        ("a", 10.0, "purchase"),
        ("a", 10.0, "purchase"),
        ("c", 12.0, "late"),
        ("z", 99.0, "home"),
    ]
    frame = training_frame(*tables(actions, created=[0, 0.5, 45, 44, 90, 99]))
    minutes = ((frame.known - NOON.timestamp() * 1000) / 60_000).tolist()
    assert frame.label.tolist() == [True, False, False, False, False]
    assert minutes == [44, 30.5, 45, 44, 90]


def test_an_action_that_does_not_say_when_it_became_known_did_at_its_time() -> None:
    frame = training_frame(*tables([("a", 0, "home"), ("a", 10, "purchase"), ("z", 99, "home")]))
    assert ((frame.known - NOON.timestamp() * 1000) / 60_000).tolist() == [10, 40]


def test_rows_whose_thirty_minutes_reach_beyond_the_data_are_left_out() -> None:
    frame = training_frame(*tables([("a", 0, "home"), ("a", 10, "home"), ("a", 10.01, "home"), ("b", 40, "home")]))
    assert len(frame.time) == 2


def test_the_profile_is_the_newest_that_was_known_at_the_action() -> None:
    profiles = [
        ("a", 5.0, "email", 5.0),
        ("a", 20.0, "social", 20.0),
        ("a", 20.0, "direct", 21.0),
        ("b", -731 * 1440.0, "organic", 0.0),
    ]
    actions: list[tuple[str, float, str | None]] = [
        ("a", 4.0, "x"),
        ("a", 5.0, "x"),
        ("a", 19.0, "x"),
        ("a", 25.0, "x"),
        ("b", 26.0, "x"),
    ]
    frame = training_frame(*tables([*actions, ("z", 99.0, "x")], profiles))
    assert frame.columns["user_profile:channel"] == [None, "email", "email", "direct", None]
    assert frame.columns["user_profile:cohort"] == [None, "2024-05", "2024-05", "2024-05", None]


def test_nulls_stay_nulls_and_counts_stay_whole() -> None:
    frame = training_frame(*tables([("a", 0, None), ("a", 1, "home"), ("z", 99, "home")]))
    assert frame.columns["action:action"] == [None, "home"]
    seconds = frame.columns["user_activity:seconds_since_action"]
    assert isinstance(seconds, np.ndarray)
    assert np.isnan(seconds[0])
    assert seconds[1] == 1.5
    assert list(frame.columns[f"user_activity:{FEATURES[0]}"]) == [0.0, 1.0]


def test_every_feature_and_field_that_the_scoring_path_offers_is_a_column() -> None:
    frame = training_frame(*tables([("a", 0, "home"), ("z", 99, "home")]))
    expected = [f"user_activity:{name}" for name in FEATURES]
    expected += ["action:action", "action:platform", "action:lifecycle", "user_profile:channel", "user_profile:cohort"]
    assert list(frame.columns) == expected


def test_the_order_of_the_tables_rows_does_not_matter() -> None:
    made = tables(
        [("a", 0, "home"), ("b", 0, "cart"), ("a", 0, "purchase"), ("z", 99, "home")],
        [("a", 0, "email", 0), ("b", 0, "x", 0)],
    )
    turned = [table.take(list(reversed(range(len(table))))) for table in made]
    one, other = training_frame(*made), training_frame(*turned)
    assert as_text(one) == as_text(other)


def as_text(frame: Frame) -> str:
    return repr([(source, list(column)) for source, column in frame.columns.items()]) + repr((frame.time.tolist(), frame.label.tolist()))


def test_a_refused_action_is_neither_a_row_nor_a_label() -> None:
    log, actions, profiles = tables([("a", 0, "home"), ("a", 5, "purchase"), ("z", 99, "home")])
    without_the_purchase = log.take([0, 2])
    frame = training_frame(without_the_purchase, actions, profiles)
    assert frame.label.tolist() == [False]


def test_tables_without_a_common_action_are_refused() -> None:
    log, actions, profiles = tables([("a", 0, "home")])
    with pytest.raises(
        TablesDisagree,
        match=r"feature_log \(0 rows\) and user_actions \(1 rows\): .* got none; run jobs/rebuild_features",
    ):
        training_frame(log.slice(0, 0), actions, profiles)


def test_an_action_with_two_feature_rows_is_refused() -> None:
    log, actions, profiles = tables([("a", 0, "home")])
    with pytest.raises(TablesDisagree, match="each once, got one twice"):
        training_frame(pa.concat_tables([log, log]), actions, profiles)


@pytest.mark.parametrize(("name", "version"), [("../evil", None), ("", None), ("A", None), ("a\n", None), ("buys", "../1"), ("buys", "0")])
def test_a_name_that_may_not_name_a_folder_is_refused_before_a_table_is_read(tmp_path: Path, name: str, version: str | None) -> None:
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state")})
    with pytest.raises(ModelRefused, match=r"is no (name|version) of a model; expected"):
        main(settings, name, version, tmp_path / "published")
    assert list(tmp_path.iterdir()) == []


def test_a_profile_that_does_not_say_from_when_it_was_known_is_not_used() -> None:
    log, actions, profiles = tables([("a", 0, "home"), ("z", 99, "home")], [("a", -5, "email", 0)])
    unknown = pa.table({name: profiles[name] if name != "known_from" else pa.nulls(1, TIME) for name in profiles.column_names})
    assert training_frame(log, actions, unknown).columns["user_profile:channel"] == [None]
    assert training_frame(log, actions, pa.concat_tables([unknown, profiles])).columns["user_profile:channel"] == ["email"]
