"""A benchmark's input is the same each time, in time order, and its sections share no user."""

from __future__ import annotations

import itertools

import orjson

from infra.config import ROOT
from jobs.clickstream import open_clickstream
from tests.benchmarks.actions import Section, section_profiles, section_rows

SHOP = open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz")


def test_a_section_is_the_same_each_time_and_in_time_order() -> None:
    section = Section("a", 32_000)  # more than the file holds, so two copies are merged
    rows, again = (list(itertools.islice(section_rows(SHOP, section), 3000)) for _ in range(2))
    assert rows == again
    assert [row.time for row in rows] == sorted(row.time for row in rows)
    assert len({orjson.loads(row.value)["eventId"] for row in rows}) == 3000
    assert {row.user_id.rsplit("_", 1)[1] for row in rows} == {"0", "1"}


def test_every_user_has_a_profile_and_no_section_has_another_ones_users() -> None:
    one, other = Section("a", 2000), Section("b", 2000)
    users = [{row.user_id for row in section_rows(SHOP, section)} for section in (one, other)]
    assert not users[0] & users[1]
    assert users[0] | users[1] <= set(section_profiles(SHOP, [one, other])["user_id"].to_pylist())
