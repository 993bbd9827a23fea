"""What every test shares: how thorough the property tests are, whether the long rounds run, and which tests keep together."""

import signal

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

_STACKS = ("tests/end_to_end/", "tests/faults/")

settings.register_profile("quick", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("quick")

signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it, and so would what it starts


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tests that take over a minute run a short round unless the long one is asked for."""
    parser.addoption("--full", action="store_true", help="the long rounds: every action of the clickstream, every fault")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a whole stack begins first, since it takes longest."""
    items.sort(key=lambda item: not item.nodeid.startswith(_STACKS))


class Together(LoadFileScheduling):
    """Which tests run one after the other in one process, where two share the tests: those of a file, and all that need a whole stack.

    One stack and its jobs leave two cores just enough time for the tests beside them; two stacks would slow each other down.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "stacks" if nodeid.startswith(_STACKS) else nodeid.split("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer | None) -> Together:
    """For xdist."""
    return Together(config, log)
