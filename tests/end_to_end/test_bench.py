"""The bench runs, compares every answer, and tells every ratio on its page. How fast is nobody's business here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from infra.config import Settings
from tests.benchmarks.bench import costs, growth
from tests.benchmarks.bench.command import DEFAULT, Found, Size, report, run, write
from tests.benchmarks.bench.ratios import RATIOS
from tests.end_to_end.stacks import fresh_stack

TINY = Size(
    actions=1000,
    rounds=1,
    more_rounds=0,
    warm_rounds=2,
    rivals={"blobs": 2500},  # more than a round's, and fewer than all that ours answers
    intervals=(DEFAULT,),
    curve_rounds=1,
    latency_seconds=1,
    read_actions=16_000,  # which have more users than one read
    read_seconds=0.1,
    fresh=5,
    fresh_seconds=2,
    turn_actions=1000,
    growth=growth.QUICK,
    costs=costs.Plan(actions=1000, submits=1, starts=1, rest_seconds=1),
    retry_seconds=60,
)
PARTS = ("drain", "latency", "reads")
"""The others take minutes, and their pieces have tests of their own."""
TOLD = {"R1 blobs", "R1 rate", "R4 p50", "R4 p99", "R4 commit 1s", "R6 reads", "R6 vectors", "R6 fresh p50", "R6 fresh p99"} | {
    "R6 loaded p50",
    "R6 loaded p99",
}


@pytest.fixture(scope="module")
def ground() -> Iterator[Settings]:
    """A stack of its own: a bench that runs beside the tests keeps its own."""
    with fresh_stack("bench-test") as settings:
        yield settings


@pytest.mark.timeout(900)
def test_a_small_bench_tells_what_it_measured(ground: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.benchmarks.bench.legs.TRIES", 1)  # other tests disturb it, and more tries would be disturbed, too
    found = Found()
    run(ground, TINY, PARTS, found)
    write(tmp_path, "bench-part", report(ground, found, "./streamhouse bench", is_whole=False))
    told = orjson.loads((tmp_path / "bench-part.json").read_bytes())
    assert {ratio["name"] for ratio in told["ratios"] if ratio["value"] is not None} == TOLD
    assert [ratio["name"] for ratio in told["ratios"]] == [ratio.name for ratio in RATIOS]
    assert all(ratio["value"] > 0 for ratio in told["ratios"] if ratio["value"] is not None)
    drains = {leg["side"]: leg["figures"] for leg in told["legs"] if leg["part"] == "drain"}
    assert {side: figures["actions"] for side, figures in drains.items()} == {"ours": 1000, "blobs": 2500}
    assert all({"foreign", "stolen"} <= leg["calibration"].keys() for leg in told["legs"])
    page = (tmp_path / "bench-part.html").read_text("utf-8")
    for ratio in RATIOS:
        assert f">{ratio.name}<" in page
    assert "Where we are behind" in page
