"""What a worker does about schema ids of framed records: asks the registry, puts on record what it decides, answers only then.

One worker at a time decides about a partition: its producer's transactional id is that of the partition, so whoever comes next
shuts it out, and reads what it had decided. So the same record is decoded by the same schema over crashes, restarts and zombies.
Plain values cost nothing of this.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from operator import itemgetter

from confluent_kafka import OFFSET_BEGINNING, Producer

from infra.clock import Clock
from infra.config import Settings
from infra.contracts.avro import TEXT_BYTES
from infra.contracts.decisions import KNOWN, NOTHING, TOPIC, UNKNOWN, Known, Unknown, write_decision
from infra.contracts.framing import AVRO, JSON, WriterSchema, framed_at, unframe
from infra.contracts.load import load_contracts
from infra.contracts.registered import RegisteredSchemas
from infra.contracts.registry import RegistryUnreachable
from infra.errors import StreamhouseError
from jobs.committed_records import committed_ends, end_offsets
from jobs.dead_letter import answer_id
from jobs.patterns.handling import Outgoing
from jobs.patterns.transactional import commit, owning_producer
from jobs.records import Records
from jobs.schema_history import read_on

_PLACE = (TOPIC, 0)
_OPEN_SECONDS = 45.0  # longer than a transaction that nobody ends lives
_REMEMBERED = 100_000  # ids that are not known; bad input may invent any number
_BATCH_EVENTS = 1000  # of one transaction


class HiddenDecisionsError(StreamhouseError):
    """Somebody's open transaction hides what was decided before; the job restarts and looks again."""


