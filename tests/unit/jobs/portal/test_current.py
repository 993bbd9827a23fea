"""A portal that runs, beside a person or git who changes the contract files under it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from infra.contracts.contract import Contracts
from infra.portal import things
from infra.portal.catalogue import Catalogue
from jobs.portal.current import Current
from tests.contracts.changes import NEXT_ACTION
from tests.contracts.edits import copied
from tests.portal import ours

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


def which(_: Settings, contracts: Contracts) -> Catalogue:
    """Of ours, which takes seconds to make, the topics that these contracts name."""
    if "orders" not in contracts.topics:
        raise KeyError("orders")
    return replace(ours(), topics=tuple(topic for topic in ours().topics if topic.name in contracts.topics))


def test_a_folder_that_goes_while_it_is_listed_leaves_the_last_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied(tmp_path / "contracts")
    current = Current(SETTINGS, folder, which)
    before, stat = current(), Path.stat

    def as_it_goes(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.parent.parent == folder / "examples":  # the folders beside it are known, and not listed yet
            (folder / "examples").rename(tmp_path / "away")
        return stat(path, follow_symlinks=follow_symlinks)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", as_it_goes)
        assert current() is before
    (told,) = current.findings()
    assert "FileNotFoundError: " in told.text
    (tmp_path / "away").rename(folder / "examples")
    assert current() == before
    assert current.findings() == []


def test_what_is_no_sentence_of_ours_is_told_with_its_name(tmp_path: Path) -> None:
    folder = copied(tmp_path / "contracts")
    current = Current(SETTINGS, folder, which)
    for part in ("topics", "schemas", "examples"):
        (folder / part).rename(tmp_path / part)
        (folder / part).mkdir()
    current()
    (told,) = current.findings()
    assert told.text.endswith(". KeyError: 'orders'")
