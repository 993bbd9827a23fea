"""Readers beside a worker, on a real broker: they wait for what it decides, and write down nothing that it may yet decide otherwise."""

from __future__ import annotations

import json
import threading
import time

import pytest

from infra.config import Settings
from infra.contracts.decisions import Known, Unknown
from infra.contracts.framing import AVRO, WriterSchema, frame
from jobs.followed_decisions import FollowedDecisions, UndecidedError, once_decided
from jobs.schema_history import decisions, decisions_in_topic
from tests.brokers import empty_topics
from tests.integration.registry_clients.test_schema_ids import ACTIONS, PARTITION, PLAIN, avro, put, records
from tests.unit.contracts.test_framing import USER_ACTION

KNOWN = Known(ACTIONS, PARTITION, 5, 7, WriterSchema(AVRO, json.dumps(USER_ACTION)))


@pytest.fixture
def settings(broker: Settings) -> Settings:
    empty_topics(broker)
    return broker


def test_a_reader_waits_until_the_worker_has_decided(settings: Settings) -> None:
    followed = FollowedDecisions(settings, ACTIONS, 30)
    assert followed.settled([(PARTITION, 0), (PARTITION, 1)], [PLAIN, None]), "plain ones wait for nobody"
    later = threading.Timer(1.5, put, (settings, Unknown(ACTIONS, PARTITION, 3), KNOWN))
    later.start()
    began = time.monotonic()
    followed.expect(records(3, [avro(7), PLAIN, avro(7)]))
    assert time.monotonic() - began > 1
    later.join()
    places = [(PARTITION, offset) for offset in (3, 4, 5)]
    refused, plain, framed = followed.plain(places, [avro(7), PLAIN, avro(7)])
    assert (refused, plain) == (None, PLAIN)
    assert json.loads(framed or b"")["data"]["userId"] == "user_0001"
    assert followed.plain([(PARTITION, 6)], [frame(7, b"\2")]) == [None]


def test_it_waits_in_vain_for_a_while_and_then_not_at_each_record(settings: Settings) -> None:
    followed = FollowedDecisions(settings, ACTIONS, 1.5)
    began = time.monotonic()
    assert not followed.settled([(PARTITION, 9)], [avro(7)])
    first = time.monotonic() - began
    assert first >= 1.5
    for offset in range(10, 30):
        assert followed.plain([(PARTITION, offset)], [avro(7)]) == [None]
    assert time.monotonic() - began - first < 0.5
    with pytest.raises(UndecidedError, match="score_events has yet to decide"):
        followed.expect(records(9, [avro(7)]))
    # the worker is back: the next record is waited for again
    put(settings, Unknown(ACTIONS, PARTITION, 29))
    time.sleep(1.1)
    later = threading.Timer(0.7, put, (settings, Unknown(ACTIONS, PARTITION, 30)))
    later.start()
    assert followed.settled([(PARTITION, 30)], [avro(7)])
    later.join()


def test_what_was_answered_before_there_were_decisions_waits_for_none(settings: Settings) -> None:
    followed = FollowedDecisions(settings, ACTIONS, 0, lambda partition: 10 if partition == PARTITION else 0)
    assert followed.settled([(PARTITION, offset) for offset in (0, 9)], [avro(7), avro(8)])
    assert not followed.settled([(PARTITION, 10)], [avro(7)])


def test_a_record_that_may_yet_be_accepted_is_written_down_by_nobody(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.followed_decisions._SCORER_SECONDS", 0.5)
    schemas = once_decided(settings, ACTIONS, lambda _: 0)
    with pytest.raises(UndecidedError):
        schemas.schema_at(ACTIONS, PARTITION, 6, 7)
    put(settings, KNOWN, Unknown(ACTIONS, PARTITION, 8))
    schemas = once_decided(settings, ACTIONS, lambda _: 0)
    assert schemas.schema_at(ACTIONS, PARTITION, 6, 7) == KNOWN.schema
    assert schemas.schema_at(ACTIONS, PARTITION, 4, 7) is None
    assert schemas.schema_at(ACTIONS, PARTITION, 8, 9) is None
    assert decisions(settings) == decisions_in_topic(settings)
