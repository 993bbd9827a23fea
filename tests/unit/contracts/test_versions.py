"""Versions of one event side by side: each is read as the shape that the code knows, by the contract that its moment had."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.contracts.actions import EVENT, TOPIC, ActionDecoder
from infra.contracts.contract import Contracts
from infra.contracts.events import Rejected, UserAction
from infra.contracts.in_effect import BEGINNING, InEffect, Revision, decode_user_action, described, of_files
from infra.contracts.version_rules import VERSION_RULES
from infra.errors import StreamhouseError
from tests.evolved import TEXT, action, own, with_field, with_version, with_window

COUNTRY = {"type": "string", "minLength": 2, "maxLength": 2, "description": "Where.", "unit": "ISO 3166"}
SECOND = with_version(own(), {"platform": "device"}, {"country": COUNTRY}, {"country": "zz"})
THIRD = with_version(SECOND, {"device": "client", "lifecycle": "stage"}, {}, {})


def decoder(contracts: Contracts) -> ActionDecoder:
    return ActionDecoder(contracts.topics[TOPIC], contracts.schemas)


@pytest.mark.parametrize("contracts", [SECOND, THIRD])
def test_they_keep_every_rule_of_versions(contracts: Contracts) -> None:
    assert [sentence for rule in VERSION_RULES.values() for sentence in rule(contracts)] == []


@pytest.mark.parametrize(
    ("version", "data"),
    [
        (1, {"platform": "phone", "lifecycle": "new"}),
        (2, {"platform": ..., "device": "phone", "lifecycle": "new", "country": "de"}),
        (3, {"platform": ..., "client": "phone", "stage": "new", "country": "de"}),
    ],
)
def test_every_version_is_read_as_the_shape_of_the_code(version: int, data: dict[str, Any]) -> None:
    event = decoder(THIRD).decode(action(version=version, **data))
    assert isinstance(event, UserAction)
    assert (event.version, event.data.platform, event.data.lifecycle) == (version, "phone", "new")
    assert (event.data.user_id, event.data.action) == ("user_0001", "product_view")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (action(version=4), "unknown_version"),
        (action(version=2), "missing_field"),  # a field that the version asks for
        (action(version=2, device="x", country="deu"), "invalid_value"),
        (action(version=2, device=7, country="de"), "wrong_type"),
        (action(version=3, client="x", country=None), "wrong_type"),
        (action().replace(b'"version": 1', b'"version": "1"'), "wrong_type"),
        (action().replace(b'"version": 1, ', b""), "missing_field"),
        (action().replace(b"UserAction", b"OrderPlaced"), "unknown_event_type"),
    ],
)
def test_each_version_is_held_to_its_own_schema(value: bytes, reason: str) -> None:
    refused = decoder(THIRD).decode(value)
    assert isinstance(refused, Rejected)
    assert refused.reason == reason


def test_what_a_version_lacks_cannot_be_slipped_in() -> None:
    """`device` is no field of version 1: it is passed over, whatever it holds."""
    event = decoder(SECOND).decode(action(device=[1], country={"a": 1}))
    assert isinstance(event, UserAction)
    assert event.data.platform == "desktop"


def test_a_field_that_the_contract_gained_is_held_to_it_and_by_name_there() -> None:
    wider = decoder(with_field(own(), "basketCents", {"type": "integer", "minimum": 0}))
    event, refused = wider.decode(action(basketCents=1999)), wider.decode(action(basketCents="1999"))
    assert isinstance(event, UserAction)
    assert getattr(event.data, "basket_cents") == 1999  # noqa: B009 - not in the code's own shape
    assert isinstance(refused, Rejected)
    assert refused.reason == "wrong_type"
    assert isinstance(decode_user_action(action(basketCents="1999")), UserAction)


@pytest.mark.parametrize(
    "contracts",
    [
        with_version(own(), {}, {}, {}),
        with_field(own(), "shade", {"type": "string", "format": "color"}),
        with_field(own(), "either", {"oneOf": [{"type": "string"}]}),
    ],
)
def test_what_this_code_cannot_read_is_refused_before_it_decodes(contracts: Contracts) -> None:
    data = contracts.schemas[max(contracts.schemas, key=lambda k: (k[0] == EVENT, k[1]))].document["properties"]["data"]
    if len(contracts.topics[TOPIC].versions(EVENT)) == 2:
        data["required"].remove("sessionId")
    with pytest.raises(StreamhouseError, match="expected"):
        decoder(contracts)


def revisions() -> list[Revision]:
    first, second = own(), with_window(SECOND, 3_600_000)
    return [Revision(BEGINNING, described(first)), Revision(1000, described(second)), Revision(2000, described(THIRD))]


def test_a_record_is_read_by_the_contract_of_its_moment() -> None:
    held = InEffect(revisions())
    second = action(version=2, platform=..., device="phone", country="de")
    moments = np.array([0, 999, 1000, 1999, 2000, 10**15], np.int64)
    assert [isinstance(event, UserAction) for event in held.decode([second] * 6, moments)] == [False, False, True, True, True, True]
    not_before, ahead = held.windows(moments)
    assert ahead.tolist() == [86_400_000] * 2 + [3_600_000] * 2 + [86_400_000] * 2
    assert not_before.tolist() == [1_420_070_400_000] * 6
    assert [held.at(moment).window.ahead for moment in moments.tolist()] == ahead.tolist()


@given(st.lists(st.integers(-10, 3000), max_size=30), st.data())
def test_a_batch_is_read_as_its_records_one_by_one(moments: list[int], data: st.DataObject) -> None:
    held = InEffect(revisions())
    values = [data.draw(st.sampled_from([action(), action(version=2, device="x", country="de"), b"{", None])) for _ in moments]
    batch = held.decode(values, np.array(moments, np.int64))
    assert batch == [held.at(moment).decoder.decode(value) for value, moment in zip(values, moments, strict=True)]


def test_another_process_reads_by_the_same() -> None:
    held = pickle.loads(pickle.dumps(InEffect(revisions())))
    assert held.revisions == InEffect(revisions()).revisions
    assert isinstance(held.at(3000).decoder.decode(action(version=3, client="x", country="de")), UserAction)


def test_a_document_says_all_that_decoding_needs() -> None:
    contract = InEffect([Revision(BEGINNING, described(THIRD))]).newest
    again = described(own().__class__(own().folder, dict(own().topics) | {TOPIC: contract.topic}, contract.schemas, frozenset()))
    assert again == described(THIRD)
    assert len({Revision(0, described(c)).sha256 for c in (own(), SECOND, THIRD, with_field(own(), "x", TEXT), with_window(own(), 1))}) == 5


def test_the_files_hold_for_all_when_nothing_was_announced() -> None:
    held = of_files()
    assert held.at(-(2**63)) is held.at(2**63 - 1) is held.newest
