"""The service that counts orders: `python -m jobs.shop.analytics`. Numbers by status and hour, and what shipped orders brought.

They lie in the database of the read models, table `order_counts`, beside the offsets up to which they count: one transaction changes both,
and only from where it had left them, so each event counts once whatever dies, and however often its group is reset back. To count anew,
drop the three tables; a group that is reset forward is told what was left out all the same, for the counts would be wrong without it.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.patterns.database import changing_tables, is_sqlite, open_database, reading, writing
from jobs.patterns.recorded import Recorded
from jobs.patterns.subscriber import Batch, Place, Subscriber
from jobs.serve import beating
from jobs.shop.listening import run
from jobs.shop.messages import STATUS, OrderCancelled, OrderPaid, OrderShipped

log = logging.getLogger("analytics")

GROUP = "analytics"
HEARS = tuple(STATUS)
_NOTHING = -1  # no record of the partition was counted yet
_metadata = sa.MetaData()
_counts = sa.Table(
    "order_counts",
    _metadata,
    sa.Column("hour", sa.Text, primary_key=True, comment="Hour in which the orders came to the status (RFC 3339, UTC, its beginning)."),
    sa.Column("status", sa.Text, primary_key=True, comment="placed, paid, reserved, cancelling, shipped or cancelled (name)."),
    sa.Column("orders", sa.BigInteger, nullable=False, comment="How many came to it (orders)."),
    sa.Column("revenue_cents", sa.BigInteger, nullable=False, comment="Their prices together where they were shipped, else 0 (cents)."),
)
_prices = sa.Table(
    "order_prices",
    _metadata,
    sa.Column("order_id", sa.Text, primary_key=True, comment="A paid order that has not ended (identifier)."),
    sa.Column("cents", sa.BigInteger, nullable=False, comment="Its price, which the event that it was shipped does not say (cents)."),
)
COUNTS = _counts
"""What others read of it."""
_positions = sa.Table(
    "order_counts_positions",
    _metadata,
    sa.Column("topic", sa.Text, primary_key=True, comment="Topic that was counted (name)."),
    sa.Column("topic_partition", sa.Integer, primary_key=True, comment="Partition of the topic (partition)."),
    sa.Column("next_offset", sa.BigInteger, nullable=False, comment="Where the record lies that is counted next (offset)."),
)


class OvertakenError(Exception):
    """Another process counted meanwhile; what this one was to count comes again."""


class Counting:
    """Counts events into the database; processes of the group share its tables."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        self._next: dict[Place, int] = {}

    def begin(self, held: Mapping[Place, tuple[int, int]]) -> Mapping[Place, int]:
        """Where the counts stand: nothing behind that is left out, wherever the group stands. They begin with what there is.

        Raises:
            StreamhouseError: retention took records behind those that were counted, or the topic was made anew.

        """
        with changing_tables(self._database) as connection:
            _metadata.create_all(connection)
            rows = [{"topic": topic, "topic_partition": partition, "next_offset": _NOTHING} for topic, partition in held]
            connection.execute(_insert(self._database, _positions).on_conflict_do_nothing(), rows)
        with reading(self._database) as connection:
            found = {(topic, partition): offset for topic, partition, offset in connection.execute(sa.select(_positions))}
        self._next = {place: found[place] for place in held}
        for place, offset in self._next.items():
            first, end = held[place]
            if offset != _NOTHING and not first <= offset <= end:
                text = (
                    f"order_counts: expected offset {offset} next in partition {place[1]} of {place[0]}, which holds {first} to {end - 1}"
                )
                text += ": what lies between is gone and cannot be counted" if offset < first else ": the topic was made anew"
                text += f"; drop the tables {', '.join(sorted(_metadata.tables))}, and counts begin with what there is"
                raise StreamhouseError(text)
        return {place: max(held[place][0], offset) for place, offset in self._next.items()}

    def handle(self, batch: Batch) -> None:
        """Count what was not counted yet, and note how far that is.

        Raises:
            OvertakenError: another process did.
            DBAPIError: the database is away.

        """
        new = [event for event in batch.events if event.offset >= self._next[event.topic, event.partition]]
        if not new:
            return
        after = {place: batch.after[place] for place in {(event.topic, event.partition) for event in new}}
        with writing(self._database) as connection:
            for (topic, partition), following in sorted(after.items()):
                c = _positions.c
                where = (c.topic == topic, c.topic_partition == partition, c.next_offset == self._next[topic, partition])
                if connection.execute(sa.update(_positions).where(*where).values(next_offset=following)).rowcount != 1:
                    message = f"{topic}, partition {partition}: expected counts up to offset {self._next[topic, partition]}"
                    raise OvertakenError(message)
            self._count(connection, new)
        self._next |= after

    def _count(self, connection: sa.Connection, events: Iterable[Recorded]) -> None:
        prices = self._known_prices(connection, [e.envelope.data.order_id for e in events if isinstance(e.envelope.data, OrderShipped)])
        orders, revenue = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        paid, ended = dict[str, int](), set[str]()
        for event in events:
            data = event.envelope.data
            key = (hour_of(event.envelope.at), STATUS[type(data)])
            orders[key] += 1
            if isinstance(data, OrderPaid):
                paid[data.order_id] = data.cents
            elif isinstance(data, OrderShipped | OrderCancelled):
                ended.add(data.order_id)
                if isinstance(data, OrderShipped):
                    cents = paid.get(data.order_id, prices.get(data.order_id))
                    if cents is None:
                        log.warning("order %s was shipped, and the event that it was paid is gone: its price is not counted", data.order_id)
                    revenue[key] += cents or 0
        insert = _insert(self._database, _counts)
        added = {
            "orders": _counts.c.orders + insert.excluded.orders,
            "revenue_cents": _counts.c.revenue_cents + insert.excluded.revenue_cents,
        }
        rows = [{"hour": key[0], "status": key[1], "orders": orders[key], "revenue_cents": revenue[key]} for key in sorted(orders)]
        connection.execute(insert.on_conflict_do_update(index_elements=["hour", "status"], set_=added), rows)
        if still := [{"order_id": name, "cents": cents} for name, cents in sorted(paid.items()) if name not in ended]:
            connection.execute(_insert(self._database, _prices).on_conflict_do_nothing(), still)
        if ended:
            gone = sa.delete(_prices).where(_prices.c.order_id == sa.bindparam("ended"))
            connection.execute(gone, [{"ended": name} for name in sorted(ended)])

    def _known_prices(self, connection: sa.Connection, names: list[str]) -> dict[str, int]:
        asked = sa.select(_prices).where(_prices.c.order_id.in_(names))
        return {row.order_id: row.cents for row in connection.execute(asked)} if names else {}


def counts(database: sa.Engine) -> dict[tuple[str, str], tuple[int, int]]:
    """By hour and status: how many orders, and what they brought in cents.

    Raises:
        StreamhouseError: nothing was counted yet.

    """
    with reading(database) as connection:
        if not sa.inspect(connection).has_table(_counts.name):
            message = "orders: expected counts, got no table of them; run `python -m jobs.shop.analytics`"
            raise StreamhouseError(message)
        return {(hour, status): (orders, cents) for hour, status, orders, cents in connection.execute(sa.select(_counts))}


def hour_of(milliseconds: int) -> str:
    """The beginning of the hour in which a moment lies."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:00:00Z")


def _insert(database: sa.Engine, table: sa.Table) -> Any:  # noqa: ANN401 - either dialect's, which have the same methods
    return sqlite.insert(table) if is_sqlite(database) else postgresql.insert(table)


def subscriber(settings: Settings) -> Subscriber:
    """The service."""
    return Subscriber(settings, GROUP, HEARS, Counting(open_database(settings)), beat=beating(settings, GROUP))


if __name__ == "__main__":
    sys.exit(run(subscriber))
