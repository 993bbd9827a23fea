"""What retention took from a topic is read from its archive table: the same rows come out, or it is said what is missing."""

from __future__ import annotations

import logging
import random
import signal
import time
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from infra.config import Settings
from jobs.begin import RecordsCutError, archive_shop
from jobs.committed_records import committed_ends, end_offsets, first_offsets, read_to_end
from jobs.patterns import archived_records
from jobs.patterns.database import reading
from jobs.patterns.lag import lags
from jobs.patterns.message import Envelope
from jobs.patterns.project import Projecting, catch_up
from jobs.patterns.projection import Projection
from jobs.patterns.read_models import Place, positions
from jobs.patterns.rebuild import rebuild
from jobs.patterns.topic_cut import TopicCutError
from lakehouse import migrate
from lakehouse.catalog import load_table, open_catalog
from tests.audited import Archive, archived
from tests.brokers import empty_topics
from tests.integration.read_models.shop import PARTITIONS, Shop, as_stored, new_shop
from tests.integration.read_models.test_rebuild import live, second
from tests.lake import put_records, rewrite_records
from tests.order_events import expected_predictions, expected_summaries, lives, predictions_of, repeated

on_sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


@pytest.fixture
def kept(settings: Settings) -> Iterator[Shop]:
    """The topics of the contracts, and tables for them; all empty."""
    empty_topics(settings)
    migrate.apply(settings)
    with new_shop(settings, "orders", "predictions") as shop:
        yield shop


def places(shop: Shop) -> list[Place]:
    return [(topic, partition) for topic in (shop.orders, shop.predictions) for partition in range(PARTITIONS)]


