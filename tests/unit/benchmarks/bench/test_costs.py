"""What costs are read from, and how the page tells them; the measuring itself is in tests/benchmarks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.benchmarks.bench import costs
from tests.benchmarks.bench.calm import Calibration
from tests.benchmarks.bench.costs_page import per_million, section
from tests.benchmarks.bench.legs import OURS, Leg

CALM, DISTURBED = Calibration(1.0, 1.0, 1.0), Calibration(1.0, 2.0, 1.0)


def leg(part: str, calibration: Calibration = CALM, **figures: Any) -> Leg:
    return Leg(part, OURS, 1, calibration, figures)


def some_legs() -> list[Leg]:
    started: dict[str, Any] = {"services": {"broker": 9.0, "registry": 11.0, "redis": 0.3}, "cpu_seconds": {"broker": 6.0, "registry": 5.0}}
    table = {"rows": 500, "files": 7, "data_bytes": 3 << 20, "data_folder_bytes": 5 << 20, "metadata_bytes": 1 << 20, "commits": 12}
    return [
        leg(costs.START_AGAIN, seconds=20.0, **started),
        leg(costs.START_AGAIN, DISTURBED, seconds=50.0, **started),
        leg(costs.FIRST_PREDICTION, seconds=5.0, cpu_seconds={"client": 4.0}),
        leg(costs.AT_REST, pss_mib={"broker": 200.0, "redis": 3.0}),
        leg(costs.LOADED, pss_mib={"broker": 300.0, "python workers": 250.0}, together_mib=500.0, actions=10),
        leg(
            costs.DISK,
            actions=500_000,
            users=1000,
            kafka_bytes={"user-actions": 50 << 20, "predictions": 70 << 20, "orders": 4096},
            tables={"user-actions": table},
            aof_bytes=20 << 20,
            aof_rewritten_bytes=500_000,
            redis_bytes=1_000_000,
            checkpoint_bytes=8192,
            log_bytes=9000,
            catalog_bytes=90_000,
        ),
    ]


def test_what_up_says_is_read_by_service() -> None:
    said = "jars: apicurio-registry-app\nredis answers after 0.4 s\nread-models answers after 12.0 s\n  broker       127.0.0.1:19092\n"
    assert costs.answered(said) == {"redis": 0.4, "read-models": 12.0}


def test_a_file_counts_by_what_it_takes_and_not_by_how_long_it_is(tmp_path: Path) -> None:
    topic = tmp_path / "user-actions-dlq-3"
    topic.mkdir()
    (tmp_path / "meta.properties").write_text("version=1", "utf-8")
    with (topic / "0.index").open("wb") as index:
        index.truncate(10 << 20)
    assert costs.topics_bytes(tmp_path) == {"user-actions-dlq": 0}
    (topic / "0.log").write_bytes(b"x" * 100_000)
    assert 100_000 <= costs.topics_bytes(tmp_path)["user-actions-dlq"] < 200_000
    assert costs.taken(tmp_path / "none") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="PSS is Linux' own")
def test_memory_is_told_of_a_process_that_runs_and_not_of_one_that_has_ended() -> None:
    assert costs._pss(psutil.Process()) > 1 << 20
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        seen = psutil.Process(other.pid)
        other.communicate(b"\n")
    assert costs._pss(seen) == 0


def test_the_page_tells_every_cost_and_which_seconds_are_disturbed() -> None:
    legs = some_legs()
    text = section(legs, [one for one in legs if one.calibration.is_calm])
    assert "1 of 2 disturbed" in text
    assert "35.0<br><small>20.0 to 50.0" in text
    assert "<td>200</td><td>300</td>" in text  # the broker at rest and under load
    assert "<td>203</td><td>500</td>" in text  # all of them at one time, which is less than each one's most together
    assert "topic predictions</td><td>70.0</td><td>140</td>" in text
    assert "until their snapshots expire</td><td>2.0</td><td>4</td>" in text
    assert "4 others together" not in text
    assert "others together" in text
    assert "1,000 bytes a user in memory and 500 in its file" in text


def test_a_page_without_costs_has_no_such_part() -> None:
    assert section([leg("drain", per_second=1.0)], []) == ""


def test_a_million_is_worked_out_from_as_many_as_were_measured() -> None:
    assert per_million(5 << 20, 500_000) == pytest.approx(10)
