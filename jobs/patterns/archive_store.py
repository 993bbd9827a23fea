"""The event store's reading side over the archive: the same events out of the Iceberg table, without a broker."""

from __future__ import annotations

from collections.abc import Iterator

from infra.config import Settings
from infra.contracts.events import Rejected
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.patterns.aggregate import Aggregate, Held, folded
from jobs.patterns.event_log import EventLogBroken
from jobs.patterns.event_store import NOW, Until, up_to
from jobs.patterns.recorded import Recorded
from lakehouse.read import read

_COLUMNS = ("topic_offset", "value", "headers", "kafka_time")


class ArchivedEvents:
    """Events of one kind of aggregate, as far as they are archived; it is only read."""

    def __init__(self, settings: Settings, aggregate: Aggregate) -> None:
        self._settings, self._aggregate = settings, aggregate
        self._topic = load_contracts().topics[aggregate.topic]

    def load(self, aggregate_id: str, until: Until = NOW) -> Held:
        """An aggregate as its archived events made it; raises as `history`."""
        return folded(self._aggregate, (event.envelope for event in self.history(aggregate_id, until)))

    def history(self, aggregate_id: str, until: Until = NOW) -> Iterator[Recorded]:
        """Its events, in order.

        Raises:
            LakehouseError: the table is not there or cannot be read.
            EventLogBroken: it holds something else than the aggregate's events.

        """
        yield from up_to(until, self._events(aggregate_id))

    def _events(self, aggregate_id: str) -> Iterator[Recorded]:
        assert self._topic.table is not None
        partition = partition_of(aggregate_id, self._topic.partitions)
        quoted = aggregate_id.replace("'", "''")
        rows = read(self._settings, self._topic.table, _COLUMNS, f"topic_partition = {partition} and aggregate_id = '{quoted}'")
        for version, row in enumerate(rows.sort_by("topic_offset").to_pylist(), 1):
            event = self._aggregate.codec.decode(row["value"], row["headers"] or ())
            where = f"table {self._topic.table}, partition {partition}, offset {row['topic_offset']}"
            if isinstance(event, Rejected) or event.aggregate_version != version:
                got = event.message if isinstance(event, Rejected) else f"event {event.aggregate_version}"
                message = (
                    f"{where}: expected event {version} of {self._aggregate.name} {aggregate_id!r}, got {got}; run ./streamhouse audit"
                )
                raise EventLogBroken(message)
            yield Recorded(event, self._topic.name, partition, row["topic_offset"], round(row["kafka_time"].timestamp() * 1000))