def ends(shop: Shop) -> dict[Place, int]:
    """Of all places, once the broker has written its marks behind what was committed or taken back, which it does a little later."""
    deadline = time.monotonic() + 180
    while (found := committed_ends(shop.settings, places(shop))) != end_offsets(shop.settings, places(shop)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def ends_of_orders(shop: Shop) -> dict[Place, int]:
    return {place: end for place, end in ends(shop).items() if place[0] == shop.orders}


def cut(shop: Shop, lows: Mapping[Place, int]) -> None:
    """As retention does."""
    admin = AdminClient(dict(shop.settings.kafka.client()))
    for future in admin.delete_records([TopicPartition(*place, low) for place, low in lows.items()]).values():
        future.result(20)
    assert first_offsets(shop.settings, lows) == dict(lows)


def archive(shop: Shop) -> None:
    """What the topics hold, in many snapshots."""
    ends(shop)
    made = Archive(shop.settings, 60)
    for topic in (shop.orders, shop.predictions):
        made.follow(topic)


def sent(shop: Shop, seed: int) -> list[Envelope]:
    """Orders and predictions with repetitions, transactions that were taken back, and bytes that nobody can read."""
    events = lives(seed, 50)
    everything = [*events, *predictions_of(seed, events)]
    for start in range(0, len(everything), 50):
        shop.send(repeated(start, everything[start : start + 50]))
        shop.send(lives(seed, 3, first=900), commit=False)
    shop.send_bytes(b"{", None)
    shop.send([*everything[:60], *everything[-60:]])  # the last in every partition
    return everything


def expected(projection: Projection, events: list[Envelope]) -> object:
    return as_stored(expected_summaries(events) if projection.name == "order_summaries" else expected_predictions(events))


@pytest.mark.parametrize(("which", "batch", "stretch"), [("summaries", 7, 40), ("joined", 5_000, 500_000)])
def test_a_version_is_built_anew_out_of_the_archive(
    kept: Shop, which: str, batch: int, stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archived_records, "STRETCH", stretch)
    projection: Projection = getattr(kept, which)
    events = sent(kept, 41)
    live(kept, projection)
    archive(kept)
    last, draw = ends(kept), random.Random(41)
    lows = {place: draw.randint(1, end - 1) for place, end in last.items()}
    lows |= {(topic, 1): last[topic, 1] for topic in (kept.orders, kept.predictions)}  # nothing is left of it
    lows[kept.orders, 2] = 0
    cut(kept, lows)
    new = second(projection)
    catch_up(kept.settings, kept.database, new, projecting=Projecting(kept.settings, kept.database, new, batch))
    assert kept.rows(new) == kept.rows(projection) == expected(projection, events)
    with reading(kept.database) as connection:
        at = [positions(connection, projection.name, version) for version in (1, 2)]
    assert at[0] == at[1] == {place: last[place] for place in at[0]}
    before, after = lags(kept.settings, kept.database, projection.name)
    assert (after.unreadable, after.records) == (before.unreadable, 0)
    assert after.unreadable == 2
    found = rebuild(kept.settings, kept.database, new)
    assert found is not None
    assert found.differ == 0
    assert found.rows > 0


def test_a_rebuild_is_compared_where_the_live_one_stands_and_the_topic_begins_later(kept: Shop) -> None:
    projection, events = kept.summaries, lives(42, 60)
    kept.send(events[:60])
    ends(kept)
    live(kept, projection)
    shown = kept.rows(projection)
    kept.send(events[60:])
    archive(kept)
    with reading(kept.database) as connection:
        at = positions(connection, projection.name, 1)
    last = ends_of_orders(kept)
    assert all(at[place] < end - 2 for place, end in last.items())
    cut(kept, {place: end - 2 for place, end in last.items()})
    found = rebuild(kept.settings, kept.database, second(projection))
    assert found is not None
    assert (found.differ, found.rows) == (0, len(shown))
    assert kept.seen(projection) == as_stored(expected_summaries(events))
    assert kept.rows(projection) == shown
    catch_up(kept.settings, kept.database, projection)  # the old one, which was away for longer than the topic keeps
    assert kept.rows(projection) == as_stored(expected_summaries(events))


def test_killed_at_every_point_it_goes_on(kept: Shop, pytestconfig: pytest.Config) -> None:
    events = lives(43, 60)
    kept.send(repeated(43, events))
    archive(kept)
    last = ends_of_orders(kept)
    points = ("read", "moved", "written", "committed") if pytestconfig.getoption("--full") else ("written", "committed")
    for number, point in enumerate(points):
        cut(kept, {place: end - 8 + 2 * number for place, end in last.items()})
        with kept.process(point, 1 + number % 2, "SIGKILL", batch=10) as process:
            assert process.wait(60) == -signal.SIGKILL
    catch_up(kept.settings, kept.database, kept.summaries)
    assert kept.rows(kept.summaries) == as_stored(expected_summaries(events))


@on_sqlite
def test_retention_goes_on_while_the_archive_is_read(kept: Shop) -> None:
    events, projection = lives(44, 80), kept.summaries
    kept.send(events)
    archive(kept)
    last = ends_of_orders(kept)
    lows = {place: end // 4 for place, end in last.items()}
    cut(kept, lows)

    def go_on(what: str) -> None:
        if what == "committed":
            lows.update({place: min(low + 3, last[place]) for place, low in lows.items()})
            cut(kept, lows)

    catch_up(kept.settings, kept.database, projection, projecting=Projecting(kept.settings, kept.database, projection, 5, go_on))
    assert kept.rows(projection) == as_stored(expected_summaries(events))


@on_sqlite
def test_retention_that_overtakes_a_reader_of_the_topic_sends_it_to_the_archive(kept: Shop, caplog: pytest.LogCaptureFixture) -> None:
    projection, values = kept.summaries, 45
    kept.send_bytes(*[b"x" * 900_000] * values)  # more than the client fetches ahead
    events = lives(45, 20)
    kept.send(events)
    archive(kept)
    last = ends_of_orders(kept)
    did = list[str]()

    def overtake(what: str) -> None:
        if what == "committed" and not did:
            cut(kept, {place: end - 2 for place, end in last.items()})
            did.append(what)

    with caplog.at_level(logging.INFO, "project"):
        catch_up(kept.settings, kept.database, projection, projecting=Projecting(kept.settings, kept.database, projection, 3, overtake))
    assert "from its archive" in caplog.text
    assert kept.rows(projection) == as_stored(expected_summaries(events))
    (lag,) = lags(kept.settings, kept.database, projection.name)
    assert (lag.records, lag.unreadable) == (0, values)


@on_sqlite
def test_a_table_that_ends_too_early_is_refused_until_it_has_the_rest(kept: Shop) -> None:
    projection, events, place = kept.summaries, lives(46, 60), (kept.orders, 1)
    kept.send(events[:60])
    half = ends_of_orders(kept)
    archive(kept)
    kept.send(events[60:])
    low = ends(kept)[place] - 2
    on_their_way = [
        message for some in read_to_end(kept.settings, [TopicPartition(*at, end) for at, end in half.items()]) for message in some
    ]
    cut(kept, {place: low})
    said = (
        rf"expected offset 0 next in partition 1 of orders, which begins at {low}: retention took .* table orders, ends before"
        rf" {half[place] - 1};"
        rf" see that archive_shop runs .*, and start again when it has archived a record from offset {low} on"
    )
    with pytest.raises(TopicCutError, match=said):
        catch_up(kept.settings, kept.database, projection)
    assert kept.rows(projection) == {}
    put_records(kept.settings, "orders", archived(kept.orders, on_their_way))
    catch_up(kept.settings, kept.database, projection)
    assert kept.rows(projection) == as_stored(expected_summaries(events))


@on_sqlite
def test_a_table_that_was_begun_too_late_is_refused(kept: Shop) -> None:
    kept.send(lives(50, 40))
    ends(kept)
    cut(kept, {(kept.orders, 0): 3})
    with pytest.raises(TopicCutError, match="table orders, is empty; see that archive_shop runs"):
        catch_up(kept.settings, kept.database, kept.summaries)
    archive_shop(kept.settings, accept_loss=True)
    archive(kept)
    with pytest.raises(
        TopicCutError, match=r"expected offset 0 next .* begins at 3: retention took .* table orders, lacks 0 to 2, .* gave up"
    ):
        catch_up(kept.settings, kept.database, kept.summaries)
    assert kept.rows(kept.summaries) == {}


@on_sqlite
def test_what_was_taken_back_before_the_first_record_is_no_loss(kept: Shop) -> None:
    kept.send(lives(52, 40, first=900), commit=False)
    events = lives(53, 40)
    kept.send(events)
    archive(kept)
    cut(kept, {place: end - 2 for place, end in ends_of_orders(kept).items()})
    catch_up(kept.settings, kept.database, kept.summaries)
    assert kept.rows(kept.summaries) == as_stored(expected_summaries(events))


@on_sqlite
def test_what_a_person_gave_up_is_refused_though_the_table_goes_on_behind_it(kept: Shop) -> None:
    events = lives(51, 60)
    kept.send(events[:60])
    half = ends_of_orders(kept)
    archive(kept)
    kept.send(events[60:])
    ends(kept)
    cut(kept, {place: end + 3 for place, end in half.items()})
    with pytest.raises(RecordsCutError, match="accept-loss"):
        archive_shop(kept.settings, accept_loss=False)
    begun = archive_shop(kept.settings, accept_loss=True)
    assert {place: begun.offsets[place] for place in half} == {place: end + 3 for place, end in half.items()}
    archive(kept)
    said = (
        rf"partition 0 of orders, .* lacks {half[kept.orders, 0] - 1} to {half[kept.orders, 0] + 2}, which a start of archive_shop gave up"
    )
    with pytest.raises(TopicCutError, match=said):
        catch_up(kept.settings, kept.database, kept.summaries)
    assert kept.rows(kept.summaries) == {}


@on_sqlite
def test_an_empty_topic_whose_last_records_were_taken_back_waits_for_the_next(kept: Shop) -> None:
    projection, events = kept.summaries, lives(47, 40)
    kept.send(events[:80])
    kept.send(lives(48, 40, first=900), commit=False)
    archive(kept)
    cut(kept, ends_of_orders(kept))
    with pytest.raises(TopicCutError, match=r"orders, .* ends before .* shows that it left none out before"):
        catch_up(kept.settings, kept.database, projection)
    kept.send([*events[80:], *events[:80]])
    archive(kept)
    catch_up(kept.settings, kept.database, projection)
    assert kept.rows(projection) == as_stored(expected_summaries(events))


def without(rows: pa.Table, partition: int, offset: int) -> pa.Table:
    at = zip(rows["topic_partition"].to_pylist(), rows["topic_offset"].to_pylist(), strict=True)
    return rows.filter(pa.array([place != (partition, offset) for place in at]))


@on_sqlite
@pytest.mark.parametrize("fault", ["dropped", "doubled", "gone", "forgotten"])
def test_a_table_that_lost_or_doubled_rows_is_refused(kept: Shop, fault: str) -> None:
    projection, events = kept.summaries, lives(49, 40)
    kept.send(events)
    archive(kept)
    last = ends_of_orders(kept)
    cut(kept, {(kept.orders, 0): last[kept.orders, 0] - 2})
    with open_catalog(kept.settings) as catalog:
        held = load_table(catalog, kept.settings, "orders")
        path = next(task.file.file_path for task in held.scan("topic_partition = 0").plan_files())
        if fault == "doubled":
            held.add_files([path], check_duplicate_files=False)
        elif fault == "gone":
            held.io.delete(path)
        elif fault == "forgotten":
            catalog.drop_table(held.name())
    if fault == "dropped":
        rewrite_records(kept.settings, "orders", lambda rows: without(rows, 0, 4))
    said = {
        "dropped": r"has \d+ of the \d+ records that were added to it at offsets \d+ to \d+; .*audit",
        "doubled": r"holds offset \d+ more than once; .*audit",
        "gone": r"cannot be read: .*expected it where its table says, got none",
        "forgotten": r"cannot be read: table `orders`: expected it in .* which does not know it",
    }
    with pytest.raises(TopicCutError, match=rf"expected offset 0 next in partition 0 of orders, .*{said[fault]}"):
        catch_up(kept.settings, kept.database, projection)
    assert kept.rows(projection) == {}
    with reading(kept.database) as connection:
        assert set(positions(connection, projection.name, 1).values()) == {0}
