"""Counts equal a plain count over the log, however it is cut into batches, repeated, and read by one process after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
import sqlalchemy as sa

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.patterns.database import open_database
from jobs.patterns.message import Envelope, Message, derived_id
from jobs.patterns.recorded import Recorded
from jobs.patterns.subscriber import Batch
from jobs.shop import messages as m
from jobs.shop.analytics import Counting, OvertakenError, counts, hour_of
from jobs.shop.messages import STATUS

PLACES = {("orders", 0): (0, 1_000), ("orders", 1): (0, 1_000)}
AT = 1_710_325_333_000


@pytest.fixture
def database(settings: Settings) -> Iterator[sa.Engine]:
    engine = open_database(settings)
    yield engine
    engine.dispose()


def a_log(random: Random) -> list[list[Recorded]]:
    """Orders that go to some end or none, interleaved within two partitions, with records between that are no events."""
    logs: list[list[Recorded]] = [[], []]
    waiting: list[tuple[int, list[Message]]] = []
    for i in range(60):
        name, cents = f"o{i}", random.randint(1, 500)
        about = (name, "u", "north", (m.Item("pen", 1, cents),), cents, 10**12)
        ways: list[list[Message]] = [
            [m.OrderPlaced(*about), m.OrderPaid(*about), m.OrderReserved(*about), m.OrderShipped(name, "u")],
            [
                m.OrderPlaced(*about),
                m.OrderPaid(*about),
                m.OrderCancelling(name, "u", "north", "payment", "x"),
                m.OrderCancelled(name, "u", "x", cents),
            ],
            [m.OrderPlaced(*about), m.OrderCancelled(name, "u", "x", 0)],
            [m.OrderPlaced(*about), m.OrderPaid(*about)],
        ]
        waiting.append((i % 2, random.choice(ways)))
    offsets = [0, 0]
    while waiting:
        number, events = random.choice(waiting)
        offset = offsets[number] = offsets[number] + random.choice((1, 1, 1, 2))
        at = AT + 900_000 * len(logs[number])
        logs[number].append(
            Recorded(Envelope(derived_id(str(number), str(offset)), at, "t", "c", events.pop(0)), "orders", number, offset, at)
        )
        waiting = [one for one in waiting if one[1]]
    return logs


def by_hand(logs: list[list[Recorded]]) -> dict[tuple[str, str], tuple[int, int]]:
    orders, revenue, prices = Counter[tuple[str, str]](), Counter[tuple[str, str]](), dict[str, int]()
    for event in (event for log in logs for event in log):
        data, key = event.envelope.data, (hour_of(event.envelope.at), STATUS[type(event.envelope.data)])
        orders[key] += 1
        if isinstance(data, m.OrderPlaced):
            prices[data.order_id] = data.cents
        if isinstance(data, m.OrderShipped):
            revenue[key] += prices[data.order_id]
    return {key: (orders[key], revenue[key]) for key in orders}


@pytest.mark.parametrize("seed", range(6))
def test_counts_are_exact_whatever_comes_again(database: sa.Engine, seed: int) -> None:
    random, logs = Random(seed), a_log(Random(seed))
    counting = Counting(database)
    starts = dict(counting.begin(PLACES))
    assert starts == dict.fromkeys(PLACES, 0)
    at = [0, 0]
    while at != [len(log) for log in logs]:
        if random.random() < 0.2:  # another process takes over, or the group was reset
            counting = Counting(database)
            starts = dict(counting.begin(PLACES))
            at = [random.randint(0, sum(e.offset < starts["orders", n] for e in log)) for n, log in enumerate(logs)]
        number = random.randrange(2)
        events = logs[number][at[number] : at[number] + random.randint(1, 9)]
        if events:
            counting.handle(Batch(tuple(events), {}, {("orders", number): events[-1].offset + 1}))
            at[number] += len(events)
    assert counts(database) == by_hand(logs)


def test_a_process_that_was_overtaken_counts_nothing(database: sa.Engine) -> None:
    event = Recorded(Envelope(derived_id("t", "1"), AT, "t", "c", m.OrderShipped("o", "u")), "orders", 0, 5, AT)
    batch = Batch((event,), {}, {("orders", 0): 6})
    one, two = Counting(database), Counting(database)
    one.begin(PLACES)
    two.begin(PLACES)
    two.handle(batch)
    with pytest.raises(OvertakenError, match="orders, partition 0"):
        one.handle(batch)
    assert sum(orders for orders, _ in counts(database).values()) == 1
    assert Counting(database).begin(PLACES) == {("orders", 0): 6, ("orders", 1): 0}


def test_counts_begin_with_what_a_topic_still_holds_and_leave_no_gap(database: sa.Engine) -> None:
    counting, place = Counting(database), ("orders", 0)
    assert counting.begin({place: (4, 5)}) == {place: 4}
    event = Recorded(Envelope(derived_id("t", "1"), AT, "t", "c", m.OrderShipped("o", "u")), "orders", 0, 4, AT)
    counting.handle(Batch((event,), {}, {place: 5}))
    assert Counting(database).begin({place: (5, 5)}) == {place: 5}
    with pytest.raises(
        StreamhouseError, match=r"expected offset 5 next .* holds 9 to 19: .*drop the tables order_counts, order_counts_positions"
    ):
        Counting(database).begin({place: (9, 20)})
    with pytest.raises(StreamhouseError, match=r"expected offset 5 next .* holds 0 to 3: the topic was made anew"):
        Counting(database).begin({place: (0, 4)})


def test_before_anything_was_counted_that_is_said(database: sa.Engine) -> None:
    with pytest.raises(StreamhouseError, match=r"run `python -m jobs\.shop\.analytics`"):
        counts(database)
