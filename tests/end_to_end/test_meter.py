"""The meter of a running stack: predictions of some users are made again from the log while they are made."""

from __future__ import annotations

import json

from infra.config import Settings
from infra.stack import measured
from infra.stack.report import status
from tests.end_to_end.facts import wait_for


def test_what_the_stack_serves_is_as_the_log_gives_it(played: Settings) -> None:
    def count() -> int:
        kept = measured.known(played)
        return 0 if kept is None else kept.measured.measured

    wait_for(lambda: count() > 500)
    kept = measured.known(played)
    assert kept is not None
    assert kept.measured.first == []
    assert kept.measured.equal == kept.measured.measured
    wait_for(lambda: status(played).is_well)
    report = status(played)
    assert report.features_line.endswith("predictions (every 20th user) are as the log gives them")
    told = json.loads(json.dumps(report.as_dict()))["features"]
    assert (told["differ"], told["doing"]["waits"]) == (0, "")
