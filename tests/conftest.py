"""What every test shares: how thorough the property tests are, whether the long rounds run, and which tests keep together."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tests that take over a minute run a short round unless the long one is asked for."""
    parser.addoption("--full", action="store_true", help="the long rounds: every action of the clickstream, every fault")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several run at a time, a file's tests keep to one process, and so do all that share the package's one stack."""
    for item in items:
        shared = isinstance(item, pytest.Function) and "stack" in item.fixturenames
        item.add_marker(pytest.mark.xdist_group("stack" if shared else item.nodeid.split("::")[0]))
