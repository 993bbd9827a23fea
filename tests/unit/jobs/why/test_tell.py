"""An explanation as JSON: whatever else an accepted action says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.contracts.events import UserAction
from infra.contracts.in_effect import decode_user_action
from jobs.why.explanation import Action, ActivityRow, Again, Consumers, Explanation, ModelFile, ProfileRow, Said
from jobs.why.named import Place
from jobs.why.tell import as_dict
from tests.evolved import action


def explained(value: bytes) -> Explanation:
    event = decode_user_action(value)
    assert isinstance(event, UserAction), event
    return Explanation(
        Action(Place(1, 7), value, value, 0, event, None),
        Said("b3307908-0001-8000-8000-000000000007", 1, 7, "user_0001", 0.5, "3f000000", decision=True, flags=(), kafka_ms=0, held=None),
        ModelFile("purchase_30m", "1", Path("model.onnx"), "ab", None, None, ""),
        (),
        ActivityRow(None, None, 0, None, None, None, {}, ()),
        ProfileRow(None, None),
        Consumers((), (), ()),
        Again(as_served=True, folded=True, differences=()),
    )


@pytest.mark.parametrize(
    ("number", "told"),
    [
        ("1e400", "1e400"),
        ("-1e400", "-1e400"),
        ("9" * 5000, "9" * 5000),
        ("9" * 4300, int("9" * 4300)),
        (str(2**64 + 1), 2**64 + 1),
        ("0.25", 0.25),
        ("-7", -7),
        ("1e-400", 0.0),
        ('"é\\ud83d\\ude00"', "é😀"),
        ("[" * 150 + "1e400" + "]" * 150, "1e400"),
    ],
    ids=lambda part: str(part)[:8] if isinstance(part, str) else "",
)
def test_the_event_is_told_with_fields_that_the_decoder_ignores(number: str, told: object) -> None:
    value = action()[:-1] + f',"ignored":{number}}}'.encode()
    said = json.loads(json.dumps(as_dict(explained(value)), allow_nan=False))["action"]["event"]
    assert said["data"]["userId"] == "user_0001"
    found = said["ignored"]
    while isinstance(found, list):
        (found,) = found
    assert found == told
    assert isinstance(found, type(told))
