"""Contracts name the commands that read their topics, beside what the code of each command says that it reads."""

from __future__ import annotations

import ast

import pytest

from infra.config import ROOT
from infra.contracts.load import load_contracts

CONSUMERS = {topic.name: topic.consumers for topic in load_contracts().topics.values()}
TELLS = {
    ("jobs.contract_history", "in_effect"): "contract-changes",
    ("jobs.schema_history", "decisions"): "schema-ids",
    ("jobs.followed_decisions", "once_decided"): "schema-ids",
}
"""What reads a whole topic for whoever calls it."""


def is_named(command: str, topic: str) -> bool:
    whole = f"./streamhouse {command}"
    return any(name == whole or name.startswith(f"{whole} ") for name in CONSUMERS[topic])


@pytest.mark.parametrize("command", ["audit", "backfill", "backtest", "dlq", "replay", "why"])
def test_a_command_that_decodes_actions_is_named_as_a_reader_of_what_they_are_decoded_by(command: str) -> None:
    read = set[str]()
    for file in sorted((ROOT / "jobs" / command).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                read |= {TELLS[node.module or "", one.name] for one in node.names if (node.module or "", one.name) in TELLS}
    assert read
    assert {topic for topic in read if not is_named(command, topic)} == set()


def test_why_is_named_as_a_reader_of_the_topics_in_which_it_looks_for_what_is_not_archived_yet() -> None:
    """`jobs.why.topics`: the actions, what was answered to them, and the letters of those that were refused."""
    assert {topic for topic in ("user-actions", "predictions", "user-actions-dlq") if not is_named("why", topic)} == set()
