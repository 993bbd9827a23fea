"""Replay as served over real tables: all equal whatever the batches were, and each planted difference named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.replay.chosen import Chosen, chosen
from jobs.replay.history import pinned
from jobs.replay.run import Report, replay
from jobs.replay.served import Difference
from tests.histories import Kept, Made, put
from tests.integration.replay.conftest import ACTIONS, GOOD, PLANTED, a_lake
from tests.lake import rewrite_records
from tests.planted import CASES, changed, plant_each


def replayed(settings: Settings, what: Chosen | None = None, batch: int = 20_000, hands: int = 0) -> Report:
    with pinned(settings, None, "replay-test") as history:
        return replay(settings, history, what or Chosen(), batch, hands=hands)


@pytest.mark.parametrize("batch", [1, 7, 20_000])
def test_every_score_comes_out_again_whatever_the_batches_were(settings: Settings, batch: int) -> None:
    report = replayed(settings, batch=batch)
    assert report.is_equal, report.outcome.findings.kept[:3]
    assert report.outcome.actions == ACTIONS
    assert report.outcome.refused == ACTIONS // 50
    assert report.outcome.equal == GOOD
    assert report.tail == report.dead_letters == 0


def test_processes_come_to_the_same(settings: Settings) -> None:
    assert replayed(settings, hands=2).outcome == replayed(settings).outcome


def test_what_was_chosen_is_replayed_alone(settings: Settings, made: tuple[Settings, Made]) -> None:
    day = orjson.loads(made[1].topics["predictions"][PLANTED]._value or b"")["timestamp"][:10]
    whole, of_day = replayed(settings), replayed(settings, chosen(day, f"{day}T23:59:59.999Z", []))
    assert 0 < of_day.outcome.equal < whole.outcome.equal
    assert of_day.is_equal
    on_day = [p for p in made[1].topics["predictions"] if day.encode() in orjson.loads(p._value or b"")["timestamp"].encode()]
    assert of_day.outcome.equal == len(on_day)
    by_offset = replayed(settings, chosen(None, None, ["0:10-109"]))
    there = [r for r in made[1].topics["user-actions"] if r._partition == 0 and 10 <= r._offset < 110]
    assert by_offset.outcome.actions == len(there)
    assert by_offset.is_equal
    with pytest.raises(StreamhouseError, match="the history holds"):
        replayed(settings, chosen(None, None, ["99:1-2"]))


def test_compaction_changes_nothing(made: tuple[Settings, Made], tmp_path: Path) -> None:
    settings = a_lake(tmp_path, made[1])
    before = replayed(settings).outcome
    for table in ("user_actions", "predictions"):
        rewrite_records(settings, table)
    assert replayed(settings).outcome == before


def test_each_planted_difference_is_named_with_its_event_field_and_cause(made: tuple[Settings, Made], tmp_path: Path) -> None:
    mine = copy.deepcopy(made[1])
    places = plant_each(mine, PLANTED)
    outcome = replayed(a_lake(tmp_path, mine)).outcome
    found = {one.kind: one for one in outcome.findings.kept}
    assert outcome.findings.total == len(CASES) == len(found)
    assert outcome.equal == GOOD - len(CASES) + 1  # the one with two answers is equal, too
    for field, (_, cause) in CASES.items():
        one, (partition, offset, event_id, user_id) = found[field], places[field]
        assert isinstance(one, Difference)
        assert (one.partition, one.offset) == (partition, offset)
        assert cause in one.cause
        assert one.cause in one.sentence
        assert field == "answer" or (one.event_id, one.user_id) == (event_id, user_id)


def test_a_changed_feature_changes_the_score(made: tuple[Settings, Made], tmp_path: Path) -> None:
    mine = copy.deepcopy(made[1])
    changed(features=[7.0] * 29)(mine, PLANTED)
    report = replayed(a_lake(tmp_path, mine))
    assert [found.kind for found in report.outcome.findings.kept] == ["score"]


def test_predictions_that_cannot_be_read_may_fill_a_file_alone(made: tuple[Settings, Made], tmp_path: Path) -> None:
    mine = copy.deepcopy(made[1])
    settings = a_lake(tmp_path, mine)
    put(settings, Made({"predictions": [replace(mine.topics["predictions"][0], _offset=9_999_999, _value=b"junk")]}))
    report = replayed(settings)
    assert report.is_equal
    assert report.outcome.equal == GOOD


def without(made: Made, topic: str, drop: Callable[[Kept], bool]) -> Made:
    return Made({**made.topics, topic: [record for record in made.topics[topic] if not drop(record)]})


def answers(record: Kept) -> tuple[int, int]:
    data = orjson.loads(record._value or b"")["data"]
    return data["actionPartition"], data["actionOffset"]


def test_a_lost_prediction_is_named_however_narrowly_its_action_was_chosen(made: tuple[Settings, Made], tmp_path: Path) -> None:
    partition, offset = answers(made[1].topics["predictions"][PLANTED])
    settings = a_lake(tmp_path, without(made[1], "predictions", lambda record: answers(record) == (partition, offset)))
    for what in (Chosen(), Chosen(offsets={partition: (0, offset + 1)}), Chosen(offsets={partition: (offset, offset + 1)})):
        report = replayed(settings, what)
        assert not report.is_equal
        assert [(one.kind, one.offset) for one in report.outcome.findings.kept] == [("answer", offset)]
        assert report.tail == 0


def test_predictions_without_their_actions_are_differences_before_the_log_and_are_counted_behind_it(
    made: tuple[Settings, Made], tmp_path: Path
) -> None:
    of_one = [record for record in made[1].topics["user-actions"] if record._partition == 0]
    first, last = of_one[40]._offset, of_one[-40]._offset
    lost = {record._offset for record in of_one if not first <= record._offset < last}
    settings = a_lake(tmp_path, without(made[1], "user-actions", lambda record: record._partition == 0 and record._offset in lost))
    report = replayed(settings)
    answered = [offset for partition, offset in map(answers, made[1].topics["predictions"]) if partition == 0]
    assert report.outcome.findings.counts == {("predictions", "action"): sum(offset < first for offset in answered)}
    assert report.ahead == sum(offset >= last for offset in answered) > 0
    assert replayed(settings, Chosen(offsets={0: (first, last)})).ahead == 0


def test_a_partition_without_actions_is_counted_and_nothing_compared_is_not_equal(made: tuple[Settings, Made], tmp_path: Path) -> None:
    whole = replayed(made[0])
    gone = replayed(a_lake(tmp_path / "actions", without(made[1], "user-actions", lambda record: record._partition == 0)))
    assert gone.is_equal
    assert gone.compared + gone.ahead == whole.compared
    nothing = replayed(a_lake(tmp_path / "predictions", without(made[1], "predictions", lambda _: True)))
    assert (nothing.is_equal, nothing.compared, nothing.tail) == (False, 0, whole.compared)
