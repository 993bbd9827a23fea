"""What is sent for a participant's dead letter: commands under their key with their conditions, events as they are; and its notes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft7Validator

from infra.config import load_settings
from infra.contracts.events import Rejected
from infra.contracts.load import FOLDER, load_contracts
from infra.contracts.partitioner import partition_of
from infra.errors import StreamhouseError
from jobs.dead_letter import Source as Refused
from jobs.dead_letter import answer_id, letter_of
from jobs.dlq.answered import with_passed
from jobs.dlq.chains import Chains, State, chained
from jobs.dlq.letters import Letter, Place, as_text, original_of, read_letter, read_place
from jobs.dlq.notes import Note, read_command_note, read_note, write_note
from jobs.dlq.source import source, sources
from jobs.dlq.to_participant import judged, outgoing
from jobs.patterns.message import Envelope, Message, derived_id, encode
from jobs.shop import messages as m

SETTINGS = load_settings({})
ORDERS, SHIPPING = source(SETTINGS, "order-commands"), source(SETTINGS, "shipping-commands")
SCHEMAS = load_contracts().schemas
CANCEL, PROCESSED = m.CancelOrder("o1", "why"), m.PaymentProcessed("u1", "o1", 20)
NOW = 1_710_325_333_000
HOME = partition_of("o1", 4)


def value_of(data: Message) -> bytes:
    return encode(Envelope(derived_id("test", "x"), NOW, "test", "c", data))[1]


def refused(value: bytes, topic: str, place: tuple[int, int], failed_in: str = "order", **headers: str) -> tuple[bytes, Letter]:
    """A letter as a participant writes it, and as it is read."""
    key = b"k"
    of = Refused(topic, *place, key, value, retries=3)
    more: dict[str, object] = {"failedIn": failed_in, "originalHeaders": {name.replace("_", "-"): text for name, text in headers.items()}}
    _, letter = letter_of(of, Rejected("decide", "handler_failed", "x"), NOW, 1 << 20, "streamhouse/order", **more)
    assert list(Draft7Validator(dict(SCHEMAS["DeadLetter", 1].document)).iter_errors(json.loads(letter))) == []
    read = read_letter(letter, (0, 3), ORDERS.name, 4, {**ORDERS.beside, **SHIPPING.beside})
    assert read is not None
    return letter, read


def sent(
    value: bytes,
    topic: str = "order-commands",
    place: tuple[int, int] = (1, 7),
    notes: tuple[Note, ...] = (),
    edit: Callable[[Any], Any] | None = None,
    **headers: str,
) -> Any:
    letter, read = refused(value, topic, place, **headers)
    original = original_of(letter)
    assert original is not None
    return outgoing(ORDERS, read, original, chained([read], notes), edit)


def test_a_command_goes_to_its_aggregates_partition_with_its_headers_and_what_was_tried_in_place_does_not_count() -> None:
    record = sent(value_of(CANCEL), expected_version="3", reply_wanted="1")
    assert (record.key, record.partition, record.value, record.edited) == (b"o1", HOME, value_of(CANCEL), False)
    assert record.headers == (("expected-version", b"3"), ("reply-wanted", b"1"))
    assert (record.original, record.retry_count) == ((1, 7), 1)


def test_a_command_may_be_edited_and_one_that_cannot_be_read_keeps_its_place() -> None:
    record = sent(value_of(CANCEL).replace(b'"o1"', b'"o2"'), edit=lambda event: {**event, "data": {**event["data"], "orderId": "o1"}})
    assert (record.key, record.partition, record.edited) == (b"o1", HOME, True)
    assert (sent(b"{").key, sent(b"{").partition) == (b"k", 1)
    assert sent(value_of(CANCEL), edit=lambda _: None) is None


def test_an_event_goes_as_it_is_with_the_header_also_when_it_was_refused_again() -> None:
    record = sent(value_of(PROCESSED), "payments", (2, 12), aggregate_version="5")
    assert (record.key, record.partition, record.value) == (b"k", 2, value_of(PROCESSED))
    assert record.headers == (("aggregate-version", b"5"), ("replayed-event", b"1"))
    assert (record.original, record.retry_count) == ((2, 12, "payments"), 1)
    again = sent(value_of(PROCESSED), place=(2, 30), notes=(Note(record.original, record.original, (2, 30), 1),), replayed_event="1")
    assert (again.headers, again.original, again.retry_count) == ((("replayed-event", b"1"),), (2, 12, "payments"), 2)


def test_an_event_is_not_edited_and_a_command_that_claims_to_be_one_loses_the_header() -> None:
    assert "is sent as it is" in sent(value_of(PROCESSED), "payments", edit=lambda event: event)
    assert sent(value_of(CANCEL), replayed_event="1").headers == ()


def test_a_letter_of_nobody_is_not_sent() -> None:
    assert "no service of that name" in sent(value_of(CANCEL), failed_in="baker")


def test_a_dry_run_judges_as_the_participant_reads() -> None:
    version_2 = value_of(CANCEL).replace(b'"version":1', b'"version":2')
    batch = [sent(value) for value in (value_of(CANCEL), b"{", version_2)] + [sent(value_of(PROCESSED), "payments")]
    assert {i: why.reason for i, why in judged(ORDERS, batch, NOW).items()} == {1: "invalid_json", 2: "unknown_version"}


def test_the_carriers_letters_lie_beside_those_of_shipping() -> None:
    assert set(SHIPPING.participants) == {"shipping", "carrier"}
    assert SHIPPING.beside == {"orders": 4, "shipping": 4}
    _, read = refused(value_of(PROCESSED), "shipping", (0, 1), "carrier")
    assert (read.place, read.failed_in) == ((0, 1, "shipping"), "carrier")


def test_places_of_other_topics_are_named_with_them() -> None:
    place: Place = (2, 12, "payments")
    assert as_text(place) == "payments/2:12"
    for text in ("payments/2:12", answer_id("payments", 2, 12)):
        assert read_place(text, "order-commands", ORDERS.beside) == place
    assert read_place("order-commands/2:12", "order-commands", ORDERS.beside) == (2, 12)
    for text in ("accounts/2:12", answer_id("accounts", 2, 12), "payments/", "/2:12"):
        assert read_place(text, "order-commands", ORDERS.beside) is None
    letter, _ = refused(value_of(PROCESSED), "payments", (2, 12))
    assert read_letter(letter, (0, 0), "order-commands", 4, {}) is None
    assert read_letter(letter, (0, 0), "order-commands", 4, {"payments": 2}) is None


@pytest.mark.parametrize(
    "note",
    [
        Note((1, 7), (1, 7), (1, 90), 1, edited=True),
        Note((2, 12, "payments"), (2, 12, "payments"), (2, 30), 1),
        Note((2, 12, "payments"), (2, 30), (2, 41), 2),
        Note((2, 12, "payments"), (2, 41), None, 3),
    ],
)
def test_a_note_is_read_as_it_was_written(note: Note) -> None:
    key, value = write_note(note, "order-commands", NOW, is_command=True)
    event = json.loads(value)
    assert key.decode() == as_text(note.original)
    assert list(Draft7Validator(dict(SCHEMAS[event["eventType"], 1].document)).iter_errors(event)) == []
    assert read_command_note(value, 0) == ("order-commands", note)
    assert read_note(value, 0) is None


def test_examples_are_notes_and_each_decision_has_an_id_of_its_own() -> None:
    for file in (FOLDER / "examples/command-replays/valid").iterdir():
        read = read_command_note(file.read_bytes(), 0)
        assert read is not None
        wrote = json.loads(write_note(read[1], read[0], 1_710_406_800_000, is_command=True)[1])
        assert wrote == json.loads(file.read_bytes())
    notes = [Note((1, 7), (1, 7), (1, 9), 1), Note((1, 7, "orders"), (1, 7, "orders"), (1, 8), 1), Note((1, 7), (1, 7), None, 0)]
    ids = {json.loads(write_note(n, t, NOW, is_command=True)[1])["eventId"] for n in notes for t in ("order-commands", "payment-commands")}
    assert len(ids) == 6


@pytest.mark.parametrize("value", [None, b"{", write_note(Note((1, 7), (1, 7), (1, 9), 1), "user-actions", NOW)[1]])
def test_what_is_no_note_is_left_alone(value: bytes | None) -> None:
    assert read_command_note(value, 0) is None


def test_a_replay_counts_as_accepted_once_its_participant_has_passed_it_without_a_letter() -> None:
    _, letter = refused(value_of(CANCEL), "order-commands", (1, 7))

    def state(chains: Chains, order: int, payment: int = 0) -> State:
        return with_passed(chains, {"order": {1: order}, "payment": {1: payment}}).state((1, 7))

    note = Note((1, 7), (1, 7), (1, 90), 1)
    assert state(chained([letter], [note]), 90, 99) == State.UNANSWERED
    assert state(chained([letter], [note]), 91) == State.ACCEPTED
    again = refused(value_of(CANCEL), "order-commands", (1, 90))[1]
    assert state(chained([letter, again], [note]), 91) == State.REFUSED


def test_every_topic_with_dead_letters_is_served_and_others_are_refused_by_name() -> None:
    contracts = load_contracts().topics
    assert set(sources(SETTINGS)) == {name for name, topic in contracts.items() if topic.dead_letter_topic}
    for one in sources(SETTINGS).values():
        assert one.letters.name == one.topic.dead_letter_topic
    assert len({one.transactional_id for one in sources(SETTINGS).values()}) == len({one.notes.name for one in sources(SETTINGS).values()})
    with pytest.raises(StreamhouseError, match="--topic 'orders': expected one of user-actions, order-commands, payment-commands"):
        source(SETTINGS, "orders")
