"""The event store in a database: the primary key (topic, aggregate, version) is what Kafka's partition owner does by hand."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from infra.clock import Clock
from infra.contracts.events import Rejected
from infra.errors import StreamhouseError
from jobs.patterns.aggregate import Aggregate, Held, decided, folded
from jobs.patterns.event_store import NOW, Reply, Until, up_to
from jobs.patterns.message import CAUSATION, VERSION, Envelope, Message, encode
from jobs.patterns.recorded import Recorded
from jobs.patterns.replies import CommandAccepted, CommandRefused

_metadata = sa.MetaData()
_events = sa.Table(
    "events",
    _metadata,
    sa.Column("topic", sa.Text, primary_key=True),
    sa.Column("aggregate_id", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True),
    sa.Column("causation_id", sa.Text, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
)


class SqlEventStore:
    """Events of one kind of aggregate in a table that all kinds share; `clock` gives their times."""

    def __init__(self, engine: sa.Engine, aggregate: Aggregate, clock: Clock) -> None:
        self._engine, self._aggregate, self._clock = engine, aggregate, clock
        _metadata.create_all(engine)

    def execute(
        self, command: Message, command_id: str, *, expected_version: int | None = None, correlation_id: str | None = None
    ) -> Reply:
        """As the port says. A race that is lost is decided anew, for the version that won."""
        correlation = correlation_id or command.aggregate_id
        envelope = Envelope(command_id, self._clock(), "sql", correlation, command, expected_version=expected_version)
        about = (command_id, envelope.type, command.aggregate_id)
        while True:
            decision = decided(self._aggregate, self.load(command.aggregate_id), envelope, self._clock())
            if decision.refused is not None:
                return CommandRefused(*about, decision.version, decision.refused.reason, decision.refused.message)
            try:
                self._append(decision.events)
            except sa.exc.IntegrityError:
                continue
            return CommandAccepted(*about, decision.version)

    def load(self, aggregate_id: str, until: Until = NOW) -> Held:
        """As the port says."""
        return folded(self._aggregate, (event.envelope for event in self.history(aggregate_id, until)))

    def history(self, aggregate_id: str, until: Until = NOW) -> Iterator[Recorded]:
        """As the port says; an event's offset is its version, from 1."""
        yield from up_to(until, self._all(aggregate_id))

    def _all(self, aggregate_id: str) -> Iterator[Recorded]:
        chosen = sa.select(_events.c.version, _events.c.causation_id, _events.c.value).where(
            _events.c.topic == self._aggregate.topic, _events.c.aggregate_id == aggregate_id
        )
        with self._engine.connect() as connection:
            for version, causation, value in connection.execute(chosen.order_by(_events.c.version)):
                event = self._aggregate.codec.decode(value, [(CAUSATION, causation.encode()), (VERSION, b"%d" % version)])
                if isinstance(event, Rejected):
                    message = f"event {version} of {aggregate_id!r}: expected an event of {self._aggregate.name}, got {event.message}"
                    raise StreamhouseError(message)
                yield Recorded(event, self._aggregate.topic, 0, version, event.at)

    def _append(self, events: tuple[Envelope, ...]) -> None:
        rows = [
            {
                "topic": event.data.topic,
                "aggregate_id": event.data.aggregate_id,
                "version": event.aggregate_version,
                "causation_id": event.causation_id,
                "value": encode(event)[1],
            }
            for event in events
        ]
        if rows:
            with self._engine.begin() as connection:
                connection.execute(sa.insert(_events), rows)
