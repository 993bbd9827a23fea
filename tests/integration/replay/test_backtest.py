"""A backtest over real tables: what it tells is what a plain count tells, and the same command tells the same later."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import orjson
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from infra.config import ROOT, Settings
from infra.errors import StreamhouseError
from jobs.backtest.command import Order, main
from jobs.clickstream import Row, open_clickstream, rows
from lakehouse import migrate
from lakehouse.archives import of_actions
from lakehouse.tables import TABLES
from models.outcome import HORIZON, LABEL
from tests.evolved import own, with_version
from tests.histories import Kept, Made, answered, log_of, profiles_of, put
from tests.integration.replay.conftest import GOOD, a_lake, real_profiles, some_rows, with_profiles
from tests.lake import rewrite_records
from tests.unit.models.builders import a_folder, a_manifest

ORDER = Order("purchase_30m@1", None, None, False, None, None, None, seed=1, resamples=20, out=None)


def told(settings: Settings, folder: Path, **changes: object) -> dict[str, bytes]:
    """The files of a backtest's report."""
    main(settings, replace(ORDER, out=folder, **changes), as_json=False)  # type: ignore[arg-type]
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def plain(made: Made, end_of: dict[int, int]) -> list[tuple[float, bool]]:
    """Published scores with their labels, counted one by one: purchases after, within half an hour, of whoever acted."""
    events = [(a._partition, orjson.loads(a._value or b"")) for a in made.topics["user-actions"] if a._value != b"no json"]
    moments = [(p, e["data"]["userId"], np.datetime64(e["timestamp"][:-1], "ms").astype(np.int64), e["data"]["action"]) for p, e in events]
    bought: dict[str, list[int]] = {}
    for _, user, time, action in moments:
        if action == "purchase":
            bought.setdefault(user, []).append(int(time))
    scores = {(d := orjson.loads(p._value or b"")["data"])["actionId"]: d["score"] for p in made.topics["predictions"]}
    return [
        (scores[event["eventId"]], any(time < buy <= time + HORIZON for buy in bought.get(user, [])))
        for (partition, event), (_, user, time, _) in zip(events, moments, strict=True)
        if time + HORIZON <= end_of[partition]
    ]


def test_the_model_that_published_is_told_as_a_plain_count_tells_it(made: tuple[Settings, Made], tmp_path: Path) -> None:
    settings = with_profiles(a_lake(tmp_path, made[1]))
    report = orjson.loads(told(settings, tmp_path / "out")["report.json"])
    ends: dict[int, int] = {}
    for action in made[1].topics["user-actions"]:
        if action._value != b"no json":
            time = int(np.datetime64(orjson.loads(action._value or b"")["timestamp"][:-1], "ms").astype(np.int64))
            ends[action._partition] = max(time, ends.get(action._partition, 0))
    by_hand = plain(made[1], ends)
    comparison, about = report["comparison"], report["about"]
    assert comparison["counts"]["compared"] == len(by_hand)
    assert comparison["counts"]["positives"] == sum(label for _, label in by_hand)
    auc = roc_auc_score([label for _, label in by_hand], [score for score, _ in by_hand])
    assert comparison["champion"]["metrics"]["auc"]["value"] == pytest.approx(auc, abs=1e-5)
    # the champion is the candidate: folded again, it gives what was published, to the bit
    assert comparison["changes"] == []
    assert comparison["difference"]["auc"]["value"] == 0
    assert about["folded"] == GOOD + about["left_out"]["is no action (a dead letter)"]


