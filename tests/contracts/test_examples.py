"""The examples of user-actions are executable: the scoring path accepts or refuses each as it says. Those of commands: test_messages.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
from jsonschema import Draft7Validator

from infra.contracts.contract import Example
from infra.contracts.events import Rejected
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.dead_letter import dead_letter
from jobs.records import Records
from jobs.scoring_parts import rules
from jobs.scoring_path import accept

CONTRACTS = load_contracts()
TOPIC = CONTRACTS.topics["user-actions"]
RULES = rules()
FAR_AHEAD = 4_000_000_000_000  # Kafka's time where it does not matter


def judged(example: Example) -> tuple[Records, Rejected | None]:
    partition = example.partition
    if partition is None:
        try:
            partition = partition_of(json.loads(example.value or b"")["data"]["userId"], TOPIC.partitions)
        except (ValueError, KeyError, TypeError):
            partition = 0
    records = Records(
        keys=[b"key"],
        values=[example.value],
        partition=np.array([partition]),
        offset=np.array([7]),
        kafka_ms=np.array([example.kafka_time_ms or FAR_AHEAD]),
    )
    _, refused = accept(records, RULES)
    return records, refused.get(0)


@pytest.mark.parametrize("example", TOPIC.valid, ids=lambda e: e.name)
def test_a_valid_action_is_accepted(example: Example) -> None:
    assert judged(example)[1] is None


@pytest.mark.parametrize("example", TOPIC.invalid, ids=lambda e: e.name)
def test_an_invalid_action_is_refused_for_the_stated_reason(example: Example) -> None:
    refused = judged(example)[1]
    assert refused is not None
    assert (refused.step, refused.reason) == (example.step, example.reason)


@pytest.mark.parametrize("example", TOPIC.invalid, ids=lambda e: e.name)
def test_its_dead_letter_keeps_the_contract_of_dead_letters(example: Example) -> None:
    records, refused = judged(example)
    assert refused is not None
    key, value = dead_letter(records, 0, RULES, refused, now_ms=1_710_325_333_000)
    letter = json.loads(value)
    assert key == b"key"
    assert list(Draft7Validator(dict(CONTRACTS.schemas["DeadLetter", 1].document)).iter_errors(letter)) == []
