"""What `status` says of the whole stack with its jobs."""

from __future__ import annotations

import time

import pytest

from infra.config import Settings
from infra.stack.report import status

MEMORY_MIB = 6 * 1024


def test_the_stack_with_its_jobs_is_well_within_its_memory_and_80_columns(
    stack: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    deadline = time.monotonic() + 200
    while not ((report := status(stack)).is_well and len(report.jobs) == 2 and all(job.checkpoints for job in report.jobs)):
        assert time.monotonic() < deadline, report.troubles
        time.sleep(0.5)
    assert {job.name: job.state for job in report.jobs} == {"score_events": "RUNNING", "archive_topics": "RUNNING"}
    assert 1024 < sum(line.memory_mib for line in report.services) < MEMORY_MIB
    report.show()
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert all(f"│ {name} " in shown for name in ("score_events", "archive_topics", *(line.name for line in report.services)))
