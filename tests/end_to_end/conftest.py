"""The real stack on ports and in a folder of its own, so that a user's running one is left alone."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.config import ROOT, Settings
from infra.contracts.load import load_contracts
from jobs.clickstream import open_clickstream
from jobs.play import play
from tests.end_to_end.actions import minutes, send
from tests.end_to_end.facts import records, tables_follow, wait_for
from tests.end_to_end.stacks import fresh_stack

# so that the tables' upkeep, and the brake, are seen within the tests' minutes
_QUICK = {
    "BRAKE_SECONDS": "20",
    "ARCHIVE_TOPICS_CHECKPOINT_INTERVAL": "2s",
    "ARCHIVE_SHOP_CHECKPOINT_INTERVAL": "2s",
    "ARCHIVE_TOPICS_MAINTAIN_EVERY_COMMITS": "5",
    "ARCHIVE_TOPICS_SNAPSHOT_SECONDS": "60",
    "ARCHIVE_TOPICS_SNAPSHOTS": "10",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What brings up a stack of its own comes first, while the one that the others share is not up yet and takes no time from it."""
    places = [i for i, item in enumerate(items) if Path(__file__).parent in item.path.parents]
    ordered = sorted((items[i] for i in places), key=lambda item: isinstance(item, pytest.Function) and "stack" in item.fixturenames)
    for i, item in zip(places, ordered, strict=True):
        items[i] = item


@pytest.fixture(scope="package")
def stack() -> Iterator[Settings]:
    """Everything up, applied, and both jobs submitted; ended and deleted afterwards unless KEEP_STACK is set."""
    from jobs.submit import JOBS, submit

    with fresh_stack("test", keep=bool(os.environ.get("KEEP_STACK")), **_QUICK) as settings:
        submit(settings, *JOBS)
        yield settings


@pytest.fixture(scope="package")
def played(stack: Settings) -> Settings:
    """The stack with the profiles in their table and store, the whole clickstream sent, and each action answered."""
    from jobs.demo import bring_profiles

    topic, clickstream = load_contracts().topics["user-actions"], open_clickstream(stack.root / "data" / "shop_clickstream.csv.gz")
    bring_profiles(stack, clickstream)
    for expected in (31_106, 0):  # the second time nothing is sent
        sent = play(stack, topic, clickstream, speed=None, clock=time.monotonic, sleep=time.sleep, progress=lambda _: None)
        assert sent.sent == expected
    wait_for(lambda: len(records(stack, "predictions")) >= 31_106)
    return stack


@pytest.fixture(scope="module")
def archived(played: Settings) -> Settings:
    """The same, a late action more, and all of it in the tables."""
    send(played, f"late-{uuid.uuid4()}", *minutes(10, 0, 20))
    wait_for(lambda: len(records(played, "predictions")) + len(records(played, "user-actions-dlq")) >= len(records(played, "user-actions")))
    wait_for(lambda: tables_follow(played))
    return played


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the long round of a test was asked for, with --full."""
    return bool(request.config.getoption("--full"))


@pytest.fixture
def shop() -> Path:
    """The clickstream that ships with the project."""
    return ROOT / "data" / "shop_clickstream.csv.gz"
