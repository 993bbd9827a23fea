"""One browser for all tests of the page, and an export of what is declared here with planted things."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.config import load_settings
from jobs.portal.server import write
from tests.browser import Tab, browser
from tests.portal import document, ours, planted, well


@pytest.fixture(scope="package")
def chromium() -> Iterator[Tab]:
    with browser() as tab:
        yield tab


@pytest.fixture
def tab(chromium: Tab) -> Iterator[Tab]:
    """On a desktop's screen; whatever the page's console says of errors fails the test."""
    chromium.errors.clear()
    chromium.requests.clear()
    chromium.look(1280, 900)
    yield chromium
    assert chromium.errors == []


@pytest.fixture(scope="package")
def exported(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of an export, with an undeclared topic and a dead group in what was seen."""
    folder: Path = tmp_path_factory.mktemp("export")
    files = write(ours(), document(ours(), planted(well(ours()))), folder, load_settings({}))
    assert [file.name for file in files] == ["index.html", "asyncapi.yaml", "catalogue.json"]
    return (folder / "index.html").as_uri()
