"""The event store in Kafka, for its clients: commands go to the aggregate's owner over its topic, and histories are read from the log."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import OFFSET_BEGINNING

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.patterns import event_log
from jobs.patterns.aggregate import Aggregate, Held, folded
from jobs.patterns.commands import Commands
from jobs.patterns.event_store import NOW, Reply, Until, up_to
from jobs.patterns.message import Message
from jobs.patterns.recorded import Recorded
from jobs.patterns.snapshots import Snapshot


class KafkaEventStore:
    """Events of one kind of aggregate. `commands` None: it is only read."""

    def __init__(self, settings: Settings, aggregate: Aggregate, commands: Commands | None = None) -> None:
        self._settings, self._aggregate, self._commands = settings, aggregate, commands
        self._partitions = load_contracts().topics[aggregate.topic].partitions

    def execute(
        self, command: Message, command_id: str, *, expected_version: int | None = None, correlation_id: str | None = None
    ) -> Reply:
        """As the port says."""
        assert self._commands is not None, "a store that is only read was given a command"
        return self._commands.execute(command, command_id, expected_version=expected_version, correlation_id=correlation_id)

    def load(self, aggregate_id: str, until: Until = NOW, *, use_snapshots: bool = True) -> Held:
        """As the port says, from the latest snapshot that is not younger than a version asked for.

        Raises:
            EventLogBroken: the log holds something else than the aggregate's events.
            KafkaException: the broker does not answer.

        """
        snapshot = self._snapshot(aggregate_id, until) if use_snapshots else None
        held, start = (None, OFFSET_BEGINNING) if snapshot is None else (snapshot.held, snapshot.offset)
        events = event_log.events_of(self._settings, self._aggregate, aggregate_id, self._partition(aggregate_id), start, held)
        version = 0 if held is None else held.version
        return folded(self._aggregate, (event.envelope for event in up_to(until, events, version)), held)

    def history(self, aggregate_id: str, until: Until = NOW) -> Iterator[Recorded]:
        """As the port says; raises as `load`."""
        partition = self._partition(aggregate_id)
        yield from up_to(until, event_log.events_of(self._settings, self._aggregate, aggregate_id, partition, OFFSET_BEGINNING, None))

    def _partition(self, aggregate_id: str) -> int:
        return partition_of(aggregate_id, self._partitions)

    def _snapshot(self, aggregate_id: str, until: Until) -> Snapshot | None:
        found = None
        for snapshot in event_log.snapshots_of(self._settings, self._aggregate, self._partition(aggregate_id)):
            # of a past time or offset none is sure to be: an owner's clock may have gone back
            if snapshot.aggregate_id != aggregate_id or until.offset is not None or until.at is not None:
                continue
            if until.version is None or snapshot.held.version <= until.version:
                found = snapshot
        return found
