"""Each event changes its row once, over repetitions, mixtures, kills, copies that were asleep, and databases that go away."""

from __future__ import annotations

import random
import signal
import time

import psutil
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from sqlalchemy import text, update

from jobs.committed_records import committed_ends
from jobs.patterns.database import is_sqlite, reading, writing
from jobs.patterns.lag import lags
from jobs.patterns.project import Projecting, catch_up
from jobs.patterns.read_models import RivalError, _positions, move, positions, switch, wait_for
from jobs.patterns.topic_cut import TopicCutError
from tests.integration.read_models.shop import PARTITIONS, Shop, as_stored, planted
from tests.order_events import expected_predictions, expected_summaries, lives, predictions_of, repeated
from tests.postgres import Postgres

_POINTS = ("read", "moved", "written", "committed")


def test_repetitions_aborted_records_and_bytes_that_nobody_can_read(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    events = lives(1, 60)
    for start in range(0, len(events), 25):
        shop.send(repeated(start, events[: start + 25]))
        shop.send(lives(2, 3, first=900), commit=False)
    shop.send_bytes(b"{", None, b'{"eventType":"OrderPraised","version":1}')
    projection = shop.summaries
    catch_up(shop.settings, shop.database, projection, projecting=Projecting(shop.settings, shop.database, projection, 30))
    switch(shop.database, projection)
    assert shop.seen(projection) == as_stored(expected_summaries(events))
    with reading(shop.database) as connection:
        at = positions(connection, projection.name, 1)
    assert at == committed_ends(shop.settings, [(shop.orders, partition) for partition in range(PARTITIONS)])
    (lag,) = lags(shop.settings, shop.database, projection.name)
    assert (lag.records, lag.unreadable, lag.is_live) == (0, 2, True)
    assert str(lag) == "order_summaries version 1 (live): 0 records behind; 2 unreadable records passed"
    assert caplog.text.count("passes offset") == 2
    assert "the value is null" in caplog.text


def test_lag_is_what_is_committed_and_not_passed(shop: Shop) -> None:
    events = lives(3, 30)
    shop.send(events[:40])
    catch_up(shop.settings, shop.database, shop.summaries)
    shop.send(events[40:45])
    (lag,) = lags(shop.settings, shop.database, "order_summaries")
    touched = {partition for (_, partition), behind in lag.behind.items() if behind}
    assert lag.records == 5 + len(touched)  # and the end of the transaction in each partition
    assert not lag.is_live


def test_a_record_that_comes_twice_is_refused_by_the_position(shop: Shop) -> None:
    shop.send(lives(4, 5))
    projection = shop.summaries
    held = catch_up(shop.settings, shop.database, projection)
    place = next(place for place, following in held.items() if following)
    expected = rf"to be at offset 0 of partition {place[1]} of .*, it is at {held[place]}: another process moves it; .* run one only"
    with pytest.raises(RivalError, match=expected), writing(shop.database) as connection:
        move(connection, projection, {**held, place: 0}, held, {})


@pytest.mark.parametrize("seed", [1, 2])
def test_halves_meet_whichever_topic_was_read_first(shop: Shop, seed: int) -> None:
    events = lives(seed, 40)
    everything = [*events, *predictions_of(seed, events)]
    draw, projection = random.Random(seed), shop.joined
    by_topic = {topic: [e for e in everything if e.data.topic == topic] for topic in ("orders", "predictions")}
    while any(by_topic.values()):
        for waiting in draw.sample(list(by_topic.values()), 2):
            some = draw.randint(0, 30)
            shop.send(repeated(seed, waiting[:some]))
            del waiting[:some]
        catch_up(
            shop.settings, shop.database, projection, projecting=Projecting(shop.settings, shop.database, projection, draw.randint(5, 50))
        )
    switch(shop.database, projection)
    assert shop.seen(projection) == expected_predictions(everything)


def test_killed_at_every_point_of_a_batch(shop: Shop, pytestconfig: pytest.Config) -> None:
    events = lives(5, 60)
    shop.send(repeated(5, events))
    points = _POINTS * (5 if pytestconfig.getoption("--full") else 1)
    for number, point in enumerate(points):
        with shop.process(point, 1 + number % 2, "SIGKILL", batch=400 // len(points)) as process:
            assert process.wait(60) == -signal.SIGKILL
    projection = shop.summaries
    catch_up(shop.settings, shop.database, projection)
    assert shop.rows(projection) == as_stored(expected_summaries(events))


def test_a_copy_that_was_asleep_changes_nothing_and_says_why_it_stops(shop: Shop) -> None:
    events = lives(6, 40)
    shop.send(events)
    asleep = shop.process("read", 2, "SIGSTOP", batch=10)
    try:
        _wait_until_stopped(asleep.pid)
        projection = shop.summaries
        catch_up(shop.settings, shop.database, projection)
        before = shop.rows(projection)
        asleep.send_signal(signal.SIGCONT)
        said, _ = asleep.communicate(timeout=60)
    finally:
        asleep.kill()
        asleep.wait(120)
    assert asleep.returncode == 1
    assert "another process moves it; this process stops and has changed nothing" in said
    assert shop.rows(projection) == before == as_stored(expected_summaries(events))


def test_a_copy_that_sleeps_inside_its_transaction_holds_nobody_up_for_long(shop: Shop) -> None:
    """PostgreSQL ends its transaction; SQLite's lock is the process's own, so there it has to be ended."""
    events = lives(7, 40)
    shop.send(events)
    asleep = shop.process("written", 2, "SIGSTOP", batch=10, idle=1)
    try:
        _wait_until_stopped(asleep.pid)
        if is_sqlite(shop.database):
            asleep.kill()
        projection = shop.summaries
        catch_up(shop.settings, shop.database, projection)
        asleep.send_signal(signal.SIGCONT)
        said, _ = asleep.communicate(timeout=60)
    finally:
        asleep.kill()
        asleep.wait(120)
    assert shop.rows(projection) == as_stored(expected_summaries(events))
    if not is_sqlite(shop.database):
        assert asleep.returncode == 1
        assert "another process moves it" in said


def test_retention_that_cut_what_is_next_stops_it(shop: Shop) -> None:
    projection, events = shop.summaries, lives(8, 30)
    shop.send(events[:50])
    held = catch_up(shop.settings, shop.database, projection)
    shop.send(events[50:])
    ends = committed_ends(shop.settings, held)
    before = shop.rows(projection)
    place = max(ends, key=lambda place: ends[place] - held[place])
    admin = AdminClient(dict(shop.settings.kafka.client()))
    for future in admin.delete_records([TopicPartition(*place, ends[place])]).values():
        future.result(20)
    expected = rf"expected offset {held[place]} next in partition {place[1]} of .*, which begins at {ends[place]}: retention took"
    with pytest.raises(TopicCutError, match=expected):
        catch_up(shop.settings, shop.database, projection)
    assert shop.rows(projection) == before


def test_a_topic_that_ends_before_what_was_read_stops_it(shop: Shop) -> None:
    shop.send(lives(9, 5))
    projection = shop.summaries
    catch_up(shop.settings, shop.database, projection)
    planted(shop, update(_positions).values(next_offset=10_000))
    with pytest.raises(TopicCutError, match=r"the topic was made anew or lost records; .*shop drop order_summaries 1 --live"):
        catch_up(shop.settings, shop.database, projection)


def test_who_wrote_reads_what_was_written(shop: Shop) -> None:
    projection, events = shop.summaries, lives(10, 5)
    catch_up(shop.settings, shop.database, projection)
    switch(shop.database, projection)
    last = events[-1]
    version = last.aggregate_version or 0
    assert not wait_for(shop.database, projection, last.data.aggregate_id, version, 0.1)
    with shop.following(projection):
        shop.send(events)
        assert wait_for(shop.database, projection, last.data.aggregate_id, version, 20)
    assert not wait_for(shop.database, projection, last.data.aggregate_id, version + 1, 0.1)


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_a_postgresql_that_crashes_and_comes_back(shop: Shop, postgres: Postgres) -> None:
    projection, events = shop.summaries, lives(11, 60)
    with shop.following(projection):
        for start in range(0, len(events), 20):
            shop.send(events[start : start + 20])
            if start % 40 == 0:
                time.sleep(0.2)
                postgres.stop(signal.SIGQUIT)
                shop.send(repeated(start, events[: start + 20]))
                postgres.start()
        _wait_for_no_lag(shop)
    assert shop.rows(projection) == as_stored(expected_summaries(events))


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_a_sqlite_file_that_others_lock_for_a_while(shop: Shop) -> None:
    projection, events = shop.summaries, lives(12, 20)
    shop.send(events)
    with shop.following(projection):
        with writing(shop.database) as connection:
            connection.execute(text("SELECT 1"))
            time.sleep(1)
        _wait_for_no_lag(shop)
    assert shop.rows(projection) == as_stored(expected_summaries(events))


def _wait_for_no_lag(shop: Shop) -> None:
    deadline = time.monotonic() + 180
    while not (found := lags(shop.settings, shop.database, "order_summaries")) or found[0].records:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + 180
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.05)
