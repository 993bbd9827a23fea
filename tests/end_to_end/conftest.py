"""The real stack on ports and in a folder of its own, so that a user's running one is left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.config import ROOT, Settings
from tests.end_to_end.stacks import fresh_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Settings]:
    """Everything up, applied, and both jobs submitted; ended and deleted afterwards unless KEEP_STACK is set."""
    from jobs.submit import submit

    with fresh_stack("test", keep=bool(os.environ.get("KEEP_STACK"))) as settings:
        submit(settings, "score_events")
        submit(settings, "archive_topics")
        yield settings


@pytest.fixture
def shop() -> Path:
    """The clickstream that ships with the project."""
    return ROOT / "data" / "shop_clickstream.csv.gz"
