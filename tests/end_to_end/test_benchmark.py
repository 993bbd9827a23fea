"""The benchmarks run, and what they compare is answered as it must be. How fast is nobody's business here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from infra.config import ROOT, Settings
from tests.end_to_end.readme import environment
from tests.end_to_end.stacks import fresh_stack


@pytest.fixture(scope="module")
def ground() -> Iterator[Settings]:
    """One stack for all benchmarks, up and applied and without jobs."""
    with fresh_stack("benchmark-test") as settings:
        yield settings


def reported(ground: Settings, file: Path, program: str, *arguments: str) -> Any:
    command = [sys.executable, "-m", f"tests.benchmarks.{program}", "--here", "--json", str(file), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(ground), capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    return orjson.loads(file.read_bytes())


@pytest.mark.timeout(900)
def test_the_job_and_the_plain_loop_answer_alike(ground: Settings, tmp_path: Path) -> None:
    report = reported(ground, tmp_path / "report.json", "score_events", "--actions", "2000", "--rounds", "1", "--seconds", "3")
    assert report["answers_compared"] == 2000 + 2000 + 2000 + 3000  # to warm up, one by one, the round, at a fixed rate
    assert report["flink_restarts"] == 0
    assert set(report["drain"]) == {"flink", "loop", "single"}
    assert set(report["latency"]["flink"]["milliseconds"]) == {"read_uncommitted", "read_committed"}


@pytest.mark.timeout(900)
def test_each_record_of_a_poisoned_stream_has_its_one_answer(ground: Settings, tmp_path: Path) -> None:
    slow = "--actions", "1000", "--megabytes", "2", "--rounds", "1", "--at-least", "0"
    report = reported(ground, tmp_path / "report.json", "poisoned", *slow)
    refused = {reason: count for reason, count in report["answered"].items() if reason != "prediction"}
    assert sum(refused.values()) == 2 * (50 + 2)  # to warm up and in the round: 5 % of a thousand, and the megabytes
    assert sum(report["answered"].values()) == 2 * (1000 + 1000 + 40 + 40)
    assert {"invalid_json", "wrong_type", "too_deep", "tombstone", "not_utf8"} <= refused.keys()
    assert set(report["drains"]) == {"clean", "poisoned", "bad megabytes", "good megabytes"}
    assert all(ratio["median"] > 0 for ratio in report["ratios"].values())
