"""What counts, what a ratio is made of, and what the page says; the measuring itself is in tests/benchmarks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from features.online_keys import row_key
from infra.config import load_settings
from jobs.clickstream import Row
from tests.benchmarks.bench.calm import Calibration, Calm, Watch, _Used, piece_of_work
from tests.benchmarks.bench.command import FULL, QUICK, as_json, name_of
from tests.benchmarks.bench.drains import Asked, Plan
from tests.benchmarks.bench.legs import OURS, TRIES, Leg, Run, counted, measured
from tests.benchmarks.bench.page import Report, page, text
from tests.benchmarks.bench.ratios import BLOBS, DRAIN, FEAST, FEAST_VECTORS, FRAMEWORKS, INTERVALS, RATIOS, READS, ROWS, latency
from tests.benchmarks.latency import histogram_of
from tests.benchmarks.rivals.sides import RIVALS

CALM, DISTURBED = Calibration(1.0, 1.05, 1.0), Calibration(1.0, 1.2, 1.0)
BY_NAME = {ratio.name: ratio for ratio in RATIOS}


def leg(part: str, side: str, repeat: int, calibration: Calibration = CALM, **figures: Any) -> Leg:
    return Leg(part, side, repeat, calibration, figures)


def a_drain(side: str, repeat: int, rate: float, calibration: Calibration = CALM) -> Leg:
    used = {"broker": 8.0, side: 12.0}
    return leg(DRAIN, side, repeat, calibration, per_second=rate, actions=10, cpu_us=used, peak_mib=used)


def some_legs() -> list[Leg]:
    waits: dict[str, Any] = {
        "uncommitted_p50": 9.0,
        "uncommitted_p99": 15.0,
        "histogram": {"read_uncommitted": [(1.0, 3)], "read_committed": [(2.0, 3)]},
    }
    return [
        *(a_drain(OURS, number, rate) for number, rate in enumerate((30_000, 20_000, 40_000))),
        *(a_drain("rows", number, rate) for number, rate in enumerate((1000, 1600))),
        a_drain("rows", 2, 2000),
        a_drain("blobs", 0, 80_000),
        *(leg(latency(interval), OURS, 0, committed_p99=1000.0, **waits) for interval in INTERVALS),
        leg(READS, OURS, 0, rows_per_second=600_000.0),
        leg(READS, FEAST, 0, rows_per_second=6_000.0),
        leg(READS, FEAST_VECTORS, 0, rows_per_second=20_000.0),
    ]


@pytest.mark.parametrize(
    ("name", "number", "is_met"),
    [
        ("R1 rows", 10, False),  # our worst, 20,000, over its best, 2,000
        ("R1 blobs", 0.25, False),
        ("R1 rate", 20_000, False),
        ("R4 p50", 9, False),
        ("R4 p99", 15, True),
        ("R4 commit 1s", 1000, True),
        ("R4 commit 100ms", 1000, False),
        ("R6 reads", 100, True),
        ("R6 vectors", 30, False),
    ],
)
def test_ours_counts_by_its_worst_run_and_a_rival_by_its_best(name: str, number: float, is_met: bool) -> None:
    value = BY_NAME[name].of(some_legs())
    assert value is not None
    assert value.number == pytest.approx(number)
    assert BY_NAME[name].is_met(value) == is_met


@pytest.mark.parametrize("name", ["R2", "R1 fields", "R5", "R8 users"])
def test_what_was_not_measured_has_no_number(name: str) -> None:
    assert BY_NAME[name].of(some_legs()) is None


def test_a_rival_gets_only_actions_that_ours_answers_too_and_a_quick_one_more_than_ours() -> None:
    for size in (FULL, QUICK):
        plan = Plan(size.actions, size.rivals, size.rounds, size.more_rounds, size.warm_rounds)
        answered = size.actions + sum(section.actions for section in plan.warm())
        assert max(size.rivals.values()) <= answered
        assert len({section.name for section in plan.sections()}) == len(plan.sections())
    assert min(FULL.rivals[side] for side in ("blobs", "bytewax", "pathway")) > FULL.actions


def test_the_first_actions_that_were_asked_keep_their_scores_and_their_users_rows() -> None:
    rows = [Row(number, "uuuv"[number], number, orjson.dumps({"eventId": f"e{number}"})) for number in range(4)]
    state = {row_key("u"): b"profile", row_key("v"): b"other"}
    asked = Asked(rows[:2], {"e0": 0.0, "e1": 0.1}, {row_key("u"): b"profile"}) + Asked(rows[2:], {"e2": 0.2, "e3": 0.3}, state)
    assert asked.first(3) == Asked(rows[:3], {"e0": 0.0, "e1": 0.1, "e2": 0.2}, {row_key("u"): b"profile"})
    assert asked.first(9) == asked
    assert asked.state == state


def test_every_side_that_a_ratio_names_is_a_rival_and_is_measured() -> None:
    assert {*ROWS, *BLOBS, *FRAMEWORKS} <= set(RIVALS)
    assert {*FULL.rivals} <= set(RIVALS)
    assert {*FULL.rivals} >= {*ROWS, *BLOBS, *FRAMEWORKS}
    assert {*QUICK.rivals} <= {*FULL.rivals}
    assert FULL.rounds >= 5
    assert FULL.rounds * FULL.fresh >= 1000
    assert len(BY_NAME) == len(RATIOS)


def test_a_disturbed_leg_does_not_count() -> None:
    legs = [a_drain(OURS, 1, 10, DISTURBED), a_drain(OURS, 2, 30), a_drain("rows", 1, 5, DISTURBED)]
    assert counted(legs, 1.0) == [legs[1]]
    assert counted(legs, 1.2) == legs  # it turned out that the machine is not quicker


def test_what_only_disturbed_legs_tell_has_a_number_and_decides_nothing() -> None:
    legs = [a_drain(OURS, 1, 90_000, DISTURBED), a_drain("rows", 1, 5)]
    made = Report("./streamhouse bench", {}, {}, legs, counted(legs, 1.0), 60.0)
    found = {ratio.name: value for ratio, value in made.results()}
    assert found["R1 rate"] is not None
    assert (found["R1 rate"].number, found["R1 rate"].disturbed) == (90_000, True)
    assert made.behind() == []
    text = page(made)
    assert ">disturbed<" in text
    assert ">met" not in text
    (rate,) = [one for one in orjson.loads(as_json(made))["ratios"] if one["name"] == "R1 rate"]
    assert (rate["met"], rate["disturbed"]) == (None, True)


def test_a_verdict_of_few_runs_says_how_many_and_a_part_of_a_run_that_it_is_one() -> None:
    assert ">met, of 1 run<" in page(a_report())
    legs = some_legs() * 5
    whole = page(Report("./streamhouse bench", {}, {}, legs, legs, 60.0))
    assert ">met<" in whole
    assert "Not a whole run" not in whole
    assert "Not a whole run" in page(Report("./streamhouse bench --quick", {}, {}, legs, legs, 60.0, is_whole=False))


def test_only_a_run_of_all_takes_the_place_of_a_run_of_all() -> None:
    names = [name_of(quick=quick, has_all=has_all) for quick in (False, True) for has_all in (True, False)]
    assert names == ["bench", "bench-part", "bench-quick", "bench-part"]


@pytest.mark.parametrize(
    ("value", "target", "shown"),
    [
        (4.004, 4, "4.004"),
        (3.9996, 4, "3.9996"),
        (4.0, 4, "4"),
        (0.9699999, 0.97, "0.9699999"),
        (59_999.7, 60_000, "59,999.7"),
        (60_000.2, 60_000, "60,000.2"),
        (21_451.3, 60_000, "21,451"),
        (0.30512, 1.3, "0.305"),
        (104.26, 20, "104"),
        (0.0, 0.05, "0"),
        (-0.0312, 0.05, "-0.0312"),
        (999.96, None, "1,000"),
        (62.849, None, "62.8"),
    ],
)
def test_a_number_shows_on_which_side_of_its_target_it_lies(value: float, target: float | None, shown: str) -> None:
    assert text(value, target) == shown


def run_with(seconds: Iterator[float], told: list[str]) -> Run:
    calm = Calm(lambda: next(seconds), [1.0, 1.0, 1.0])
    return Run(load_settings({}), calm, told.append)


def test_it_is_measured_again_where_the_machine_was_disturbed() -> None:
    told: list[str] = []
    found = measured(run_with(iter([1.0, 1.5, 1.0, 1.0]), told), "part", OURS, 3, lambda: {"figure": len(told)})
    assert [one.figures["figure"] for one in found] == [0, 1]
    assert [one.calibration.is_calm for one in found] == [False, True]
    assert len(told) == 1
    assert "does not count" in told[0]


@pytest.mark.parametrize(("change", "why"), [({"foreign": 0.2}, "other processes used 20%"), ({"stolen": 0.1}, "host kept 10%")])
def test_a_leg_during_which_others_used_the_machine_does_not_count(change: dict[str, float], why: str) -> None:
    disturbed = replace(CALM, **change)
    assert counted([a_drain(OURS, 1, 10, disturbed), calm := a_drain(OURS, 2, 30)], 1.0) == [calm]
    (said,) = disturbed.disturbances(1.0)
    assert why in said
    assert CALM.disturbances(1.0) == []
    made = orjson.loads(as_json(Report("./streamhouse bench", {}, {}, [a_drain(OURS, 1, 10, disturbed)], [], 1.0)))
    assert made["legs"][0]["calibration"].items() >= change.items()


def test_what_others_use_is_what_all_use_without_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([_Used(100, 50, 1, 40), _Used(110, 58, 1.5, 45)])
    monkeypatch.setattr("tests.benchmarks.bench.calm._used", lambda _: next(looks))
    watch = Watch(list)
    watch.end()
    watch.end()
    assert watch.foreign == pytest.approx(0.3)
    assert watch.stolen == pytest.approx(0.05)


def test_a_process_that_is_not_ours_is_seen() -> None:
    other = Watch(own=list)
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 1: pass"], check=True)
    other.end()
    assert other.foreign > 0.5 / (os.cpu_count() or 1)


def test_it_is_not_measured_for_ever() -> None:
    disturbed = run_with(iter([1.0, 1.5] * 9), [])
    assert len(measured(disturbed, "part", OURS, 3, dict)) == TRIES
    assert len(measured(replace(disturbed, may_retry=lambda: False), "part", OURS, 3, dict)) == 1


@pytest.mark.parametrize(
    ("first", "later", "looks"),
    [
        ([1.0, 1.0], 1.0, [(1.0, 1.0), (1.0, 1.02)]),  # the look after the first is the one before the second
        ([1.0, 1.0], 3.0, [(1.0, 1.0), (1.01, 1.02)]),  # too long ago
        ([1.0, 1.5], 1.0, [(1.0, 1.5), (1.01, 1.02)]),  # disturbed: perhaps it is no more
    ],
)
def test_one_look_stands_between_two_measurements_that_follow_each_other(
    first: list[float], later: float, looks: list[tuple[float, float]]
) -> None:
    now = [0.0]
    seconds = iter([*first, *looks[1]] if looks[1][0] != first[1] else [*first, looks[1][1]])
    calm = Calm(lambda: next(seconds), [1.0, 1.0, 1.0], clock=lambda: now[0])
    found = []
    for _ in looks:
        found.append(calm.around(lambda _: None)[1])
        now[0] += later
    assert [(one.before, one.after) for one in found] == looks
    assert list(seconds) == []


def test_the_piece_of_work_takes_time_and_its_usual_is_what_a_quarter_undercut() -> None:
    assert piece_of_work() > 0
    assert Calm(None, [5.0, 3.0, 4.0, 9.0]).undisturbed == 4.0
    assert Calm(None, [5.0]).undisturbed == 5.0


def a_report() -> Report:
    legs = [*some_legs(), a_drain(OURS, 9, 1.0, DISTURBED)]
    return Report("./streamhouse bench", {"cores": "<2>"}, {"rows": "at least once"}, legs, counted(legs, 1.0), 60.0)


def test_the_page_shows_every_ratio_with_its_target_and_where_we_are_behind() -> None:
    text = page(a_report())
    for ratio in RATIOS:
        assert f">{ratio.name}<" in text
        assert ratio.wanted in text
    behind = text[text.index("Where we are behind") :]
    assert re.findall(r"<li>([^,]+),", behind) == [
        "R1 rows",
        "R1 blobs",
        "R1 rate",
        "R4 p50",
        "R4 commit 100ms",
        "R4 commit 250ms",
        "R6 vectors",
    ]
    assert "1 do not count" in text
    assert "&lt;2&gt;" in text
    assert "<script" not in text
    assert text.count("<svg") == 4


def test_a_page_of_nothing_is_a_page() -> None:
    text = page(Report("./streamhouse bench", {}, {}, [], [], 1.0))
    assert text.count("not measured</td>") == len(RATIOS)
    assert "<svg" not in text


def test_the_json_holds_each_leg_and_whether_it_counts() -> None:
    told = orjson.loads(as_json(a_report()))
    assert [one["counts"] for one in told["legs"]] == [True] * (len(told["legs"]) - 1) + [False]
    assert [one["name"] for one in told["ratios"]] == [ratio.name for ratio in RATIOS]


def test_a_histogram_holds_every_wait_below_its_buckets_end() -> None:
    waits = [0.01, 0.1, 0.1001, 7.0, 7.0, 5000.0]
    found = histogram_of(waits)
    assert sum(count for _, count in found) == len(waits)
    (first, below), _, (third, twice), (last, _) = found
    assert first == pytest.approx(0.1)
    assert (below, twice) == (2, 2)
    assert third / 1.05 < 7.0 <= third
    assert last >= 5000.0
    assert histogram_of([]) == []
