"""The meter beside a stream that the real scoring path answers: silent while all is right, and loud about the feature that is not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import orjson
import pyarrow as pa
import pytest
from confluent_kafka import KafkaException

from features.enrich import Enricher
from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.stack import measured
from jobs import committed_records
from jobs.archived_log import LogCutError
from jobs.committed_records import read_all
from jobs.meter.run import Following
from lakehouse.append import append
from lakehouse.tags import histories
from tests.audited import Sent
from tests.brokers import empty_topics
from tests.histories import StoreWithProfiles
from tests.integration.meter.conftest import USERS, Place

SECONDS = 120.0


def look_until(following: Following, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < deadline
        following.look()
        following._told = -10.0  # told at each look, not every other second


def predictions(place: Place) -> int:
    return sum(1 for _ in read_all(place.settings, "predictions", load_contracts().topics["predictions"].partitions))


def test_what_is_served_as_the_log_gives_it_raises_no_alarm_wherever_the_log_is_read_from(place: Place) -> None:
    place.send(600, 1)
    place.scorer.answer()
    place.archive.follow_all()  # the archive ends here,
    place.cut(keep=20)  # and alone reaches back
    place.send(300, 2)
    place.scorer.answer()  # the topic behind it, answered before the meter begins
    place.send(200, 3)  # and not answered yet
    before = predictions(place)
    for seed in (4, 5):  # the second time as after a restart: it begins anew, and what was measured stays
        following = Following(place.settings)
        following.look()
        assert histories(place.settings, ["user_actions"]) == []
        place.send(200, seed)
        place.scorer.answer()
        expected = predictions(place) - before
        look_until(following, lambda expected=expected: place.measured().measured >= expected)  # type: ignore[misc]
        following.close()
        assert place.measured().measured == place.measured().equal == expected
        assert (place.measured().not_measured, place.measured().first) == (0, [])
    assert expected > 500


def test_a_wrong_prediction_is_named_with_its_feature_user_and_place(
    place: Place, following: Following, caplog: pytest.LogCaptureFixture
) -> None:
    place.send(300, 1)
    place.scorer.answer()
    following.look()
    place.send(300, 2)
    kept = place.scorer.answer(withhold=lambda partition, offset: offset % 2 == 0)
    at, (topic, sent) = next((at, made) for at, made in sorted(kept.items()) if made[0] == "predictions")
    event = orjson.loads(sent.value or b"")
    column = 15
    served = event["data"]["features"][column] + 3
    event["data"]["features"][column] = served
    place.say([(topic, Sent(sent.key, orjson.dumps(event))) if one == at else made for one, made in kept.items()])
    with caplog.at_level(logging.ERROR, "meter"):
        look_until(following, lambda: (known := measured.known(place.settings)) is not None and known.measured.differ > 0)
        look_until(following, lambda: place.measured().measured >= 280)
    found = place.measured()
    assert found.differ == 1
    (one,) = found.first
    assert one.field.startswith("user_activity:")
    assert (one.user, one.partition, one.offset, float(one.served)) == (event["data"]["userId"], *at, served)
    assert float(one.recomputed) == served - 3
    assert "changed after scoring" in one.cause
    assert [record.getMessage() for record in caplog.records if record.name == "meter"] == [one.sentence]


def test_answers_of_a_lost_transaction_are_not_heard_and_a_meter_that_stumbles_begins_anew(place: Place, following: Following) -> None:
    place.send(200, 1)
    following.look()
    kept = place.scorer.answer(withhold=lambda *_: True)
    wrong = []
    for topic, sent in kept.values():
        event = orjson.loads(sent.value or b"")
        event["data"]["score"] = 0.5
        wrong.append((topic, Sent(sent.key, orjson.dumps(event))))
    place.writer.send(wrong, commit=False)
    place.say(list(kept.values()))
    look_until(following, lambda: place.measured().measured >= predictions(place))
    assert (place.measured().differ, place.measured().not_measured) == (0, 0)

    before = predictions(place)
    assert following._begun is not None
    following._begun.actions.close()
    with pytest.raises(RuntimeError, match="Consumer closed"):
        following.look()
    following.look()  # folds again what it had folded, and hears no prediction twice
    place.send(200, 2)
    place.scorer.answer()
    look_until(following, lambda: place.measured().measured >= predictions(place))
    assert predictions(place) > before
    assert (place.measured().differ, place.measured().not_measured) == (0, 0)


def test_profiles_that_come_while_it_runs_are_read_before_anything_is_called_wrong(
    place: Place, following: Following, caplog: pytest.LogCaptureFixture
) -> None:
    """Two users are served a profile that the meter has not seen: the table holds the one by then, and never the other."""
    store = StoreWithProfiles(dict.fromkeys(USERS[:2], (1_672_531_200_000, ("web", "2024-01"))))
    place.scorer._enricher = Enricher(store, lambda *_: iter(()), lambda _: 0, lambda _: None, wait_seconds=0)
    place.send(200, 1)
    following.look()
    known = pa.array([1_672_531_200_000_000], pa.timestamp("us", "UTC"))
    row = {"user_id": [USERS[0]], "known_from": known, "created": known, "channel": ["web"], "cohort": ["2024-01"]}
    append(place.settings, "user_profiles", pa.table(row), "one")
    place.scorer.answer()
    catalog = place.settings.lake.database
    away = catalog.rename(catalog.with_suffix(".away"))
    deadline = time.monotonic() + SECONDS
    while not following._begun.meter.in_doubt:  # type: ignore[union-attr]
        assert time.monotonic() < deadline
        following.look()
    for _ in range(3):
        following.look()  # what differs waits, and is said once
    assert [record.getMessage().split(":")[0] for record in caplog.records if record.name == "meter"] == ["table `user_profiles`"]
    away.replace(catalog)
    look_until(following, lambda: place.measured().measured >= predictions(place))
    found = place.measured()
    assert {one.user for one in found.first} == {USERS[1]}
    assert {one.field for one in found.first} == {"rows.user_profile"}
    assert found.differ == found.counts["rows.user_profile"] > 0
    assert set(following._profiles.users) == {USERS[0]}


def test_a_topic_that_was_cut_before_it_was_archived_is_said_and_waited_for(place: Place) -> None:
    place.send(200, 1)
    place.cut(keep=5)
    clock = 100.0
    following = Following(place.settings, lambda: clock)
    with pytest.raises(LogCutError, match="start archive_topics earlier than retention cuts") as first:
        following.look()
    with pytest.raises(LogCutError) as second:
        following.look()
    assert second.value is first.value  # not tried again at once, and said once
    kept = measured.known(place.settings)
    assert kept is not None
    assert "partition 0: expected offsets 0 to " in kept.line(1, kept.doing.ms)
    assert kept.measured.alarm is None
    clock += 10.0
    with pytest.raises(LogCutError) as third:
        following.look()
    assert third.value is not first.value
    place.archive.follow_all()  # of what is left
    clock += 10.0
    with pytest.raises(LogCutError, match="start archive_topics earlier"):
        following.look()


def test_a_broker_that_is_away_is_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committed_records, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(committed_records, "_ASK_SECONDS", 0.2)
    nobody = replace(place.settings, kafka=replace(place.settings.kafka, port=1))
    following = Following(nobody)
    began = time.monotonic()
    with pytest.raises((KafkaException, TimeoutError)):
        following.look()
    assert time.monotonic() - began < 40
    kept = measured.known(nobody)
    assert kept is not None
    assert kept.doing.waits.startswith("the broker says: ")


def test_a_topic_that_ends_before_its_archive_is_said(place: Place, broker: Settings) -> None:
    place.send(100, 1)
    place.archive.follow("user-actions")
    empty_topics(broker)
    following = Following(place.settings)
    with pytest.raises(LogCutError, match="it was made anew or lost records"):
        following.look()
    assert histories(place.settings, ["user_actions"]) == []
