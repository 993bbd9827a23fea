"""Predictions of real tables explained without a broker: each comes out again, and what it is made of is what is there."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any
from urllib.parse import urlsplit

import orjson
import pyarrow.parquet as pq
import pytest

from infra.config import Settings, load_settings
from jobs.clickstream import Row
from jobs.dead_letter import answer_id
from jobs.why import command
from jobs.why.explain import Explainer
from jobs.why.explanation import Explanation
from jobs.why.named import Unexplained
from lakehouse import migrate
from models.manifest import load_manifest
from tests import audited
from tests.histories import Made, answered, log_of, put
from tests.integration.replay.conftest import PLANTED, a_lake, with_profiles
from tests.integration.replay.test_refolded import CASES as REFOLDED
from tests.integration.why.conftest import nobody_listens
from tests.lake import rewrite_records
from tests.planted import CASES, plant_each


def said(made: Made, number: int) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(made.topics["predictions"][number]._value or b"")
    return event


def test_any_prediction_comes_out_again_by_each_of_its_names(explainer: Explainer, made: tuple[Settings, Made]) -> None:
    rng, count = random.Random(3), len(made[1].topics["predictions"])
    for number in rng.sample(range(count), 60):
        event = said(made[1], number)
        data = event["data"]
        place = f"{data['actionPartition']}:{data['actionOffset']}"
        found = explainer.explain(event["eventId"])
        assert found.again.is_equal, found.again
        assert found == explainer.explain(place) == explainer.explain(data["actionId"])
        check_parts(found, data)


def check_parts(found: Explanation, data: dict[str, Any]) -> None:
    """Every number against what the prediction says of itself."""
    assert str(found.action.place) == f"{data['actionPartition']}:{data['actionOffset']}"
    assert [feature.value for feature in found.features] == data["features"]
    manifest = load_manifest(found.model.path.parent)
    assert [f"{feature.view}:{feature.field}" for feature in found.features] == [one.source for one in manifest.inputs]
    assert found.model.sha256_on_disk == found.model.sha256 == data["model"]["sha256"]
    values = {f"{feature.view}:{feature.field}": feature for feature in found.features}
    event = found.action.event
    assert event is not None
    assert values["action:action"].means in (event.data.action, "none of the model's words")
    row = found.activity
    for name, window in row.windows.items():
        assert values[f"user_activity:actions_{name}"].value == window.actions == sum(name in one.windows for one in row.counted)
        bought = [one for one in row.counted if name in one.windows and one.what == "purchase"]
        assert values[f"user_activity:purchases_{name}"].value == len(bought)
    assert (None if row.previous is None else row.previous.place.offset) == row.said_offset == data["rows"]["user_activity"]["offset"]
    assert all(one.place.offset < data["actionOffset"] for one in row.counted)
    known_from = data["rows"]["user_profile"]["time"]
    assert found.profile.known_from == known_from
    assert (found.profile.values is None) == (known_from is None)
    if found.profile.values is not None:
        assert values["user_profile:channel"].means == found.profile.values["channel"]


def test_file_snapshot_and_receipt_are_those_that_hold_the_record(explainer: Explainer, made: tuple[Settings, Made]) -> None:
    for number in (0, PLANTED, len(made[1].topics["predictions"]) - 1):
        found = explainer.explain(said(made[1], number)["eventId"])
        for held, partition, offset in (
            (found.action.held, found.action.place.partition, found.action.place.offset),
            (found.said.held, found.said.partition, found.said.offset),
        ):
            assert held is not None
            file = pq.read_table(urlsplit(held.file).path)
            assert len(file) == held.file_records
            assert (partition, offset) in zip(file["topic_partition"].to_pylist(), file["topic_offset"].to_pylist(), strict=True)
            (receipt,) = held.receipts
            assert held.added_by is not None
            assert (receipt.snapshot_id, receipt.topic_partition) == (held.added_by.snapshot_id, partition)
            assert receipt.first_offset is not None
            assert receipt.last_offset is not None
            assert receipt.first_offset <= offset <= receipt.last_offset


def test_without_a_broker_the_readers_are_those_of_the_contract(explainer: Explainer, made: tuple[Settings, Made]) -> None:
    consumers = explainer.explain(said(made[1], 0)["eventId"]).consumers
    assert "archive_topics" in consumers.declared
    assert consumers.groups == "no broker listens at 127.0.0.1:1"


def test_merged_files_keep_the_receipt_of_the_append(made: tuple[Settings, Made], tmp_path: Path) -> None:
    settings = nobody_listens(with_profiles(a_lake(tmp_path, made[1])))
    event = said(made[1], PLANTED)["eventId"]
    before = Explainer(settings).explain(event).said.held
    rewrite_records(settings, "predictions")
    after = Explainer(settings).explain(event)
    assert after.again.is_equal
    assert before is not None
    assert before.added_by is not None
    held = after.said.held
    assert held is not None
    assert held.added_by is not None
    assert held.added_by == held.read_at
    assert (held.added_by.operation, before.added_by.operation) == ("replace", "append")
    assert held.file != before.file
    assert held.receipts == before.receipts


def test_each_planted_difference_is_named(made: tuple[Settings, Made], tmp_path: Path) -> None:
    mine = copy.deepcopy(made[1])
    places = plant_each(mine, PLANTED)
    explainer = Explainer(nobody_listens(with_profiles(a_lake(tmp_path, mine))))
    for kind, (_, cause) in CASES.items():
        name = f"{places[kind][0]}:{places[kind][1]}"
        if kind == "answer":  # its prediction names no action any more
            with pytest.raises(Unexplained, match="has no answer in the tables"):
                explainer.explain(name)
            continue
        again = explainer.explain(name).again
        assert not again.is_equal
        assert any(one.kind == kind and cause in one.sentence for one in again.differences), (kind, again.differences)


def test_each_difference_from_the_users_history_is_named(made: tuple[Settings, Made], tmp_path: Path) -> None:
    mine = copy.deepcopy(made[1])
    predictions, names = mine.topics["predictions"], {}
    for number, (kind, (change, _)) in enumerate(REFOLDED.items()):
        event = orjson.loads(predictions[PLANTED + number]._value or b"")
        change(event["data"])
        predictions[PLANTED + number] = replace(predictions[PLANTED + number], _value=orjson.dumps(event))
        names[kind] = event["eventId"]
    explainer = Explainer(nobody_listens(with_profiles(a_lake(tmp_path, mine))))
    for kind, (_, cause) in REFOLDED.items():
        again = explainer.explain(names[kind]).again
        assert again.folded is False
        assert any(one.kind == kind and cause in one.sentence for one in again.differences), (kind, again.differences)


def test_an_earlier_action_that_is_gone_is_seen_though_the_prediction_agrees_with_itself(
    made: tuple[Settings, Made], tmp_path: Path
) -> None:
    mine = copy.deepcopy(made[1])
    event = said(mine, PLANTED)
    data = event["data"]
    earlier = data["actionPartition"], data["rows"]["user_activity"]["offset"]
    actions = mine.topics["user-actions"]
    mine.topics["user-actions"] = [one for one in actions if (one._partition, one._offset) != earlier]
    assert len(mine.topics["user-actions"]) == len(actions) - 1
    again = Explainer(nobody_listens(with_profiles(a_lake(tmp_path, mine)))).explain(event["eventId"]).again
    assert (again.as_served, again.folded) == (True, False)
    assert any("the online store served another than the log gives" in one.sentence for one in again.differences)


def test_another_file_in_the_models_place_is_named_with_both_hashes(lake: Settings, made: tuple[Settings, Made], tmp_path: Path) -> None:
    copytree(lake.root / "models" / "published", tmp_path / "models" / "published")
    file = tmp_path / "models" / "published" / "purchase_30m" / "1" / "model.onnx"
    file.write_bytes(file.read_bytes() + b"\0")
    found = Explainer(replace(lake, root=tmp_path)).explain(said(made[1], 0)["eventId"])
    assert found.model.sha256_on_disk not in (None, found.model.sha256)
    assert "must have sha256" in found.model.fault
    assert (found.again.as_served, found.again.folded) == (None, None)
    assert [one.kind for one in found.again.differences] == ["model"]
    file.unlink()
    assert Explainer(replace(lake, root=tmp_path)).explain(said(made[1], 0)["eventId"]).model.sha256_on_disk is None


def test_what_is_no_prediction_is_told(explainer: Explainer, made: tuple[Settings, Made]) -> None:
    refused = next(one for one in made[1].topics["user-actions"] if one._value == b"no json")
    letter = answer_id("user-actions", refused._partition, refused._offset)
    with pytest.raises(Unexplained, match=f"dead letter {letter} answers it, refused by step decode as invalid_json"):
        explainer.explain(letter)
    end = max(one._offset for one in made[1].topics["user-actions"] if one._partition == 0)
    with pytest.raises(Unexplained, match=f"the archive holds offsets 0 to {end} of partition 0"):
        explainer.explain("0:99999999")
    with pytest.raises(Unexplained, match="no archived action has this event id"):
        explainer.explain("00000000-0000-4000-8000-000000000000")


def test_an_event_id_that_came_twice_asks_for_a_place(made: tuple[Settings, Made], tmp_path: Path) -> None:
    mine = copy.deepcopy(made[1])
    actions = mine.topics["user-actions"]
    event = said(mine, PLANTED)["data"]
    first = next(one for one in actions if (one._partition, one._offset) == (event["actionPartition"], event["actionOffset"]))
    actions.append(replace(first, _offset=10_000_000))
    explainer = Explainer(nobody_listens(with_profiles(a_lake(tmp_path, mine))))
    places = f"{event['actionPartition']}:{event['actionOffset']}, {event['actionPartition']}:10000000"
    with pytest.raises(Unexplained, match=f"2 have it; name one by its place: {places}"):
        explainer.explain(event["actionId"])
    with pytest.raises(Unexplained, match="has no answer in the tables"):
        explainer.explain(f"{event['actionPartition']}:10000000")


def test_users_whose_names_are_no_words_are_found(tmp_path: Path) -> None:
    """What stands in a filter of the table must not be taken for a part of it."""
    users = ["o'hara", 'say "x" or 1 = 1', "ä\u2028\\", "%_' and user_id != ''"]
    rows = [Row(number, user, 1_704_499_200_000, audited.action(user, number).value or b"") for number, user in enumerate(users * 5)]
    settings = nobody_listens(load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state")}))
    migrate.apply(settings)
    written = answered(settings, log_of(rows, seed=1), 2, {})
    put(settings, written)
    explainer = Explainer(settings)
    found = [explainer.explain(said(written, number)["eventId"]) for number in range(len(rows))]
    assert all(one.again.is_equal for one in found)
    assert sorted((one.said.user_id, one.activity.earlier) for one in found) == sorted((user, n) for user in users for n in range(5))


def test_the_command_answers_with_its_exit_status(
    lake: Settings, made: tuple[Settings, Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    event = said(made[1], PLANTED)
    assert command.main(lake, event["eventId"], as_json=True) == command.EQUAL
    told = json.loads(capsys.readouterr().out)
    assert told["equal"] is True
    assert (told["consumers"]["groups"], told["consumers"]["groups_reason"]) == (None, "no broker listens at 127.0.0.1:1")
    assert told["action"]["event"]["eventId"] == event["data"]["actionId"]
    assert [feature["value"] for feature in told["features"]] == event["data"]["features"]
    assert command.main(lake, event["eventId"], as_json=False) == command.EQUAL
    words = capsys.readouterr().out
    for part in ("equal to the bit", event["data"]["actionId"], event["data"]["model"]["sha256"], "seconds_since_action", "receipt of"):
        assert part in words
    assert command.main(lake, "0:99999999", as_json=False) == command.COULD_NOT
    assert capsys.readouterr().err.startswith("error: 0:99999999: ")

    mine = copy.deepcopy(made[1])
    CASES["score"][0](mine, PLANTED)
    changed = nobody_listens(with_profiles(a_lake(tmp_path, mine)))
    assert command.main(changed, event["eventId"], as_json=False) == command.DIFFERS
    assert "score: published" in capsys.readouterr().out
    nowhere = replace(lake, lake=replace(lake.lake, folder=tmp_path / "nowhere"))
    assert command.main(nowhere, event["eventId"], as_json=False) == command.COULD_NOT
