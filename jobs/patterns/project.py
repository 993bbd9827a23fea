"""A projection on its way through its topics: to their ends, or behind them until it is told to stop.

No consumer group is needed: where to go on stands beside the rows. A batch of records is one transaction of the database.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from sqlalchemy import Engine

from infra.config import Settings
from infra.contracts.events import Rejected
from infra.contracts.framing import payload
from jobs.committed_records import committed_ends
from jobs.patterns.database import reading, writing
from jobs.patterns.patience import never, patient
from jobs.patterns.projection import Projection, is_of_others
from jobs.patterns.read_models import Place, create, move, positions, refuse, write
from jobs.patterns.recorded import Recorded
from jobs.patterns.topic_cut import first_kept

if TYPE_CHECKING:
    from jobs.patterns.archived_records import ArchivedRecord

log = logging.getLogger("project")

BATCH = 5_000
_LOOK_SECONDS = 0.2  # how soon a request to stop is seen
_IDLE_SECONDS = 1.0  # how soon it is seen that a version was dropped, or its file deleted, while no records come
_ASK_SECONDS = 10.0


def nothing(_: str) -> None:
    """Nobody looks on."""


def never_mind() -> None:
    """Nothing to do meanwhile."""


@dataclass
class _Batch:
    """What one transaction is made of. `unread`: by place, records that nobody can read; `taken`: all records."""

    projection: Projection
    events: list[Recorded] = field(default_factory=list)
    unread: dict[Place, int] = field(default_factory=dict)
    taken: int = 0

    def take(self, place: Place, offset: int, value: bytes | None, headers: Iterable[tuple[str, Any]] | None, kafka_ms: int) -> None:
        """The next record."""
        self.taken += 1
        read = self.projection.codec.decode(payload(value), headers)
        if not isinstance(read, Rejected):
            self.events.append(Recorded(read, *place, offset, kafka_ms))
        elif not is_of_others(read):
            self.unread[place] = self.unread.get(place, 0) + 1
            where = (self.projection, offset, place[1], place[0], read.message)
            log.warning("projection %s passes offset %d of partition %d of %s: %s", *where)


@dataclass
class Projecting:
    """One version of a projection, and what a process knows of it between two transactions.

    `reached` hears of each step of a batch: read, moved, written, committed.
    """

    settings: Settings
    database: Engine
    projection: Projection
    batch: int = BATCH
    reached: Callable[[str], None] = nothing
    held: dict[Place, int] = field(default_factory=dict)
    """Where this process left the version."""
    _intended: dict[Place, int] = field(default_factory=dict)
    _consumer: Consumer | None = None
    _archived: Iterator[tuple[Place, list[ArchivedRecord], int]] | None = None
    """What topics lost, which is read before them."""

    def step(self, until: Mapping[Place, int] | None = None) -> int:
        """Take what is there, `batch` records at most, none from `until` on, which stays the same; answers how many were taken.

        Raises:
            TopicCutError: neither topic nor archive holds what is next.
            RivalError: another process moves this version.
            KafkaException, DBAPIError: broker or database are away; the next step begins anew.

        """
        try:
            if self._consumer is None:
                self._begin(until)
            return self._take(until) if self._archived is None else self._take_archived(self._archived)
        except BaseException:
            self.close()
            raise

    def look(self) -> None:
        """See that the version is where it was left.

        Raises:
            RivalError, DBAPIError: as `step`.

        """
        with reading(self.database) as connection:
            self._compare(positions(connection, self.projection.name, self.projection.version))

    def close(self) -> None:
        """Leave the topics."""
        self._archived = None
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _begin(self, until: Mapping[Place, int] | None) -> None:
        settings, projection = self.settings, self.projection
        self._consumer = _consumer(settings)
        places = [(topic, number) for topic in projection.topics for number in partitions(self._consumer, topic)]
        if not self.held:  # what was dropped meanwhile stays so
            create(self.database, projection, places)
        with reading(self.database) as connection:
            found = positions(connection, projection.name, projection.version)
        self._compare(found)
        following = {place: found[place] for place in (self.held or places)}
        first = first_kept(settings, projection, following)
        self.held, self._intended = following, {}
        ends = first if until is None else {place: min(low, until[place]) for place, low in first.items()}
        if cut := {place: end for place, end in ends.items() if following[place] < end}:
            from jobs.patterns.archived_records import Cut, archived  # what reads tables takes memory, and is seldom needed

            cuts = [Cut(projection, place, following[place], first[place], end) for place, end in cut.items()]
            self._archived = archived(settings, cuts, self.batch)
            return
        kept = [TopicPartition(*place, offset) for place, offset in following.items() if offset >= first[place]]
        self._consumer.assign(kept)  # of the others nothing more is wanted

    def _compare(self, found: Mapping[Place, int]) -> None:
        for place, left in self.held.items():  # a commit whose answer was lost may have been one all the same
            if found.get(place) not in (left, self._intended.get(place, left)):
                refuse(self.projection, place, left, found.get(place))

    def _take_archived(self, rest: Iterator[tuple[Place, list[ArchivedRecord], int]]) -> int:
        some = next(rest, None)
        if some is None:
            self.close()  # and begin anew: retention may have gone on
            return 0
        place, records, following = some
        batch = _Batch(self.projection)
        for record in records:
            batch.take(place, record.offset, record.value, record.headers, record.kafka_ms)
        self._commit({**self.held, place: following}, batch)
        return batch.taken

    def _take(self, until: Mapping[Place, int] | None) -> int:
        assert self._consumer is not None
        messages = self._consumer.consume(1, timeout=_LOOK_SECONDS)
        if messages:
            messages += self._consumer.consume(self.batch - 1, timeout=0.0)
        after, batch = dict(self.held), _Batch(self.projection)
        for message in messages:
            place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
            end = until[place] if until is not None else offset + 1
            if (error := message.error()) is not None:
                if error.code() == KafkaError._AUTO_OFFSET_RESET and self._is_cut(place):
                    self.close()  # and begin anew, with the archive
                    return 0
                if error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                after[place] = max(after[place], min(offset, end) if until is not None else offset)
            elif offset >= end:
                after[place] = max(after[place], end)
            else:
                after[place] = offset + 1
                batch.take(place, offset, message.value(), message.headers(), message.timestamp()[1])  # type: ignore[arg-type]
        self._commit(after, batch)
        return batch.taken

    def _commit(self, after: dict[Place, int], batch: _Batch) -> None:
        if after == self.held:
            return
        self.reached("read")
        self._intended = after
        with writing(self.database) as connection:
            move(connection, self.projection, self.held, after, batch.unread)
            self.reached("moved")
            write(connection, self.projection, batch.events)
            self.reached("written")
        self.held = after
        self.reached("committed")

    def _is_cut(self, place: Place) -> bool:
        """Whether retention took what is next, while it was under way."""
        return self.held[place] < first_kept(self.settings, self.projection, self.held)[place]


def catch_up(
    settings: Settings,
    database: Engine,
    projection: Projection,
    until: Mapping[Place, int] | None = None,
    *,
    patience: float = 60.0,
    projecting: Projecting | None = None,
    stopped: Callable[[], bool] = never,
) -> dict[Place, int]:
    """Go on to the topics' ends as of now, or exactly to `until`; answers where that is. While broker or database are away it waits.

    Raises:
        TopicCutError, RivalError: as `Projecting.step`.
        KafkaException, DBAPIError: broker or database were away for longer than `patience` seconds.

    """
    own = projecting or Projecting(settings, database, projection)
    try:
        ends = until if until is not None else patient(lambda: ends_of(settings, projection), stopped, patience) or {}
        while not stopped() and (not own.held or any(own.held[place] < end for place, end in ends.items())):
            patient(lambda: own.step(ends if until is not None else None), stopped, patience)
        return own.held
    finally:
        own.close()  # it may have read on behind `until`


def follow(
    settings: Settings,
    database: Engine,
    projection: Projection,
    stopped: Callable[[], bool],
    *,
    projecting: Projecting | None = None,
    idle: Callable[[], None] = never_mind,
) -> None:
    """Stay behind the topics' ends until stopped, which ends the batch that is under way first. Broker and database may go and come.

    `idle` is called about once a second while no records come; what it raises ends this.

    Raises:
        TopicCutError, RivalError: as `Projecting.step`.

    """
    own = projecting or Projecting(settings, database, projection)
    looked = time.monotonic()
    try:
        while not stopped():
            if patient(own.step, stopped) == 0 and time.monotonic() - looked > _IDLE_SECONDS:
                patient(own.look, stopped)
                patient(idle, stopped)
                looked = time.monotonic()
    finally:
        own.close()


def partitions(consumer: Consumer, topic: str) -> range:
    """The partitions of a topic, by the broker's word.

    Raises:
        KafkaException: the broker does not answer, or has no such topic.

    """
    about = consumer.list_topics(topic, timeout=_ASK_SECONDS).topics[topic]
    if about.error is not None:
        raise KafkaException(about.error)
    return range(len(about.partitions))


def _consumer(settings: Settings) -> Consumer:
    follows = {"fetch.wait.max.ms": 100, "queued.max.messages.kbytes": 16_384}  # for days: few questions, and little held
    return Consumer({**settings.kafka.reader(group="streamhouse-project"), **follows})


def ends_of(settings: Settings, projection: Projection) -> dict[Place, int]:
    """By place, up to where a projection can read now.

    Raises:
        KafkaException: the broker does not answer, or has no such topic.

    """
    consumer = _consumer(settings)
    try:
        places = [(topic, number) for topic in projection.topics for number in partitions(consumer, topic)]
    finally:
        consumer.close()
    return committed_ends(settings, places)
