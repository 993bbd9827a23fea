"""The history of the replay's tests, in a lake whose broker nobody could reach."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.config import Settings
from jobs.why.explain import Explainer
from tests.histories import Made
from tests.integration.replay.conftest import made as made


def nobody_listens(settings: Settings) -> Settings:
    """With the address of a broker that cannot be: one that runs on this machine must not be asked."""
    return replace(settings, kafka=replace(settings.kafka, host="127.0.0.1", port=1))


@pytest.fixture(scope="session")
def lake(made: tuple[Settings, Made]) -> Settings:
    """The settings of the history."""
    return nobody_listens(made[0])


@pytest.fixture(scope="session")
def explainer(lake: Settings) -> Explainer:
    """Opened once for all who change nothing."""
    return Explainer(lake, many=True)
