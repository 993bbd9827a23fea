"""A new version is built beside the live one, equals it row by row, and readers notice nothing but what is new."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Column, Text, func, inspect, select, update

from infra.errors import StreamhouseError
from jobs.patterns.database import reading
from jobs.patterns.project import Projecting, catch_up
from jobs.patterns.projection import Projection, Row
from jobs.patterns.read_models import RivalError, drop, live_version, switch, versions
from jobs.patterns.rebuild import AheadError, DiffersError, keep, rebuild
from jobs.patterns.recorded import Recorded
from tests.integration.read_models.shop import Shop, as_stored, planted
from tests.order_events import expected_predictions, expected_summaries, lives, predictions_of, repeated


def second(projection: Projection) -> Projection:
    return replace(projection, version=2)


def live(shop: Shop, projection: Projection) -> None:
    """Caught up and shown."""
    catch_up(shop.settings, shop.database, projection)
    switch(shop.database, projection)


def live_is(shop: Shop, version: int) -> bool:
    with reading(shop.database) as connection:
        return live_version(connection, shop.summaries.name) == version


@pytest.mark.parametrize("which", ["summaries", "joined"])
def test_a_rebuild_equals_the_live_one_under_traffic_while_readers_read_on(shop: Shop, which: str) -> None:
    projection: Projection = getattr(shop, which)
    events = lives(21, 120)
    everything = [*events, *predictions_of(21, events)]
    shop.send(everything[:200])
    live(shop, projection)
    sizes, ended = list[int](), threading.Event()

    def read_on() -> None:
        while not ended.is_set():
            with reading(shop.database) as connection:
                sizes.append(len(connection.execute(select(projection.view)).all()))

    with ThreadPoolExecutor(2) as threads, shop.following(projection):
        reader = threads.submit(read_on)
        built = threads.submit(rebuild, shop.settings, shop.database, second(projection))
        for start in range(200, len(everything), 20):
            shop.send(repeated(start, everything[start : start + 20]))
        found = built.result(60)
        before = len(sizes)
        while len(sizes) < before + 5:
            time.sleep(0.01)
        ended.set()
        reader.result(60)
    assert found is not None
    assert (found.differ, found.first) == (0, ())
    assert found.rows > 0
    assert min(sizes) > 0
    catch_up(shop.settings, shop.database, projection)
    catch_up(shop.settings, shop.database, second(projection))
    expected = as_stored(expected_summaries(everything) if which == "summaries" else expected_predictions(everything))
    assert shop.seen(projection) == shop.rows(projection) == shop.rows(second(projection)) == expected


def test_after_the_switch_the_old_one_can_be_dropped_and_readers_read_on(shop: Shop) -> None:
    shop.send(lives(22, 20))
    live(shop, shop.summaries)
    expected = shop.seen(shop.summaries)
    with pytest.raises(StreamhouseError, match="expected a version that readers do not see, got the one they see; switch first"):
        drop(shop.database, "order_summaries", 1)
    rebuild(shop.settings, shop.database, second(shop.summaries))
    follower = Projecting(shop.settings, shop.database, shop.summaries)
    follower.step()
    drop(shop.database, "order_summaries", 1)
    with reading(shop.database) as connection:
        assert (live_version(connection, "order_summaries"), versions(connection, "order_summaries")) == (2, [2])
        assert "order_summaries_v1" not in inspect(connection).get_table_names()
    assert shop.seen(shop.summaries) == expected
    shop.send(lives(23, 5, first=500))
    for _ in range(2):  # by what it holds, and after it began anew
        with pytest.raises(RivalError, match="it was dropped; this process stops"):
            catch_up(shop.settings, shop.database, shop.summaries, projecting=follower)
    with reading(shop.database) as connection:
        assert versions(connection, "order_summaries") == [2]


def test_the_live_one_is_dropped_when_a_person_says_so_and_its_service_builds_it_anew(shop: Shop) -> None:
    shop.send(lives(28, 20))
    live(shop, shop.summaries)
    expected = shop.seen(shop.summaries)
    with pytest.raises(StreamhouseError, match=r"version 3: expected one of those that are there, which are \[1\]"):
        drop(shop.database, "order_summaries", 3)
    drop(shop.database, "order_summaries", 1, live=True)
    with reading(shop.database) as connection:
        assert (live_version(connection, "order_summaries"), versions(connection, "order_summaries")) == (None, [])
        assert not inspect(connection).get_view_names()
    keep(shop.settings, shop.database, shop.summaries, lambda: live_is(shop, 1))
    catch_up(shop.settings, shop.database, shop.summaries)
    assert shop.seen(shop.summaries) == expected


def test_a_planted_difference_is_named_and_nothing_is_switched(shop: Shop) -> None:
    shop.send(lives(24, 20))
    live(shop, shop.summaries)
    (table,) = shop.summaries.tables
    planted(shop, update(table).where(table.c.order_id == "order-00007").values(item_count=table.c.item_count + 1000))
    planted(shop, table.delete().where(table.c.order_id == "order-00003"))
    with pytest.raises(
        DiffersError, match=r"got 2 others: order_id 'order-00003' is in it alone; order_id 'order-00007': item_count 10.. became"
    ):
        rebuild(shop.settings, shop.database, second(shop.summaries))
    with reading(shop.database) as connection:
        assert live_version(connection, "order_summaries") == 1
    found = rebuild(shop.settings, shop.database, second(shop.summaries), accept=True)
    assert found is not None
    assert found.differ == 2
    assert "order-00003" in shop.seen(shop.summaries)


def test_a_version_with_another_column_is_compared_by_the_others(shop: Shop) -> None:
    shop.send(lives(25, 20))
    live(shop, shop.summaries)
    (part,) = shop.summaries.parts

    def columns() -> Sequence[Column[Any]]:
        first, *others = part.columns()
        return (first, Column("initial", Text, comment="First letter of the user (text)."), *others)

    def fold(row: Row | None, event: Recorded) -> Row | None:
        after = part.fold(row, event)
        return {**after, "initial": after["user_id"][0]} if after is not None else None

    wider = replace(shop.summaries, version=2, parts=(replace(part, columns=columns, fold=fold),))
    with reading(shop.database) as connection:  # a connection that knows the old columns
        assert connection.execute(select(func.count()).select_from(shop.summaries.view)).scalar()
    found = rebuild(shop.settings, shop.database, wider)
    assert found is not None
    assert found.differ == 0
    assert "initial" not in found.columns
    assert {row["initial"] for row in shop.seen(wider).values()} == {"u"}
    assert shop.seen(shop.summaries).keys() == shop.seen(wider).keys()


def test_a_rebuild_that_was_cut_off_ahead_of_a_live_one_that_stands_still_is_made_once_more(shop: Shop) -> None:
    events = lives(26, 30)
    shop.send(events[:50])
    live(shop, shop.summaries)
    shop.send(events[50:])
    catch_up(shop.settings, shop.database, second(shop.summaries))
    with pytest.raises(AheadError, match="expected version 1 to pass it within 0 s"):
        rebuild(shop.settings, shop.database, second(shop.summaries), wait_seconds=0)
    drop(shop.database, "order_summaries", 2)
    rebuild(shop.settings, shop.database, second(shop.summaries))
    assert shop.seen(shop.summaries) == as_stored(expected_summaries(events))


def test_a_service_shows_its_first_version_when_it_has_caught_up_and_a_later_one_when_it_is_equal(shop: Shop) -> None:
    events = lives(27, 30)
    stops = [threading.Event(), threading.Event()]
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(keep, shop.settings, shop.database, shop.summaries, stops[0].is_set)
        shop.send(events[:60])
        _wait_for(lambda: _live(shop) == 1 and len(shop.seen(shop.summaries)) > 0)
        later = threads.submit(keep, shop.settings, shop.database, second(shop.summaries), stops[1].is_set)
        _wait_for(lambda: _live(shop) == 2)
        shop.send(events[60:])
        _wait_for(lambda: shop.seen(shop.summaries) == as_stored(expected_summaries(events)))
        for stop in stops:
            stop.set()
        first.result(30)
        later.result(30)
    with pytest.raises(StreamhouseError, match="expected a later version than the one that readers see, 2"):
        rebuild(shop.settings, shop.database, shop.summaries)


def _live(shop: Shop) -> int | None:
    with reading(shop.database) as connection:
        return live_version(connection, "order_summaries")


def _wait_for(what: Any) -> None:
    deadline = time.monotonic() + 180
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)
