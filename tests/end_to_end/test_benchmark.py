"""The benchmark runs, and the job and the plain loop give the same answers. How fast is nobody's business here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from infra.config import ROOT


@pytest.mark.timeout(900)
def test_the_job_and_the_plain_loop_answer_alike(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.benchmarks.score_events", "--actions", "2000", "--rounds", "1", "--seconds", "3"]
    done = subprocess.run([*command, "--json", str(file)], cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    report = orjson.loads(file.read_bytes())
    assert report["answers_compared"] == 2000 + 2000 + 2000 + 3000  # to warm up, one by one, the round, at a fixed rate
    assert report["flink_restarts"] == 0
    assert set(report["drain"]) == {"flink", "loop", "single"}
    assert set(report["latency"]["flink"]["milliseconds"]) == {"read_uncommitted", "read_committed"}
