"""A portal that runs, beside a person or git who changes the contract files under it."""

from __future__ import annotations

from pathlib import Path

from infra.config import load_settings
from infra.portal import things
from infra.portal.catalogue import Catalogue
from jobs.portal.current import Current
from tests.contracts.changes import NEXT_ACTION
from tests.contracts.edits import copied

SETTINGS = load_settings({})


def columns(catalogue: Catalogue, table: str) -> set[str]:
    """By the graph, and by the list of tables, which say the same."""
    nodes = {node.name for node in catalogue.graph.of_kind("column") if node.name.startswith(f"{table}.")}
    (listed,) = (one.columns for one in catalogue.tables if one.name == table)
    assert nodes == {things.column(table, column.name).name for column in listed}
    return nodes


def test_a_column_that_was_renamed_while_it_runs_is_no_more_under_its_old_name(tmp_path: Path) -> None:
    folder = copied(tmp_path / "contracts")
    current = Current(SETTINGS, folder)
    before = columns(current(), "user_actions")
    NEXT_ACTION(folder)
    after = columns(current(), "user_actions")
    assert current.findings() == []
    assert (before - after, after - before) == ({"user_actions.platform"}, {"user_actions.device"})
