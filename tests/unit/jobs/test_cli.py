"""Every command explains itself by an example that a user can paste."""

from __future__ import annotations

import re

import pytest
from typer.main import get_command

from jobs.cli import app
from lakehouse.tables import TABLES

COMMANDS = {name: command.help or "" for name, command in get_command(app).commands.items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_its_help_has_an_example_of_itself(name: str) -> None:
    assert re.search(rf"Example: \./streamhouse {name}\b", COMMANDS[name])


def test_the_example_of_query_asks_a_table() -> None:
    (table,) = re.findall(r'Example: \./streamhouse query "SELECT .+ FROM (\w+) .+"', COMMANDS["query"])
    assert table in TABLES
