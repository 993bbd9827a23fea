"""Every command explains itself by an example that a user can paste."""

from __future__ import annotations

import re

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from infra.errors import StreamhouseError
from jobs.cli import app
from lakehouse.tables import TABLES
from tests.ports import free_ports

COMMANDS = {name: command.help or "" for name, command in get_command(app).commands.items()}  # type: ignore[attr-defined]
GROUPS = {name: command.help or "" for name, command in get_command(app).commands["groups"].commands.items()}  # type: ignore[attr-defined]
DLQ = {name: command.help or "" for name, command in get_command(app).commands["dlq"].commands.items()}  # type: ignore[attr-defined]
GROUPED = [(group, name) for group in ("aggregate", "saga", "shop") for name in get_command(app).commands[group].commands]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_its_help_has_an_example_of_itself(name: str) -> None:
    assert re.search(rf"Example: \./streamhouse {name}\b", COMMANDS[name])


def test_the_example_of_query_asks_a_table() -> None:
    (table,) = re.findall(r'Example: \./streamhouse query "SELECT .+ FROM (\w+) .+"', COMMANDS["query"])
    assert table in TABLES


@pytest.mark.parametrize("speed", ["0", "-1", "nan"])
def test_demo_is_not_played_at_no_speed(speed: str) -> None:
    done = CliRunner().invoke(app, ["demo", "--speed", speed])
    assert done.exit_code == 2
    assert "expected a number greater than 0" in done.output


def test_materialize_without_redis_says_where_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("STREAMHOUSE_REDIS_PORT", port)
    with pytest.raises(StreamhouseError, match=f"no Redis answers at 127.0.0.1:{port}; run `./streamhouse up`"):
        CliRunner().invoke(app, ["materialize"], catch_exceptions=False)


@pytest.mark.parametrize(("group", "name"), GROUPED)
def test_the_help_of_a_grouped_command_has_an_example_of_itself(group: str, name: str) -> None:
    help_text = get_command(app).commands[group].commands[name].help or ""  # type: ignore[attr-defined]
    assert re.search(rf"Example: \./streamhouse {group} {name}\b", help_text)


@pytest.mark.parametrize("name", sorted(DLQ))
def test_the_help_of_a_dlq_command_has_an_example_of_itself(name: str) -> None:
    assert re.search(rf"Example: \./streamhouse dlq {name}\b", DLQ[name])


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_the_help_of_a_groups_command_has_an_example_of_itself(name: str) -> None:
    assert re.search(rf"Example: \./streamhouse groups {name}\b", GROUPS[name])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["replay"], "expected PLACEs, --step, --reason, --version or --all"),
        (["replay", "--all", "--edit", "nothing"], "--edit 'nothing': NameError"),
        (["replay", "seven"], "'seven': expected PARTITION:OFFSET of a record of user-actions"),
        (["show", "1-7"], "'1-7': expected PARTITION:OFFSET of a record of user-actions"),
    ],
)
def test_what_dlq_cannot_do_is_said_before_a_broker_is_asked(arguments: list[str], says: str) -> None:
    with pytest.raises(StreamhouseError, match=says):
        CliRunner().invoke(app, ["dlq", *arguments], catch_exceptions=False)
