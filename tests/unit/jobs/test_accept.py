"""A batch of records is accepted as its records are one by one, whatever Kafka and events say of time."""

from __future__ import annotations

import itertools

import numpy as np
import orjson

from infra.contracts.codec import check_event_time, event_milliseconds
from infra.contracts.events import Rejected
from infra.contracts.in_effect import decode_user_action
from infra.contracts.partitioner import partition_of
from jobs.records import Records
from jobs.scoring_parts import rules
from jobs.scoring_path import accept, check_partition

RULES = rules()
WINDOW = RULES.contract.at(0).window
KAFKA_MS = [
    -(2**63),
    -1,
    0,
    WINDOW.not_before,
    1_710_325_333_000,
    1_710_325_333_000 - WINDOW.ahead,
    2**63 - 1,
]
TIMES = [
    "2024-03-13T10:22:13Z",
    "2024-03-13T10:22:13.0019+14:00",
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999-23:59",
    "0001-01-01T00:00:00+23:59",
]
SPOILT = [None, b"", b"\xff", b"[]", b"{}", b"[" * 300]


def an_action(user: str, time: str) -> bytes:
    data = {"userId": user, "sessionId": "s", "action": "product_view"}
    event = {"eventType": "UserAction", "eventId": "4baa293a-4502-4830-a31f-efece304775a", "timestamp": time, "version": 1}
    return orjson.dumps({**event, "source": "tests", "correlationId": "s", "data": data})


def test_a_batch_is_accepted_as_its_records_one_by_one() -> None:
    good = [an_action(user, time) for user in ("ada", "grace") for time in TIMES]
    both = list(itertools.product([*good, *SPOILT], KAFKA_MS, range(RULES.partitions)))
    values = [value for value, _, _ in both]
    kafka_ms, partition = np.array([received for _, received, _ in both]), np.array([lies_in for _, _, lies_in in both])
    offset = np.arange(len(both)) * 3
    accepted, refused = accept(Records([None] * len(both), values, partition, offset, kafka_ms), RULES)

    expected = {}
    for i, (value, received, lies_in) in enumerate(both):
        event = decode_user_action(value)
        if not isinstance(event, Rejected):
            bad = check_event_time(event_milliseconds(event.timestamp), received, WINDOW) or check_partition(event, lies_in, RULES)
            event = bad or event
        expected[i] = event
    assert refused == {i: event for i, event in expected.items() if isinstance(event, Rejected)}
    assert accepted.position.tolist() == [i for i, event in expected.items() if not isinstance(event, Rejected)]
    assert accepted.events == [event for event in expected.values() if not isinstance(event, Rejected)]
    assert accepted.time.tolist() == [event_milliseconds(event.timestamp) for event in accepted.events]
    assert accepted.offset.tolist() == offset[accepted.position].tolist()
    assert accepted.partition.tolist() == [partition_of(event.data.user_id, RULES.partitions) for event in accepted.events]
    assert len(accepted.events) > 10
    assert {why.reason for why in refused.values()} >= {"timestamp_out_of_window", "wrong_partition", "tombstone", "too_deep"}


def test_an_empty_batch_and_one_without_an_action() -> None:
    for values in ([], [None, b""]):
        n = len(values)
        accepted, refused = accept(Records([None] * n, list(values), np.zeros(n, np.int64), np.arange(n), np.zeros(n, np.int64)), RULES)
        assert (accepted.events, accepted.time.tolist(), accepted.offset.tolist(), len(refused)) == ([], [], [], n)
