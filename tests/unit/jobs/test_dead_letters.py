"""Every answer fits its topic, whatever key and value come: a record that the broker refuses would stop the stream."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft7Validator

from features.activity import FEATURES
from features.enrich import Batch, Enriched
from features.fold import FeatureRows
from features.history import NEVER
from features.online import Profiles
from features.online_keys import PROFILE_FEATURES
from infra.config import load_settings
from infra.contracts.contract import LETTER_ENVELOPE_BYTES
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.contracts.replays import Replay, encode_replay
from jobs.records import Records, Rules
from jobs.scoring_parts import model, rules
from jobs.scoring_path import accept, answer

CONTRACTS = load_contracts()
LIMIT = {name: topic.max_message_bytes for name, topic in CONTRACTS.topics.items()}
RULES, MODEL = rules(), model(load_settings({}))
SOURCE_LIMIT = LIMIT["user-actions"]
SMALLEST_FRAMING = 70  # what the header of a batch with one record takes in Kafka's protocol
KAFKA_MS = 1_710_325_333_000


def a_record(key: bytes | None, value: bytes | None, partition: int = 0) -> Records:
    return Records([key], [value], np.array([partition]), np.array([7]), np.array([KAFKA_MS]))


def nothing_known(batch: Batch, first_offsets: dict[int, int], last_offsets: dict[int, int]) -> Enriched:
    """Users whom no store knows."""
    n = len(batch.users)
    rows = FeatureRows(np.zeros((n, len(FEATURES))), np.full(n, -1), np.full(n, NEVER), np.zeros(n, bool))
    return Enriched(rows, np.arange(n), Profiles(np.full(n, -1), {name: [None] * n for name in PROFILE_FEATURES}))


def answered(records: Records, demanded: Rules = RULES) -> tuple[bool, bytes | None, bytes]:
    answers = answer(records, demanded, nothing_known, MODEL, KAFKA_MS)
    assert (len(answers.is_prediction), len(answers.keys), len(answers.values)) == (1, 1, 1)
    return answers.is_prediction[0], answers.keys[0], answers.values[0]


def letter_of(key: bytes | None, value: bytes | None, replay: bytes | None = None) -> tuple[bytes | None, dict[str, Any]]:
    is_prediction, letter_key, letter = answered(dataclasses.replace(a_record(key, value), replays=[replay]))
    assert not is_prediction
    assert len(letter_key or b"") + len(letter) + SMALLEST_FRAMING <= LIMIT["user-actions-dlq"]
    document = json.loads(letter)
    assert list(Draft7Validator(dict(CONTRACTS.schemas["DeadLetter", 1].document)).iter_errors(document)) == []
    return letter_key, document["data"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.33, 0.66, 0.99, 1.0])
@pytest.mark.parametrize("filling", [b"\xff", b"[", b'{"a":"%s"}'])
def test_whatever_the_source_takes_uncompressed_returns_whole(share: float, filling: bytes) -> None:
    key = b"\x00" * round(share * SOURCE_LIMIT)
    room = SOURCE_LIMIT - len(key)
    value = filling % (b"x" * max(0, room - 8)) if b"%" in filling else filling * room
    letter_key, data = letter_of(key, value)
    assert base64.b64decode(data["originalKey"]) == key
    if data["originalBytes"] is None:
        assert data["originalEvent"] == json.loads(value)
    else:
        assert base64.b64decode(data["originalBytes"]) == value
    assert "originalPlace" not in data
    assert letter_key == (key if len(key) <= 4096 else None)


@pytest.mark.parametrize("before", [b"", b" ", b"\t\r\n \n"])
@pytest.mark.parametrize("after", [b"", b"\n"])
def test_json_that_is_no_action_stands_in_its_letter_verbatim(before: bytes, after: bytes) -> None:
    _, _, letter = answered(a_record(b"k", value := before + b'{"a": 1.0}' + after))
    assert b'"originalEvent":' + value in letter
    for no_object in (b"[{}]", b'"{}"', b"\x0b{}", b"\xc2\xa0{}", b"{},{}", b"\xff{}"):
        _, data = letter_of(b"k", value := before + no_object + after)
        assert data["originalEvent"] is None
        assert base64.b64decode(data["originalBytes"]) == value


@pytest.mark.parametrize("size", [4096, 4097])
def test_a_key_past_4_kib_stands_in_the_letter_alone(size: int) -> None:
    letter_key, data = letter_of(b"k" * size, None)
    assert letter_key == (b"k" * size if size == 4096 else None)
    assert base64.b64decode(data["originalKey"]) == b"k" * size


@pytest.mark.parametrize("value", [b"\xff" * 5_000_000, b'{"a":"' + b"x" * 5_000_000 + b'"}', b"{" + b" " * 20_000_000, b"[" * 1_200_000])
@pytest.mark.parametrize("key", [None, b"", b"k" * 4096, b"k" * 3_000_000])
def test_what_compression_brought_past_the_limit_is_named_by_size_hash_and_place(key: bytes | None, value: bytes) -> None:
    letter_key, data = letter_of(key, value)
    assert letter_key == (None if key is None or len(key) > 4096 else key)
    assert (data["originalEvent"], data["originalBytes"], data["originalKey"]) == (None, None, None)
    assert data["originalSize"] == len(value)
    assert data["originalSha256"] == hashlib.sha256(value).hexdigest()
    assert data["originalPlace"] == "partition 0, offset 7 of topic user-actions and of its archive table"


@pytest.mark.parametrize(
    ("header", "retries", "original"),
    [
        (encode_replay(Replay(0, 6, 2)), 2, (0, 6)),
        (encode_replay(Replay(3, 2**63 - 1, 2**31 - 1)), 2**31 - 1, (3, 2**63 - 1)),
        (encode_replay(Replay(0, 7, 1)), 0, None),
        (b"\xff", 0, None),
        (None, 0, None),
    ],
)
def test_a_refused_replay_names_the_original_and_counts(header: bytes | None, retries: int, original: tuple[int, int] | None) -> None:
    for value in (b"no json", b"{" + b" " * 5_000_000):
        _, data = letter_of(b"k", value, header)
        assert data["retryCount"] == retries
        assert (data.get("originalPartition"), data.get("originalOffset")) == (original or (None, None))
        assert (data["sourcePartition"], data["sourceOffset"]) == (0, 7)


def test_a_prediction_is_the_same_whatever_header_comes() -> None:
    value = action()
    home = partition_of("u", RULES.partitions)
    plain = answered(a_record(b"u", value, home))
    for header in (None, b"", b"\xff", encode_replay(Replay(0, 1, 1))):
        assert answered(dataclasses.replace(a_record(b"u", value, home), replays=[header])) == plain


def test_a_tombstone_with_too_large_a_key_is_named_by_its_place() -> None:
    _, data = letter_of(b"k" * 2_000_000, None)
    assert (data["originalKey"], data["originalSize"], data["originalSha256"]) == (None, None, None)
    assert data["originalPlace"]


@pytest.mark.parametrize("over", range(-3, 4))
def test_letters_about_the_limit_fit(over: int) -> None:
    value = b'{"a":"' + b"x" * 1000 + b'"}'
    _, key, whole = answered(a_record(b"k" * 4096, value))
    limit = len(whole) + len(key or b"") + over
    tight = dataclasses.replace(RULES, dead_letter_bytes=limit + 1024)
    _, key, letter = answered(a_record(b"k" * 4096, value), tight)
    assert len(key or b"") + len(letter) <= limit
    assert (letter == whole) == (over >= 0)


def action(user: str = "u", correlation: str = "c", timestamp: str = "2024-03-13T10:22:12Z") -> bytes:
    data = {"userId": user, "sessionId": "s", "action": "product_view"}
    event = {"eventType": "UserAction", "eventId": "7f9c2b1e-3d4a-4c5b-8e6f-0a1b2c3d4e5f", "timestamp": timestamp, "version": 1}
    return json.dumps(event | {"source": "shop", "correlationId": correlation, "data": data}).encode()


def test_an_id_past_its_length_is_a_dead_letter() -> None:
    for value in (action(user="u" * 500_000), action(correlation="c" * 1_000_000), action(user="u" * 129), action(correlation="c" * 257)):
        _, data = letter_of(b"k", value)
        assert (data["error"]["step"], data["error"]["reason"]) == ("validate", "invalid_value")


@pytest.mark.parametrize("character", ["\0", "\U0001f600", '"', "\U000e0001"])
def test_the_longest_ids_make_small_answers(character: str) -> None:
    user = character * 128
    home = partition_of(user, RULES.partitions)
    value = action(user, character * 256)
    is_prediction, key, prediction = answered(a_record(None, value, home))
    assert is_prediction
    assert len(key or b"") + len(prediction) < 10_000 < LIMIT["predictions"]
    is_prediction, _, letter = answered(a_record(None, value, (home + 1) % RULES.partitions))
    assert not is_prediction
    assert len(letter) - len(value) + 1024 < LETTER_ENVELOPE_BYTES


@pytest.mark.parametrize("timestamp", ["9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"])
def test_a_time_that_utc_cannot_write_is_a_dead_letter(timestamp: str) -> None:
    _, data = letter_of(b"u", action(timestamp=timestamp))
    assert data["error"]["reason"] == "timestamp_out_of_window"


def test_a_value_of_every_depth_is_answered_by_what_strict_readers_follow() -> None:
    for depth in range(190, 260):
        value = b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
        _, refused = accept(a_record(b"k", value), RULES)
        assert refused[0].reason == ("missing_field" if depth <= 200 else "too_deep")
        _, data = letter_of(b"k", value)
        assert (data["originalEvent"] is None) == (depth > 198)
