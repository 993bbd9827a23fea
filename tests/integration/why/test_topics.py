"""Predictions that are not archived yet, out of a real broker's topics, and who has read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from infra.config import Settings
from infra.contracts.decisions import Known, write_decision
from infra.contracts.framing import JSON, WriterSchema, frame
from infra.contracts.partitioner import partition_of
from jobs.dead_letter import answer_id
from jobs.why.explain import Explainer
from jobs.why.explanation import Explanation
from jobs.why.named import Unexplained
from jobs.why.tell import as_dict
from tests.audited import PARTITIONS, Archive, Scorer, Sent, Writer, action, audited_anew
from tests.integration.why.conftest import nobody_listens

USERS = [f"user_{number}" for number in range(8)]


class Running:
    """A broker with answered actions, and an archive that follows when it is told to."""

    def __init__(self, broker: Settings, folder: Path) -> None:
        self.settings = audited_anew(broker, folder)
        self.unarchived: Explanation | None = None
        self.shop, self.scorer, self.archive, self.sent = Writer(self.settings, "shop"), Scorer(self.settings), Archive(self.settings), 0

    def act(self, rounds: int) -> list[tuple[int, int]]:
        """So many actions of each user, each answered; where they lie."""
        some = [action(user, self.sent + i) for i, user in enumerate(USERS * rounds)]
        self.sent += len(some)
        places = self.shop.send([("user-actions", one) for one in some])
        self.scorer.answer()
        return places


@pytest.fixture(scope="module")
def running(broker: Settings, tmp_path_factory: pytest.TempPathFactory) -> Running:
    running = Running(broker, tmp_path_factory.mktemp("why"))
    places = running.act(6)
    running.unarchived = explained(running.settings, places[-1])
    running.archive.follow_all()
    return running


def explained(settings: Settings, place: tuple[int, int]) -> Explanation:
    found = Explainer(settings).explain(answer_id("user-actions", *place))
    assert (found.action.place.partition, found.action.place.offset) == place
    return found


def test_before_anything_is_archived_all_of_it_is_taken_from_the_topics(running: Running) -> None:
    found = running.unarchived
    assert found is not None
    assert found.again.is_equal, found.again
    assert (found.action.held, found.said.held, found.activity.earlier) == (None, None, 5)


def test_what_no_table_holds_yet_is_taken_from_the_topics_and_folded_behind_the_archive(running: Running) -> None:
    places = running.act(3)
    for number, place in list(enumerate(places))[::3]:
        found = explained(running.settings, place)
        assert found.again.is_equal, found.again
        assert (found.action.held, found.said.held) == (None, None)
        assert found.activity.earlier == 6 + number // len(USERS)
    with pytest.raises(Unexplained, match=r"no broker listens at 127\.0\.0\.1:1, so what is younger cannot be asked for"):
        explained(nobody_listens(running.settings), places[0])

    running.archive.follow("predictions")  # the job commits one table before the other
    found = explained(running.settings, places[-1])
    assert found.again.is_equal
    assert (found.action.held, found.said.held is None) == (None, False)
    with pytest.raises(Unexplained, match="so it cannot be read from the topic"):
        explained(nobody_listens(running.settings), places[-1])

    running.archive.follow("user-actions")
    archived = explained(nobody_listens(running.settings), places[-1])
    assert archived.again.is_equal
    assert archived.activity == found.activity
    assert None not in (archived.action.held, archived.said.held)


def test_a_dead_letter_that_is_not_archived_yet_is_told_from_an_action_without_answer(running: Running) -> None:
    bad = Sent(b"user_0", b"no json", partition=partition_of("user_0", PARTITIONS))
    refused, waiting = running.shop.send([("user-actions", bad), ("user-actions", action("user_1", 9_000))])
    running.scorer.answer(withhold=lambda *place: place == waiting)
    with pytest.raises(Unexplained, match=r"dead letter .* answers it, refused by step decode as invalid_json"):
        explained(running.settings, refused)
    with pytest.raises(Unexplained, match="the topics hold no prediction for it either"):
        explained(running.settings, waiting)
    running.archive.follow("user-actions")
    with pytest.raises(Unexplained, match="has no answer, neither in the tables nor in the topics"):
        explained(running.settings, waiting)


def test_the_groups_that_have_read_past_it_are_told_from_those_that_have_not(running: Running) -> None:
    (place, *_) = running.act(1)
    running.archive.follow_all()
    said = explained(running.settings, place).said
    for group, offset in (("fast", said.offset + 1), ("slow", said.offset)):
        consumer = Consumer({**running.settings.kafka.client(), "group.id": group, "enable.auto.commit": False})
        consumer.commit(offsets=[TopicPartition("predictions", said.partition, offset)], asynchronous=False)
        consumer.close()
    groups = explained(running.settings, place).consumers.groups
    assert not isinstance(groups, str)
    assert {(one.group, one.committed, one.has_read) for one in groups} == {
        ("fast", said.offset + 1, True),
        ("slow", said.offset, False),
    }


def test_framed_actions_count_though_they_were_archived_before_their_id_was_decided_about(running: Running) -> None:
    user, here = USERS[0], partition_of(USERS[0], PARTITIONS)
    known = Known("user-actions", here, 0, 7, WriterSchema(JSON, "{}"))
    running.shop.send([("schema-ids", Sent(*write_decision(known, answer_id("schema-ids", 0, 0), 0), partition=0))])
    (before,) = running.shop.send([("user-actions", action(user, 9000))])
    framed = [replace(one, value=frame(7, one.value or b"")) for one in (action(user, 9001), action(user, 9002))]
    places = running.shop.send([("user-actions", one) for one in (*framed, action(user, 9003))])
    running.scorer.answer()
    running.archive.follow_all()
    archived = nobody_listens(running.settings)
    earlier = explained(archived, before).activity.earlier
    for number, place in enumerate(places, start=1):
        found = explained(archived, place)
        assert found.again.is_equal, found.again
        assert found.activity.earlier == earlier + number
        assert as_dict(found)["action"]["event"]["data"]["userId"] == user