def test_the_same_command_tells_the_same_after_new_data_and_compaction(made: tuple[Settings, Made], tmp_path: Path) -> None:
    settings = with_profiles(a_lake(tmp_path, made[1]))
    before = told(settings, tmp_path / "before")
    for table in ("user_actions", "predictions"):
        rewrite_records(settings, table)
    put(settings, answered(settings, moved(log_of(later_rows(), 5)), 6, profiles_of(real_profiles())))
    with_profiles(settings)
    for table in ("user_actions", "predictions"):
        rewrite_records(settings, table)
    assert told(settings, tmp_path / "after") == before
    renewed = orjson.loads(told(settings, tmp_path / "renewed", renew=True)["report.json"])
    assert renewed["about"]["folded"] > orjson.loads(before["report.json"])["about"]["folded"]


def test_a_candidate_may_want_features_that_were_never_served(tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(ROOT / "models" / "published" / "purchase_30m", root / "models" / "published" / "purchase_30m")
    training = msgspec.structs.replace(a_manifest().training, label=LABEL)
    a_folder(root / "models" / "published" / "buys" / "1", training=training)
    settings = replace(a_lake(tmp_path, Made()), root=root)
    small = answered(settings, log_of(some_rows()[:600], 1), 2, {}, lambda _, __: "buys@1")
    assert len(orjson.loads(small.topics["predictions"][0]._value or b"")["data"]["features"]) == 2
    put(settings, small)
    report = orjson.loads(told(settings, tmp_path / "out")["report.json"])["comparison"]
    assert report["champion"]["name"] == "buys@1"
    # what the candidate says is what the stream would have published with it
    asked = answered(settings, log_of(some_rows()[:600], 1), 9, {})
    said = [orjson.loads(p._value or b"")["data"]["score"] for p in asked.topics["predictions"]]
    change = max(report["changes"], key=lambda one: abs(one["candidate"] - one["champion"]))
    assert any(score == pytest.approx(change["candidate"], abs=1e-6) for score in said)
    named = orjson.loads(told(settings, tmp_path / "named", champion="buys@1")["report.json"])["comparison"]
    assert named["champion"]["metrics"] == report["champion"]["metrics"]


def test_fields_that_a_newer_version_renamed_name_the_same_actions(
    made: tuple[Settings, Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    shutil.copytree(ROOT / "models" / "published" / "purchase_30m", root / "models" / "published" / "purchase_30m")
    a_folder(root / "models" / "published" / "buys" / "1", training=msgspec.structs.replace(a_manifest().training, label=LABEL))
    settings = replace(with_profiles(a_lake(tmp_path, made[1])), root=root)
    before = told(settings, tmp_path / "before", model="buys@1")
    named = orjson.loads(before["report.json"])["about"]["largest"]
    assert {one["user_id"] for one in named} - {"None"}
    assert {one["action"] for one in named} - {None}
    contracts = with_version(own(), {"userId": "actorId", "action": "kind"}, {}, {})
    monkeypatch.setitem(TABLES, "user_actions", of_actions(contracts))
    planned = [change.detail for change in migrate.apply(settings, {"user_actions": TABLES["user_actions"]})]
    assert {"rename column user_id to actor_id", "rename column action to kind"} <= set(planned)
    assert told(settings, tmp_path / "after", model="buys@1") == before
    rewrite_records(settings, "user_actions")
    renewed = orjson.loads(told(settings, tmp_path / "renewed", model="buys@1", renew=True)["report.json"])
    assert renewed["about"]["largest"] == named


def test_what_a_model_learned_from_is_left_out_unless_it_is_asked_for(made: tuple[Settings, Made], tmp_path: Path) -> None:
    settings = with_profiles(a_lake(tmp_path, made[1]))
    alone = orjson.loads(told(settings, tmp_path / "alone")["report.json"])
    assert alone["about"]["learned_from"] == alone["comparison"]["counts"]["compared"]  # nothing else is left: that is said
    assert "while a model still learned" in (tmp_path / "alone" / "report.html").read_text("utf-8")
    days = [day["value"] for day in alone["comparison"]["days"]]
    middle = days[len(days) // 2]

    root = tmp_path / "root"
    folder = root / "models" / "published" / "purchase_30m"
    shutil.copytree(ROOT / "models" / "published" / "purchase_30m", folder)
    card = yaml.safe_load((folder / "1" / "manifest.yaml").read_text("utf-8"))
    first, last = "2024-01-01T00:00:00Z", f"{middle}T00:00:00Z"
    card["training"]["split"] = {"train": [first, first], "validation": [first, last], "test": [last, "2030-01-01T00:00:00Z"]}
    (folder / "1" / "manifest.yaml").write_text(yaml.safe_dump(card, sort_keys=False), "utf-8")
    settings = replace(settings, root=root)
    fresh = orjson.loads(told(settings, tmp_path / "fresh")["report.json"])
    assert [day["value"] for day in fresh["comparison"]["days"]] == days[len(days) // 2 :]
    assert fresh["about"]["learned_from"] == 0
    (left_out,) = [count for why, count in fresh["about"]["left_out"].items() if "while a model still learned" in why]
    asked = orjson.loads(told(settings, tmp_path / "asked", from_time="2024-01-01")["report.json"])
    assert asked["comparison"] == alone["comparison"]
    assert asked["about"]["learned_from"] == left_out > 0


def test_other_choices_on_one_history_are_another_report() -> None:
    both: dict[str, object] = {"tag": "t", "champion": "a@1"}
    changes: list[dict[str, object]] = [{}, {"from_time": "2024-01-02"}, {"champion": "a@1"}, {"tag": "t"}, both, {"seed": 2}]
    folders = [replace(ORDER, resamples=200, **change).folder for change in changes]  # type: ignore[arg-type]
    assert folders[0] == "backtest-purchase_30m@1"
    assert len(set(folders)) == len(folders)
    assert all(re.fullmatch(r"[\w@.-]+", folder) for folder in [*folders, replace(ORDER, from_time="2024-01-02T03:04:05Z").folder])


def test_a_range_without_actions_is_refused_and_the_report_stays(made: tuple[Settings, Made], tmp_path: Path) -> None:
    settings = with_profiles(a_lake(tmp_path, made[1]))
    before = told(settings, tmp_path / "out")
    with pytest.raises(StreamhouseError, match="lies outside the chosen times; choose other times"):
        told(settings, tmp_path / "out", from_time="2031-01-01")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_labels_that_became_known_later_do_not_count(made: tuple[Settings, Made], tmp_path: Path) -> None:
    settings = with_profiles(a_lake(tmp_path, made[1]))
    whole = orjson.loads(told(settings, tmp_path / "whole")["report.json"])
    days = [day["value"] for day in whole["comparison"]["days"]]
    early = orjson.loads(told(settings, tmp_path / "early", tag="t", known_by=days[len(days) // 2])["report.json"])
    assert 0 < early["comparison"]["counts"]["compared"] < whole["comparison"]["counts"]["compared"]
    assert max(day["value"] for day in early["comparison"]["days"]) < days[len(days) // 2]


def test_what_cannot_be_compared_is_refused_in_a_sentence(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(StreamhouseError, match="published are"):
        told(settings, tmp_path / "out", model="purchase_30m@99")
    root = tmp_path / "root"
    a_folder(root / "models" / "published" / "buys" / "1")
    with pytest.raises(StreamhouseError, match="expected one that predicts that the user purchases"):
        told(replace(settings, root=root), tmp_path / "out", model="buys@1")
    (tmp_path / "file").write_text("in the way", "utf-8")
    with pytest.raises(StreamhouseError, match="name another with --out"):
        told(settings, tmp_path / "file" / "out", tag="u")


def later_rows() -> list[Row]:
    """Actions after those of the history."""
    return list(islice(rows(open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz")), 2000, 2200))


def moved(log: dict[int, list[Kept]]) -> dict[int, Sequence[Kept]]:
    """The same records at offsets behind those of the history."""
    return {partition: [replace(record, _offset=record._offset + 100_000) for record in records] for partition, records in log.items()}
