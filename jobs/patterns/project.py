"""A projection on its way through its topics: to their ends, or behind them until it is told to stop.

No consumer group is needed: where to go on stands beside the rows. A batch of records is one transaction of the database.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from sqlalchemy import Engine

from infra.config import Settings
from infra.contracts.events import Rejected
from infra.errors import StreamhouseError
from jobs.committed_records import committed_ends, first_offsets
from jobs.patterns.database import reading, writing
from jobs.patterns.patience import never, patient
from jobs.patterns.projection import Projection, is_of_others
from jobs.patterns.read_models import Place, create, move, positions, refuse, write
from jobs.patterns.recorded import Recorded

log = logging.getLogger("project")

BATCH = 5_000
_LOOK_SECONDS = 0.2  # how soon a request to stop is seen
_ASK_SECONDS = 10.0
_SECOND_LOOK_SECONDS = 1.0
_CLIENT = {
    "group.id": "streamhouse-project",  # demanded by the client; nothing is committed, so no group moves
    "enable.auto.commit": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
    "enable.partition.eof": True,  # what lies before an end without being a record is passed, too
    "fetch.wait.max.ms": 100,
    "queued.max.messages.kbytes": 16_384,
    "log_level": 2,  # what goes wrong is raised
}


class TopicCutError(StreamhouseError):
    """A topic does not hold what a projection reads next."""


def nothing(_: str) -> None:
    """Nobody looks on."""


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

    def step(self, until: Mapping[Place, int] | None = None) -> int:
        """Take what is there, `batch` records at most, none from `until` on; answers how many were taken.

        Raises:
            TopicCutError: a topic does not hold what is next.
            RivalError: another process moves this version.
            KafkaException, DBAPIError: broker or database are away; the next step begins anew.

        """
        try:
            if self._consumer is None:
                self._begin()
            return self._take(until)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leave the topics."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _begin(self) -> None:
        settings, projection = self.settings, self.projection
        self._consumer = Consumer({**settings.kafka.client(), **_CLIENT})
        places = [(topic, number) for topic in projection.topics for number in partitions(self._consumer, topic)]
        if not self.held:  # what was dropped meanwhile stays so
            create(self.database, projection, places)
        with reading(self.database) as connection:
            found = positions(connection, projection.name, projection.version)
        for place, left in self.held.items():  # a commit whose answer was lost may have been one all the same
            if found.get(place) not in (left, self._intended.get(place, left)):
                refuse(projection, place, left, found.get(place))
        following = {place: found[place] for place in (self.held or places)}
        _refuse_gaps(settings, projection, following)
        self.held, self._intended = following, {}
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in following.items()])

    def _take(self, until: Mapping[Place, int] | None) -> int:
        assert self._consumer is not None
        messages = self._consumer.consume(1, timeout=_LOOK_SECONDS)
        if messages:
            messages += self._consumer.consume(self.batch - 1, timeout=0.0)
        after, unread, events, taken = dict(self.held), dict[Place, int](), list[Recorded](), 0
        for message in messages:
            place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
            end = until[place] if until is not None else offset + 1
            if (error := message.error()) is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    self._refuse(error)
                after[place] = max(after[place], min(offset, end) if until is not None else offset)
            elif offset >= end:
                after[place] = max(after[place], end)
            else:
                after[place], taken = offset + 1, taken + 1
                read = self._read(message, place, offset)
                if isinstance(read, Recorded):
                    events.append(read)
                elif not is_of_others(read):
                    unread[place] = unread.get(place, 0) + 1
                    log.warning(
                        "projection %s passes offset %d of partition %d of %s: %s",
                        self.projection,
                        offset,
                        place[1],
                        place[0],
                        read.message,
                    )
        if after != self.held:
            self.reached("read")
            self._commit(after, unread, events)
        return taken

    def _read(self, message: Message, place: Place, offset: int) -> Recorded | Rejected:
        envelope = self.projection.codec.decode(message.value(), message.headers())  # type: ignore[arg-type]  # a list of pairs
        if isinstance(envelope, Rejected):
            return envelope
        return Recorded(envelope, *place, offset, message.timestamp()[1])

    def _commit(self, after: dict[Place, int], unread: Mapping[Place, int], events: list[Recorded]) -> None:
        self._intended = after
        with writing(self.database) as connection:
            move(connection, self.projection, self.held, after, unread)
            self.reached("moved")
            write(connection, self.projection, events)
            self.reached("written")
        self.held = after
        self.reached("committed")

    def _refuse(self, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            _refuse_gaps(self.settings, self.projection, self.held)
        raise KafkaException(error)


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
) -> None:
    """Stay behind the topics' ends until stopped, which ends the batch that is under way first. Broker and database may go and come.

    Raises:
        TopicCutError, RivalError: as `Projecting.step`.

    """
    own = projecting or Projecting(settings, database, projection)
    try:
        while not stopped():
            patient(own.step, stopped)
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


def ends_of(settings: Settings, projection: Projection) -> dict[Place, int]:
    """By place, up to where a projection can read now.

    Raises:
        KafkaException: the broker does not answer, or has no such topic.

    """
    consumer = Consumer({**settings.kafka.client(), **_CLIENT})
    try:
        places = [(topic, number) for topic in projection.topics for number in partitions(consumer, topic)]
    finally:
        consumer.close()
    return committed_ends(settings, places)


def _refuse_gaps(settings: Settings, projection: Projection, held: Mapping[Place, int]) -> None:
    for attempt in range(2):
        first, ends = first_offsets(settings, held), committed_ends(settings, held)
        if attempt or all(ends[place] >= following for place, following in held.items()):
            break
        time.sleep(_SECOND_LOOK_SECONDS)  # a broker that comes back may not know its ends yet
    for place, following in held.items():
        _refuse_gap(projection, place, following, first[place], ends[place])


def _refuse_gap(projection: Projection, place: Place, following: int, first: int, end: int) -> None:
    topic, partition = place
    expected = f"projection {projection}: expected offset {following} next in partition {partition} of {topic}"
    if following < first:
        message = (
            f"{expected}, which begins at {first}: retention took what lies between, and rows without it would be wrong;"
            f" put the records back from the archive, or make the topic's retention longer and build the read model from a new topic"
        )
        raise TopicCutError(message)
    if following > end:
        message = f"{expected}, which ends at {end}: the topic was made anew or lost records; drop this version and build it again"
        raise TopicCutError(message)
