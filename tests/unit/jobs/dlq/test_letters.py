"""What a dead letter holds comes out of it byte for byte, and what is no letter or no note is left alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from infra.contracts.decisions import NOTHING, Decisions, Known
from infra.contracts.framing import WriterSchema, frame
from infra.contracts.load import FOLDER, load_contracts
from infra.contracts.replays import HEADER, Replay, decode_replay
from jobs.dead_letter import answer_id, dead_letter
from jobs.dlq.chains import chained
from jobs.dlq.letters import NO_VERSION, Original, as_text, original_of, read_letter, read_place
from jobs.dlq.notes import Note, read_note, write_note
from jobs.dlq.replay import outgoing
from jobs.records import Records, Rules
from jobs.scoring_parts import rules
from jobs.scoring_path import accept
from tests.contracts.test_examples import TOPIC
from tests.unit.contracts.test_framing import AN_ACTION, USER_ACTION, written

RULES = rules()
KAFKA_MS = 1_710_325_333_000
LETTER = (FOLDER / "examples/user-actions-dlq/valid/unknown-version.json").read_bytes()
SCHEMAS = load_contracts().schemas


def a_letter(key: bytes | None, value: bytes | None, place: tuple[int, int] = (1, 7), source_rules: Rules = RULES) -> bytes:
    """The dead letter that the scoring path makes of a record."""
    records = Records([key], [value], np.array([place[0]]), np.array([place[1]]), np.array([KAFKA_MS]))
    _, refused = accept(records, source_rules)
    return dead_letter(records, 0, source_rules, refused[0], KAFKA_MS)[1]


def changed(path: str, value: object) -> bytes:
    document: Any = json.loads(LETTER)
    *above, last = path.split(".")
    part = document
    for name in above:
        part = part[name]
    part[last] = value
    return json.dumps(document).encode()


BLANKS = st.text(" \t\n\r", max_size=3)


@given(
    st.none() | st.binary(max_size=60),
    st.none()
    | st.binary(max_size=200)
    | st.builds(lambda *parts: "".join(parts).encode(), BLANKS, st.text().map(lambda t: json.dumps({"a": t})), BLANKS),
)
def test_the_refused_record_comes_out_byte_for_byte(key: bytes | None, value: bytes | None) -> None:
    letter = a_letter(key, value)
    assert original_of(letter) == Original(key, value)
    read = read_letter(letter, (0, 3), "user-actions", 4)
    assert read is not None
    assert (read.place, read.at, read.failed_ms) == ((1, 7), (0, 3), KAFKA_MS)


def test_a_letter_that_names_a_place_says_so() -> None:
    assert original_of(a_letter(b"k", b" " * 5_000_000)) == Original(
        None, None, elsewhere=True, sha256=hashlib.sha256(b" " * 5_000_000).hexdigest()
    )


def test_the_version_is_the_refused_events_own() -> None:
    versions = {
        b'{"version":2}': "2",
        b'{"version":"2"}': NO_VERSION,
        b"{}": NO_VERSION,
        b"no json": NO_VERSION,
        b'{"version":true}': NO_VERSION,
    }
    for value, version in versions.items():
        read = read_letter(a_letter(b"k", value), (0, 0), "user-actions", 4)
        assert read is not None
        assert read.version == version, value


STRANGERS = {
    "tombstone": None,
    "no json": b"{",
    "no utf-8": b"\xff",
    "deep": b"[" * 100_000,
    "list": b"[]",
    "of another topic": changed("data.sourceTopic", "orders"),
    "a partition that the topic does not have": changed("data.sourcePartition", 4),
    "a negative offset": changed("data.sourceOffset", -1),
    "past 64 bits": changed("data.sourceOffset", 2**63),
    "a text for an offset": changed("data.sourceOffset", "7"),
    "no time": changed("data.failedAt", "yesterday"),
    "no base64": changed("data.originalBytes", "*"),
    "no error": changed("data.error", None),
}


@pytest.mark.parametrize("value", STRANGERS.values(), ids=STRANGERS)
def test_what_is_no_letter_is_left_alone(value: bytes | None) -> None:
    assert read_letter(value, (0, 0), "user-actions", 4) is None
    assert read_letter(LETTER, (0, 0), "user-actions", 4) is not None


@given(st.integers(0, 3), st.integers(0, 2**60 - 1))
def test_a_place_is_read_from_both_its_names(partition: int, offset: int) -> None:
    place = (partition, offset)
    assert read_place(as_text(place), "user-actions") == place
    assert read_place(answer_id("user-actions", *place), "user-actions") == place
    assert read_place(answer_id("user-actions", *place).upper(), "user-actions") == place
    assert read_place(answer_id("orders", *place), "user-actions") is None


@pytest.mark.parametrize("text", ["", "1", "1:", ":7", "a:7", "1:7:9", "-1:7", "1:7\n", " 1:7", "7f9c2b1e-3d4a-4c5b-8e6f-0a1b2c3d4e5f"])
def test_what_is_no_place_is_none(text: str) -> None:
    assert read_place(text, "user-actions") is None


@pytest.mark.parametrize(
    "note", [Note((1, 7), (1, 90), (3, 41), 2, edited=True), Note((1, 7), (1, 7), (1, 90), 1), Note((1, 7), (3, 41), None, 3)]
)
def test_a_note_is_read_as_it_was_written(note: Note) -> None:
    key, value = write_note(note, "user-actions", KAFKA_MS)
    event = json.loads(value)
    assert key == b"1:7"
    assert list(Draft7Validator(dict(SCHEMAS[event["eventType"], 1].document)).iter_errors(event)) == []
    assert read_note(value, 0) == note
    assert event["correlationId"] == answer_id("user-actions", 1, 7)
    assert write_note(note, "user-actions", KAFKA_MS) == (key, value)


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"[" * 100_000, b'{"eventType":"DeadLetterReplayed"}', LETTER])
def test_what_is_no_note_is_left_alone(value: bytes | None) -> None:
    assert read_note(value, 0) is None


def sent(
    value: bytes | None,
    key: bytes | None = b"key",
    place: tuple[int, int] = (1, 90),
    edit: Callable[[Any], Any] | None = None,
    source_rules: Rules = RULES,
) -> Any:
    """What is sent for a letter of a record at `place`, which had been sent once for 0:3."""
    letter = read_letter(a_letter(key, b"no json", place), (0, 0), "user-actions", 4)
    assert letter is not None
    return outgoing(letter, Original(key, value), chained([letter], [Note((0, 3), (0, 3), (1, 90), 1)]), source_rules, edit)


def test_a_record_that_decodes_goes_to_its_users_partition_under_the_user_id() -> None:
    event = json.loads((FOLDER / "examples/user-actions/valid/purchase.json").read_bytes())
    event["data"]["userId"] = "guest"
    record = sent(json.dumps(event).encode())
    assert (record.key, record.partition) == (b"guest", 2)
    assert record.original == (0, 3)
    assert record.headers[0][0] == HEADER
    assert decode_replay(record.headers[0][1], 2, 91, 4) == Replay(0, 3, 2)


@pytest.mark.parametrize("example", TOPIC.invalid, ids=lambda example: example.name)
def test_a_record_that_does_not_keeps_key_and_partition(example: Any) -> None:
    from infra.contracts.events import UserAction
    from infra.contracts.in_effect import decode_user_action

    record = sent(example.value, place=(2, 5))
    if isinstance(decode_user_action(example.value), UserAction):
        assert record.key == json.loads(example.value)["data"]["userId"].encode()
    else:
        assert (record.key, record.partition, record.value) == (b"key", 2, example.value)
    assert (record.original, record.retry_count) == ((2, 5), 1)


AVRO_SCHEMA = WriterSchema("AVRO", json.dumps(USER_ACTION))
KNOWN = [
    Known("user-actions", partition, 0, *known) for partition in range(4) for known in ((7, WriterSchema("JSON", "{}")), (8, AVRO_SCHEMA))
]
REGISTERED = replace(RULES, schemas=reduce(Decisions.after, KNOWN, NOTHING))


def framed(schema_id: int, **data: Any) -> tuple[bytes, dict[str, Any]]:
    """An action as a registry client writes it, and what it says."""
    event = {**AN_ACTION, "data": {**AN_ACTION["data"], **data}}
    plain = event | {"timestamp": "2024-03-13T10:22:12.345000Z"}
    return frame(schema_id, json.dumps(plain).encode() if schema_id == 7 else written(USER_ACTION, event)), plain


@pytest.mark.parametrize("schema_id", [7, 8], ids=["JSON", "Avro"])
def test_a_framed_action_goes_to_its_users_partition_as_it_is(schema_id: int) -> None:
    value, _ = framed(schema_id, userId="guest")
    for edit in (None, lambda event: event, lambda event: {**event, "version": 1}):
        record = sent(value, edit=edit, source_rules=REGISTERED)
        assert (record.key, record.partition, record.value, record.edited) == (b"guest", 2, value, False)


@pytest.mark.parametrize("schema_id", [7, 8], ids=["JSON", "Avro"])
def test_an_edit_gets_a_framed_action_as_a_plain_one_and_its_answer_is_sent_plain(schema_id: int) -> None:
    value, plain = framed(schema_id)
    record = sent(value, edit=lambda event: {**event, "data": {**event["data"], "userId": "guest"}}, source_rules=REGISTERED)
    assert json.loads(record.value) == plain | {"data": plain["data"] | {"userId": "guest"}}
    assert (record.key, record.partition, record.edited) == (b"guest", 2, True)
    assert sent(value, edit=lambda event: None, source_rules=REGISTERED) is None


@pytest.mark.parametrize("value", [frame(9, b"{}"), frame(8, b"\xff"), b"\0abc"], ids=["unknown id", "no Avro", "too short"])
def test_a_framed_value_that_cannot_be_read_is_given_and_sent_as_its_bytes(value: bytes) -> None:
    seen = list[object]()

    def looked_at(event: object) -> object:
        seen.append(event)
        return event

    record = sent(value, edit=looked_at, source_rules=REGISTERED)
    assert seen == [value]
    assert (record.key, record.partition, record.value, record.edited) == (b"key", 1, value, False)


def test_an_edit_may_answer_a_framed_value() -> None:
    value, _ = framed(8, userId="guest")
    record = sent(b"no json", edit=lambda _: value, source_rules=REGISTERED)
    assert (record.key, record.partition, record.value, record.edited) == (b"guest", 2, value, True)


def test_an_edit_that_answers_none_leaves_it_out() -> None:
    assert sent(b"{}", edit=lambda event: None) is None
