"""From where a job goes on, by a real broker's topics: answered, missing, skipped, cut."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.config import ROOT, Settings, load_settings
from infra.contracts import topics
from infra.contracts.load import load_contracts
from jobs import answered, group_offsets
from jobs.begin import OtherTopicError, RecordsCutError, score_events
from jobs.offset_ranges import NONE
from tests.brokers import empty_topics

ACTIONS, PREDICTIONS, DEAD_LETTERS = "user-actions", "predictions", "user-actions-dlq"
PARTITIONS = load_contracts().topics[ACTIONS].partitions


@pytest.fixture
def empty(broker: Settings, tmp_path: Path) -> Settings:
    """Its topics without records, and a state folder without memory."""
    empty_topics(broker)
    return load_settings({**broker.overrides, "STREAMHOUSE_STATE": str(tmp_path)}, ROOT)


def admin(settings: Settings) -> AdminClient:
    return AdminClient({**settings.kafka.client()})


def send(settings: Settings, topic: str, *values: bytes, partition: int = 0, commit: bool | None = None) -> None:
    """Records in one transaction when `commit` says how it ends, else without."""
    producer = Producer({**settings.kafka.client(), **({} if commit is None else {"transactional.id": str(uuid.uuid4())})})
    if commit is not None:
        producer.init_transactions(20)
        producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(20) == 0
    if commit is not None:
        (producer.commit_transaction if commit else producer.abort_transaction)(20)


def predictions(*offsets: int, partition: int = 0) -> list[bytes]:
    return [orjson.dumps({"data": {"actionPartition": partition, "actionOffset": offset}}) for offset in offsets]


def letters(*offsets: int, partition: int = 0) -> list[bytes]:
    return [orjson.dumps({"data": {"sourcePartition": partition, "sourceOffset": offset}}) for offset in offsets]


def begins(settings: Settings, *, accept_loss: bool = False) -> tuple[list[int], dict[int, list[list[int]]]]:
    """The first record to read of each partition, and what needs no answer beyond."""
    begin = score_events(settings, accept_loss=accept_loss)
    offsets = [begin.offsets[ACTIONS, partition] for partition in range(PARTITIONS)]
    return offsets, {partition: ranges.tolist() for partition, ranges in begin.answered.items()}


def test_a_first_start_reads_from_the_beginning(empty: Settings) -> None:
    assert begins(empty) == ([0, 0, 0, 0], {})
    send(empty, ACTIONS, *[b"{}"] * 5)
    assert begins(empty) == ([0, 0, 0, 0], {})


def test_it_goes_on_behind_committed_answers_of_both_kinds_and_never_behind_aborted_ones(empty: Settings) -> None:
    send(empty, ACTIONS, *[b"{}"] * 10)
    send(empty, ACTIONS, *[b"{}"] * 3, partition=2)
    send(empty, PREDICTIONS, *predictions(0, 1, 3), partition=1, commit=True)
    send(empty, DEAD_LETTERS, *letters(2), commit=True)
    send(empty, PREDICTIONS, *predictions(4, 5), partition=1, commit=False)
    send(empty, PREDICTIONS, *predictions(0, 1, 2, partition=2), commit=True)
    assert begins(empty) == ([4, 0, 3, 0], {})


def test_what_is_answered_beyond_the_first_missing_one_gets_no_second_answer(empty: Settings) -> None:
    send(empty, ACTIONS, *[b"{}"] * 10)
    send(empty, PREDICTIONS, *predictions(0, 1, 2, 4, 5, 8), commit=True)
    assert begins(empty) == ([3, 0, 0, 0], {0: [[4, 6], [8, 9]]})
    send(empty, DEAD_LETTERS, *letters(3), partition=3, commit=True)  # only what came since is read, and both count
    assert begins(empty) == ([6, 0, 0, 0], {0: [[8, 9]]})


def test_offsets_that_a_topic_skips_need_no_answer(empty: Settings) -> None:
    send(empty, ACTIONS, b"{}", b"{}", commit=True)  # 0, 1, marker at 2
    send(empty, ACTIONS, b"{}", commit=False)  # 3, marker at 4
    send(empty, ACTIONS, b"{}", b"{}")  # 5, 6
    send(empty, PREDICTIONS, *predictions(0, 1, 5), commit=True)
    assert begins(empty) == ([6, 0, 0, 0], {})


def test_records_that_answer_nothing_are_no_answers(empty: Settings) -> None:
    send(empty, ACTIONS, b"{}")
    send(empty, PREDICTIONS, b"", b"no json", b"{}", orjson.dumps({"data": {"actionPartition": "0", "actionOffset": 0}}))
    assert begins(empty) == ([0, 0, 0, 0], {})


def test_what_retention_took_unanswered_is_said_and_accepted_by_a_person_alone(empty: Settings) -> None:
    send(empty, ACTIONS, *[b"{}"] * 10)
    send(empty, PREDICTIONS, *predictions(0, 1, 6), commit=True)
    client = admin(empty)
    (future,) = client.delete_records([TopicPartition(ACTIONS, 0, 5)]).values()
    future.result(20)
    words = r"topic user-actions, partition 0: expected record 2 as the next to be answered, got a topic that begins at 5"
    with pytest.raises(RecordsCutError, match=words):
        begins(empty)
    assert begins(empty, accept_loss=True) == ([5, 0, 0, 0], {0: [[6, 7]]})
    assert begins(empty) == ([5, 0, 0, 0], {0: [[6, 7]]})  # said once


@pytest.mark.parametrize("accept_loss", [False, True])
def test_an_input_that_was_made_anew_does_not_pass_for_what_is_answered(empty: Settings, *, accept_loss: bool) -> None:
    send(empty, ACTIONS, *[b"{}"] * 3)
    send(empty, PREDICTIONS, *predictions(0, 1), commit=True)
    assert begins(empty)[0] == [2, 0, 0, 0]
    client = admin(empty)
    client.delete_topics([ACTIONS])[ACTIONS].result(20)
    topics.apply(empty)
    words = r"topic user-actions, partition 0: expected record 2 as the next to be answered, got a topic that ends at 0"
    with pytest.raises(OtherTopicError, match=words):
        begins(empty, accept_loss=accept_loss)


def test_an_output_that_was_made_anew_holds_no_answers(empty: Settings) -> None:
    send(empty, ACTIONS, *[b"{}"] * 3)
    send(empty, PREDICTIONS, *predictions(0, 1), commit=True)
    assert begins(empty)[0] == [2, 0, 0, 0]
    client = admin(empty)
    client.delete_topics([PREDICTIONS])[PREDICTIONS].result(20)
    topics.apply(empty)
    assert begins(empty)[0] == [0, 0, 0, 0]


def test_an_output_that_ends_before_what_was_read_of_it_is_named(empty: Settings) -> None:
    send(empty, PREDICTIONS, *predictions(0, 1), commit=True)
    known = answered.answered(empty)
    lost = replace(known, positions=known.positions | {PREDICTIONS: known.positions[PREDICTIONS] | {1: 90}})
    answered._keep(empty, lost)
    words = r"topic predictions, partition 1: expected records up to 90, as were read before, got a topic that ends at 0"
    with pytest.raises(answered.OutputLostError, match=words):
        begins(empty)


def test_what_is_remembered_of_the_outputs_is_believed_only_whole(empty: Settings) -> None:
    send(empty, ACTIONS, *[b"{}"] * 3)
    send(empty, PREDICTIONS, *predictions(0, 1), commit=True)
    assert begins(empty)[0] == [2, 0, 0, 0]
    file = empty.jobs_folder / "answered.json"
    file.write_text(file.read_text("utf-8").replace("[[0, 2]]", "[[0, 3]]"), "utf-8")
    assert begins(empty)[0] == [2, 0, 0, 0]
    file.write_bytes(b"\0" * 100)
    assert begins(empty)[0] == [2, 0, 0, 0]


def test_every_answer_is_heard_once(empty: Settings) -> None:
    heard: list[str] = []
    send(empty, PREDICTIONS, *predictions(0, 1), commit=True)
    for _ in range(2):
        answered.answered(empty, lambda topic, _: heard.append(topic))
    send(empty, DEAD_LETTERS, *letters(2), commit=True)
    known = answered.answered(empty, lambda topic, _: heard.append(topic))
    assert heard == [PREDICTIONS, PREDICTIONS, DEAD_LETTERS]
    assert known.ranges[0].tolist() == [[0, 3]]
    assert known.ranges.get(1, NONE).tolist() == np.zeros((0, 2)).tolist()


def test_the_offsets_of_a_group_go_back_as_well_as_forth(broker: Settings) -> None:
    topics.apply(broker)
    places = [(ACTIONS, 0), (ACTIONS, 1)]
    assert group_offsets.committed(broker, "begin", places) == {}
    for offsets in ({(ACTIONS, 0): 7, (ACTIONS, 1): 0}, {(ACTIONS, 0): 3, (ACTIONS, 1): 5}):
        group_offsets.commit(broker, "begin", offsets)
        assert group_offsets.committed(broker, "begin", places) == offsets
