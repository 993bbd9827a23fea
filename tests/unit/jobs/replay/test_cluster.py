"""When a replay on Flink has room, and how it says why its job failed."""

from __future__ import annotations

import pytest

from infra.config import load_settings
from infra.errors import StreamhouseError
from jobs.replay.cluster import reason, refuse_without_room

SETTINGS = load_settings({})

PYTHON = """org.apache.flink.runtime.JobException: Recovery is suppressed by FixedDelayRestartBackoffTimeStrategy
\tat org.apache.flink.runtime.executiongraph.failover.ExecutionFailureHandler.handleFailure(ExecutionFailureHandler.java:219)
Caused by: java.lang.RuntimeException: Error received from SDK harness for instruction 3: Traceback (most recent call last):
  File "jobs/flink/replay_udf.py", line 70, in eval
    rows = nothing
NameError: name 'nothing' is not defined

\tat java.base/java.lang.Thread.run(Thread.java:1583)
"""
JAVA = """java.lang.RuntimeException: outer
\tat A.b(A.java:1)
Caused by: java.io.UncheckedIOException: middle
\t... 10 more
Caused by: java.io.FileNotFoundException: File file:/lake/data/1.parquet does not exist
\tat C.d(C.java:2)
"""


@pytest.mark.parametrize(("parallelism", "free", "total"), [(1, 8, 8), (1, 6, 8), (1, 2, 4)])
def test_a_job_that_leaves_the_stream_its_slots_may_run(parallelism: int, free: int, total: int) -> None:
    refuse_without_room(SETTINGS, parallelism, free, total)


@pytest.mark.parametrize(("parallelism", "free", "total"), [(2, 8, 8), (1, 4, 8), (1, 1, 8), (1, 0, 0)])
def test_one_that_would_starve_it_is_refused(parallelism: int, free: int, total: int) -> None:
    with pytest.raises(StreamhouseError, match=r"expected \d slots beside .* got -?\d of the 4 .* end another replay"):
        refuse_without_room(SETTINGS, parallelism, free, total)


def test_why_a_job_failed_is_its_innermost_cause() -> None:
    assert reason(PYTHON) == "NameError: name 'nothing' is not defined"
    assert reason(JAVA) == "java.io.FileNotFoundException: File file:/lake/data/1.parquet does not exist"
    large = "java.io.IOException: The record exceeds the maximum size of a sort buffer (current maximum: 2785280 bytes)."
    assert reason(f"java.lang.RuntimeException: outer\nCaused by: {large}").startswith("a record is larger than the memory")
    assert reason("") == "Flink says no cause"