class SchemaIds:
    """One worker's decisions about the records of `topic`."""

    def __init__(
        self,
        settings: Settings,
        topic: str,
        clock: Clock,
        sleep: Callable[[float], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._topic, self._clock, self._monotonic, self._sleep = settings, topic, clock, monotonic, sleep
        self._registry = RegisteredSchemas(settings, sleep)
        self._most_bytes = load_contracts().topics[TOPIC].max_message_bytes
        self._decisions, self._read = NOTHING, OFFSET_BEGINNING
        self._producers: dict[int, Producer] = {}
        self._unknown: dict[int, float] = {}  # by id, when the registry said so

    def decide(self, records: Records) -> None:
        """See that every framed record of a batch that is about to be answered is decided.

        Raises:
            RegistryAway: an id is on record for no partition, and the registry does not answer.
            HiddenDecisionsError, NotCommitted, KafkaException: the broker does not take them; nothing was answered by them.

        """
        framed = list(_framed(records))
        if not framed:
            return
        if self._read == OFFSET_BEGINNING:
            self._catch_up()
        open_now = self._undecided(framed)
        if new := {partition for partition, _, _ in open_now} - self._producers.keys():
            for partition in sorted(new):
                name = f"streamhouse-{TOPIC}-{self._topic}-{partition}"
                self._producers[partition] = owning_producer(self._settings, name, 2 * self._most_bytes)
            self._catch_up()
            open_now = self._undecided(framed)
        if open_now:
            self._ask(open_now)

    def schema_at(self, topic: str, partition: int, offset: int, schema_id: int) -> WriterSchema | None:
        """What is on record: nothing is decided about records that are only read again."""
        if self._read == OFFSET_BEGINNING:
            self._catch_up()
        return self._decisions.schema_at(topic, partition, offset, schema_id)

    def _undecided(self, framed: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        return [one for one in framed if not self._decisions.is_decided(self._topic, *one)]

    def _ask(self, undecided: list[tuple[int, int, int]]) -> None:
        """Ask about each id once, and put what follows on record, partition by partition."""
        now = self._monotonic()
        fresh = now - self._settings.registry.unknown_seconds
        wanted = {schema_id for _, _, schema_id in undecided}
        to_ask = {i for i in wanted if self._unknown.get(i, fresh) <= fresh}
        known = self._known_anywhere(wanted, to_ask)
        try:
            asked = self._registry.ask(to_ask)
        except RegistryUnreachable:
            asked = self._registry.wait_for(to_ask - known.keys())
        for schema_id, schema in asked.items():
            self._unknown.pop(schema_id, None)
            if schema is None:
                self._unknown[schema_id] = now
        for schema_id in list(self._unknown)[: max(0, len(self._unknown) - _REMEMBERED)]:
            del self._unknown[schema_id]
        for partition in sorted({partition for partition, _, _ in undecided}):
            here = sorted(((offset, i) for p, offset, i in undecided if p == partition), key=itemgetter(0))
            self._put(partition, list(_events(self._topic, partition, here, {i: asked.get(i) or known.get(i) for i in wanted})))

    def _known_anywhere(self, wanted: set[int], to_ask: set[int]) -> dict[int, WriterSchema]:
        """What is on record in any partition, for when the registry is away, or has lost it.

        Partitions differ about an id only where a registry was wiped and gave its numbers out anew. Which one it was comes out again,
        since it is put on record for the place, too.
        """
        if any(self._decisions.latest_schema(self._topic, i) is None for i in to_ask):
            # other workers may have learnt it since; what an open transaction of theirs hides is not known yet. A look takes longer than
            # a commit, so it is not for ids that the registry has just denied, which a stream may be full of: both are asked again later
            self._decisions, self._read = read_on(self._settings, self._decisions, self._read)
        found = {i: self._decisions.latest_schema(self._topic, i) for i in wanted}
        return {i: schema for i, schema in found.items() if schema is not None}

    def _put(self, partition: int, events: list[Known | Unknown]) -> None:
        """In transactions of this partition's own producer: who was shut out can put nothing on record any more."""
        for start in range(0, len(events), _BATCH_EVENTS):
            some = events[start : start + _BATCH_EVENTS]
            sent = [Outgoing(TOPIC, *write_decision(event, _event_id(event), self._clock()), partition=0) for event in some]
            commit(self._producers[partition], None, sent)
            for event in some:
                self._decisions = self._decisions.after(event)

    def _catch_up(self) -> None:
        """Read what was decided since the last look, and see that nobody's open transaction hides some of it."""
        end = end_offsets(self._settings, [_PLACE])[_PLACE]
        deadline = self._monotonic() + _OPEN_SECONDS
        while committed_ends(self._settings, [_PLACE])[_PLACE] < end:
            if self._monotonic() > deadline:
                message = f"topic {TOPIC}: an open transaction hides decisions for {_OPEN_SECONDS:.0f} s; see `./streamhouse status`"
                raise HiddenDecisionsError(message)
            self._sleep(0.05)
        self._decisions, self._read = read_on(self._settings, self._decisions, self._read)


def _framed(records: Records) -> Iterator[tuple[int, int, int]]:
    """Partition, offset and schema id of each framed record."""
    for i in framed_at(records.values):
        if (framed := unframe(records.values[i])) is not None:
            yield int(records.partition[i]), int(records.offset[i]), framed.schema_id


def _events(
    topic: str, partition: int, undecided: list[tuple[int, int]], answers: dict[int, WriterSchema | None]
) -> Iterator[Known | Unknown]:
    """What is known first: an id becomes known only behind what is decided."""
    told, unknown = set[int](), -1
    for offset, schema_id in undecided:
        schema = answers.get(schema_id)
        if schema is None:
            unknown = offset
        elif schema_id not in told:
            told.add(schema_id)
            yield Known(topic, partition, offset, schema_id, _usable(schema))
    if unknown >= 0:
        yield Unknown(topic, partition, unknown)


def _usable(schema: WriterSchema) -> WriterSchema:
    """Without a text that no record is decoded by, so that every decision fits its topic."""
    fits = schema.kind in (AVRO, JSON) and len(schema.text.encode()) <= TEXT_BYTES
    return schema if fits else WriterSchema(schema.kind[:64], "")


def _event_id(event: Known | Unknown) -> str:
    if isinstance(event, Unknown):
        return answer_id(f"{UNKNOWN} {event.topic}", event.partition, event.until_offset)
    return answer_id(f"{KNOWN} {event.topic} {event.schema_id}", event.partition, event.from_offset)
