"""The archive folded again against what was served, over real tables: equal to the byte, and each planted difference named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from features.memory_store import MemoryStore
from infra.config import Settings, load_settings
from jobs.folded_archive import EVERYTHING
from jobs.rebuild_features import feature_log
from jobs.replay.chosen import Chosen, chosen
from jobs.replay.history import pinned
from jobs.replay.refolded import Refolded
from jobs.replay.run import replay
from lakehouse.append import append
from lakehouse.read import snapshot
from tests.histories import Made, answered, log_of
from tests.integration.replay.conftest import GOOD, PLANTED, a_lake, real_profiles, some_rows, with_profiles
from tests.lake import rewrite_records


def refolded(settings: Settings, what: Chosen | None = None) -> Refolded:
    with pinned(settings, None, "replay-test") as history:
        outcome = replay(settings, history, what or Chosen(), 20_000, hands=0, fold=True).refolded
    assert outcome is not None
    return outcome


def answered_without_profiles() -> Made:
    return answered(load_settings({}), log_of(some_rows(), seed=1), 2, {})


def fill_log(settings: Settings, change: Callable[[pa.Table], pa.Table] = lambda rows: rows) -> None:
    pinned_actions = snapshot(settings, "user_actions")
    assert pinned_actions is not None
    rows = pa.concat_tables(feature_log(settings, pinned_actions, MemoryStore(), lambda _: EVERYTHING))
    append(settings, "feature_log", change(rows), "log")


def test_each_vector_and_each_row_of_the_log_comes_out_again(made: tuple[Settings, Made], tmp_path: Path) -> None:
    settings = with_profiles(a_lake(tmp_path, made[1]))
    fill_log(settings)
    outcome = refolded(settings)
    assert outcome.findings.total == 0, outcome.findings.kept[:3]
    assert outcome.vectors == outcome.equal == outcome.log_rows == outcome.log_equal == GOOD
    day = orjson.loads(made[1].topics["predictions"][PLANTED]._value or b"")["timestamp"][:10]
    of_day = refolded(settings, chosen(day, f"{day}T23:59:59.999Z", []))
    assert 0 < of_day.vectors == of_day.equal == of_day.log_rows < GOOD


def other_actions(data: dict[str, Any]) -> None:
    data["features"][15] += 3


def other_rows(data: dict[str, Any]) -> None:
    data["rows"]["user_activity"]["offset"] = 999_999


def other_profile(data: dict[str, Any]) -> None:
    data["rows"]["user_profile"]["time"] = "2023-01-01T00:00:00.000Z"


CASES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "user_activity:actions_7d": (other_actions, "changed after scoring"),
    "rows.user_activity.offset": (other_rows, "tells otherwise"),
    "rows.user_profile": (other_profile, "holds no row of user"),
    "score": (lambda data: data.update(score=0.123), "the same features and model purchase_30m@1 give another"),
    "flags": (lambda data: data.update(flags=["unknown_user", "late_action"]), "tells otherwise"),
}


def test_each_planted_difference_is_named_with_user_offset_feature_and_cause(made: tuple[Settings, Made], tmp_path: Path) -> None:
    mine = copy.deepcopy(made[1])
    places, predictions = {}, mine.topics["predictions"]
    for number, (field, (change, _)) in enumerate(CASES.items()):
        event = orjson.loads(predictions[PLANTED + number]._value or b"")
        change(data := event["data"])
        predictions[PLANTED + number] = replace(predictions[PLANTED + number], _value=orjson.dumps(event))
        places[field] = data["actionPartition"], data["actionOffset"], data["userId"]
    outcome = refolded(with_profiles(a_lake(tmp_path, mine)))
    assert outcome.equal == outcome.vectors - len(CASES)
    for field, (_, cause) in CASES.items():
        (found,) = [one for one in outcome.findings.kept if one.kind == field]
        assert (found.partition, found.offset) == places[field][:2]
        assert f"user {places[field][2]}" in found.sentence
        assert cause in found.sentence


def test_an_online_store_that_served_another_value_than_the_log_gives_is_named(made: tuple[Settings, Made], tmp_path: Path) -> None:
    mine = copy.deepcopy(made[1])
    predictions = mine.topics["predictions"]
    data = orjson.loads(predictions[PLANTED]._value or b"")["data"]
    actions = mine.topics["user-actions"]
    # one action of the user that the stream folded is not in the archive
    earlier = data["rows"]["user_activity"]["offset"]
    gone = next(i for i, a in enumerate(actions) if (a._partition, a._offset) == (data["actionPartition"], earlier))
    del actions[gone]
    outcome = refolded(with_profiles(a_lake(tmp_path, mine)))
    causes = {one.kind: one.sentence for one in outcome.findings.kept if one.offset == data["actionOffset"]}
    assert "the online store served another than the log gives" in causes["user_activity:actions_7d"]


def test_a_changed_row_of_the_log_is_named(made: tuple[Settings, Made], tmp_path: Path) -> None:
    settings = with_profiles(a_lake(tmp_path, made[1]))

    def change(rows: pa.Table) -> pa.Table:
        counts = rows["visits_7d"].to_pylist()
        counts[17] += 1
        return rows.set_column(rows.column_names.index("visits_7d"), "visits_7d", pa.array(counts, pa.int64()))

    fill_log(settings, change)
    outcome = refolded(settings)
    (found,) = outcome.findings.kept
    assert found.kind == "feature_log:visits_7d"
    assert outcome.log_equal == GOOD - 1
    assert outcome.equal == GOOD


def other_column(name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[pa.Table], pa.Table]:
    def changed(rows: pa.Table) -> pa.Table:
        values = pa.array(change(rows[name].to_pylist()), rows.schema.field(name).type)
        return rows.set_column(rows.column_names.index(name), name, values)

    return changed


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("kind", "change", "count"),
    [
        ("feature_log:created", other_column("created", lambda times: [time - DAY for time in times]), GOOD),
        ("feature_log:event_time", other_column("event_time", lambda times: [times[0] - DAY, *times[1:]]), 1),
        ("feature_log:user_id", other_column("user_id", lambda users: ["other", *users[1:]]), 1),
        ("feature_log:known_offset", other_column("known_offset", lambda offsets: [5 if o is None else o for o in offsets]), None),
        ("feature_log:late", other_column("late", lambda late: [not late[0], *late[1:]]), 1),
        ("feature_log", lambda rows: pa.concat_tables([rows.slice(0, 50), rows.slice(53)]), 3),
        ("feature_log", lambda rows: pa.concat_tables([rows, rows.slice(7, 2)]), 2),
    ],
    ids=["created", "event time", "user", "known offset", "late", "hole", "twice"],
)
def test_whatever_is_wrong_with_the_log_is_found(
    made: tuple[Settings, Made], tmp_path: Path, kind: str, change: Callable[[pa.Table], pa.Table], count: int | None
) -> None:
    settings = with_profiles(a_lake(tmp_path, made[1]))
    fill_log(settings, change)
    findings = refolded(settings).findings
    assert set(findings.counts) == {("predictions", kind)}
    assert findings.total == count or (count is None and findings.total > 0)


def test_a_log_that_ends_earlier_than_the_archive_is_equal_as_far_as_it_goes(made: tuple[Settings, Made], tmp_path: Path) -> None:
    settings = with_profiles(a_lake(tmp_path, made[1]))
    fill_log(settings, lambda rows: rows.filter(pc.less(rows["topic_offset"], 100)))
    outcome = refolded(settings)
    assert (outcome.findings.total, outcome.log_rows) == (0, outcome.log_equal)
    assert 0 < outcome.log_rows < GOOD


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("value", b'"version":1', b'"version": 1'),
        ("value", b'"version":1', b'"version":2,"version":1'),
        ("user_activity", b",0.0,", b",-0.0,"),
    ],
)
def test_a_prediction_in_other_bytes_is_a_difference(
    made: tuple[Settings, Made], tmp_path: Path, kind: str, old: bytes, new: bytes
) -> None:
    mine = copy.deepcopy(made[1])
    predictions = mine.topics["predictions"]
    value = predictions[PLANTED]._value or b""
    assert old in value
    predictions[PLANTED] = replace(predictions[PLANTED], _value=value.replace(old, new, 1))
    outcome = refolded(with_profiles(a_lake(tmp_path, mine)))
    assert outcome.equal == outcome.vectors - 1
    assert [found.kind.partition(":")[0] for found in outcome.findings.kept] == [kind]


def test_a_column_that_says_other_than_its_bytes_is_named(made: tuple[Settings, Made], tmp_path: Path) -> None:
    settings = with_profiles(a_lake(tmp_path, made[1]))
    place = []

    def change(rows: pa.Table) -> pa.Table:
        features = rows["features"].to_pylist()
        features[5][3] += 1.0
        place.append((rows["action_partition"][5].as_py(), rows["action_offset"][5].as_py()))
        return other_column("features", lambda _: features)(rows)

    rewrite_records(settings, "predictions", change)
    outcome = refolded(settings)
    (found,) = outcome.findings.kept
    assert (found.kind, found.partition, found.offset) == ("column features", *place[0])
    assert outcome.equal == GOOD  # the bytes are as they were


def test_profiles_that_came_into_the_online_store_later_are_counted(made: tuple[Settings, Made], tmp_path: Path) -> None:
    """Scored without profiles, which the table holds by now."""
    mine = copy.deepcopy(made[1])
    settings = a_lake(tmp_path, mine)
    outcome = refolded(settings)  # without profiles in the table each prediction that names one differs
    assert outcome.findings.total == outcome.vectors - outcome.equal > 0
    assert outcome.profiles_later == 0


def test_a_stale_profile_counts_where_the_prediction_says_so(tmp_path: Path) -> None:
    """The table holds a stale row of every user by now; none of them was in the online store when the actions were scored."""
    settings = a_lake(tmp_path, answered_without_profiles())
    users = real_profiles()["user_id"]
    known = pa.array([0] * len(users), pa.timestamp("us", "UTC"))
    append(settings, "user_profiles", pa.table({"user_id": users, "known_from": known, "created": known}), "profiles")
    outcome = refolded(settings)
    assert outcome.findings.total == 0, outcome.findings.kept[:3]
    assert outcome.vectors == GOOD
