"""What every test shares: how thorough the property tests are, and whether the long rounds run."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tests that take over a minute run a short round unless the long one is asked for."""
    parser.addoption("--full", action="store_true", help="the long rounds: every action of the clickstream, every fault")
