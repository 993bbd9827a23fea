"""Curves of settings: a table for each, of medians, which the page has a place for."""

from __future__ import annotations

import tomllib

from infra.config import ROOT, load_settings
from tests.benchmarks.curves import CURVES, Point, tables
from tests.benchmarks.scale import filled


def test_each_curve_is_of_a_setting_and_holds_its_default() -> None:
    given = tomllib.loads((ROOT / "infra" / "settings.toml").read_text("utf-8"))["score_events"]
    for curve in CURVES.values():
        assert given[curve.setting] in curve.values
        for value in curve.values:
            assert str(getattr(load_settings(curve.variable(value)).score_events, curve.setting)) == str(value)


def test_a_table_tells_medians_in_the_order_of_the_values() -> None:
    def point(rate: float, p50: float) -> Point:
        return Point(rate, 40.0, p50, 20.0, 1100.0, 1.25)

    made = tables(
        {"linger_milliseconds": {0: [point(100, 9.0), point(30_000, 7.0), point(20_000, 8.0)], 1: [point(5.0, 1.0)]}},
        load_settings().score_events,
        "Said.",
    )
    lines = made["linger_milliseconds"].splitlines()
    assert lines[2] == "| 0 | 20,000 | 40.0 | 8.0 | 20.0 | 1,100 | 1.25 |"
    assert lines[3] == "| **1** | 5 | 40.0 | 1.0 | 20.0 | 1,100 | 1.25 |"
    assert lines[-1] == "Said."


def test_the_page_has_a_place_for_each() -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    made = {curve.setting: f"table of {curve.setting}" for curve in CURVES.values()}
    assert all(text in filled(page, made) for text in made.values())
