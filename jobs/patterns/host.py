"""A participant at work: a member of its consumer group that reads, decides and writes in Kafka transactions.

Of each partition number that the group gives to this process, it takes all of its topics, one producer with the transactional id
`streamhouse-<participant>-<number>`, and the aggregates. A batch of records, what follows from it, and the group's new offsets are one
transaction. Two things keep out whoever owned the partition before, also while it still believes that it does: beginning with the
transactional id ends its open transaction and fences its producer, and offsets are taken from members of the group's present
generation alone. So between the fold of the log and the next event that is appended to it, nobody else has written.

Whatever goes wrong with a transaction, all is let go and begun anew from the log: what was committed is there, and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from infra.clock import Clock
from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs.committed_records import first_offsets
from jobs.patterns.aggregate import Held
from jobs.patterns.event_log import headers_of, rebuilt
from jobs.patterns.handling import Incoming, Outgoing
from jobs.patterns.owned import Limits, Owned
from jobs.patterns.participant import Participant
from jobs.patterns.transactional import NotCommitted, commit, owning_producer

log = logging.getLogger("participant")

_BATCH = 500
_POLL_SECONDS = 0.1
_FILL_SECONDS = 0.005
_ANSWER_SECONDS = 15.0
_LONGEST_PAUSE = 10.0
_LONG_SECONDS = 20.0
_SESSION_MS = 6_000  # after which a member that says nothing loses its partitions


@dataclass
class _Part:
    """One partition number in this process's hands.

    `positions`: by topic, the next offset to read. `at_end`: topics that are read to their end. `latest_ms`: by topic, the broker's time of
    the latest record that was read. `inbox_end`: the inbox ends there at least, for this process sent what lies before it.
    """

    owned: Owned
    producer: Producer
    positions: dict[str, int]
    at_end: set[str] = field(default_factory=set)
    latest_ms: dict[str, int] = field(default_factory=dict)
    inbox_end: int = 0

    def heard_until(self, now: int) -> int:
        """What was said before this time (ms) is read, on every topic."""
        return min(now, *(now if topic in self.at_end else self.latest_ms.get(topic, 0) for topic in self.positions))


class Host:
    """One process of a participant. `instance` is the member's lasting name: a process that comes back under it takes over at once."""

    def __init__(
        self,
        settings: Settings,
        participant: Participant,
        clock: Clock,
        *,
        instance: str | None = None,
        beat: Callable[[], None] = lambda: None,
        committed: Callable[[int, Sequence[Outgoing]], None] = lambda _, __: None,
    ) -> None:
        self._settings, self._participant, self._clock, self._instance = settings, participant, clock, instance
        self._beat, self._committed = beat, committed
        contracts = load_contracts().topics
        counts = {contracts[topic].partitions for topic in participant.topics}
        if len(counts) != 1:
            text = f"participant {participant.name}: expected topics of one number of partitions, got {sorted(counts)}; mend the contracts"
            raise StreamhouseError(text)
        self._partitions = counts.pop()
        self._limits = Limits(self._partitions, {name: topic.max_message_bytes for name, topic in contracts.items()})
        self._parts: dict[int, _Part] = {}
        self._fault: BaseException | None = None
        self._consumer: Consumer | None = None
        self._failed = 0

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`. Faults of the broker are waited out, longer each time up to 10 s.

        Raises:
            StreamhouseError: retention took what was not read, or the event log was written by somebody else: a person must decide.

        """
        while not stop.is_set():
            try:
                self._work(stop)
            except (NotCommitted, KafkaException) as error:
                log.warning("%s begins anew: %s", self._participant.name, error)
                self._failed += 1
                stop.wait(min(_LONGEST_PAUSE, 0.1 * 2 ** min(self._failed, 10)))
            finally:
                self._close()

    def _work(self, stop: threading.Event) -> None:
        self._fault = None
        self._consumer = consumer = Consumer(
            {
                **self._settings.kafka.client(),
                "group.id": self._participant.name,
                **({"group.instance.id": f"{self._participant.name}-{self._instance}"} if self._instance else {}),
                "isolation.level": "read_committed",  # of offsets too: those of an open transaction are waited for
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "partition.assignment.strategy": "range",  # gives the same partition number of all topics to one member
                "session.timeout.ms": _SESSION_MS,
                "heartbeat.interval.ms": 1_500,
                "max.poll.interval.ms": 600_000,
                "fetch.wait.max.ms": 100,
                "error_cb": lambda error: log.info("%s", error.str()),
                "log_level": 2,
            }
        )
        consumer.subscribe(list(self._participant.topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
        while not stop.is_set():
            messages = consumer.consume(1, _POLL_SECONDS)
            if messages:
                messages += consumer.consume(_BATCH, _FILL_SECONDS)
            if self._fault is not None:
                raise self._fault
            self._take(messages)
            self._beat()

    def _take(self, messages: Sequence[Message]) -> None:
        read: dict[int, list[Message]] = {}
        ends: dict[tuple[int, str], int] = {}
        for message in messages:
            error, topic, number = message.error(), message.topic() or "", int(message.partition() or 0)
            part = self._parts.get(number)
            if error is None:
                ends.pop((number, topic), None)
                if part is not None and int(message.offset() or 0) >= part.positions[topic]:  # else it came before a rebalance
                    read.setdefault(number, []).append(message)
                    part.at_end.discard(topic)
            elif error.code() == KafkaError._PARTITION_EOF:
                ends[number, topic] = int(message.offset() or 0)
            else:
                raise _fault(self._participant, error, f"{topic}, partition {number}")
        for number, some in read.items():
            for topic in self._do(number, self._parts[number], some):
                ends.pop((number, topic), None)
        for (number, topic), offset in ends.items():
            part = self._parts.get(number)
            if part is not None and (topic != self._participant.command_topic or offset >= part.inbox_end):
                part.at_end.add(topic)
        self._pass_deadlines()

    def _do(self, number: int, part: _Part, messages: Sequence[Message]) -> set[str]:
        """Take records of one partition and commit what follows; answers the topics of which some are to be read again."""
        now, outgoing, again = self._clock(), list[Outgoing](), set[str]()
        positions = dict(part.positions)
        began = time.monotonic()
        for i, message in enumerate(messages):
            if time.monotonic() - began > _LONG_SECONDS:  # the group gives up a member that reads nothing for ten minutes
                again = self._put_back(number, messages[i:])
                break
            record = _incoming(message)
            outgoing += part.owned.take(record, now, time.sleep)
            positions[record.topic] = record.offset + 1
            part.latest_ms[record.topic] = max(part.latest_ms.get(record.topic, 0), record.kafka_ms)
        self._commit(number, part, outgoing, positions)
        return again

    def _pass_deadlines(self) -> None:
        """What lies on the topics already was said before a deadline that passes now, and is heard first, whichever partition it is in."""
        now = self._clock()
        heard = min((part.heard_until(now) for part in self._parts.values()), default=0)
        for number, part in list(self._parts.items()):
            if outgoing := part.owned.expired(heard):
                self._commit(number, part, outgoing, part.positions)

    def _put_back(self, number: int, messages: Sequence[Message]) -> set[str]:
        """Read these again, behind what is committed first; answers their topics."""
        first: dict[str, int] = {}
        for message in messages:
            first.setdefault(message.topic() or "", int(message.offset() or 0))
        assert self._consumer is not None
        for topic, offset in first.items():
            self._consumer.seek(TopicPartition(topic, number, offset))
        return set(first)

    def _commit(self, number: int, part: _Part, outgoing: Sequence[Outgoing], positions: dict[str, int]) -> None:
        assert self._consumer is not None
        aggregate = self._participant.aggregate
        if aggregate is not None:  # an owner's events lie in its own partition, whatever a partitioner would say
            outgoing = [replace(one, partition=number) if one.topic == aggregate.topic else one for one in outgoing]
        last = commit(part.producer, self._consumer, outgoing, [TopicPartition(topic, number, at) for topic, at in positions.items()])
        part.positions = positions
        for (topic, there), offset in last.items():
            if aggregate is not None and topic == aggregate.topic:
                part.owned.end = max(part.owned.end, offset + 1)
            elif topic == self._participant.command_topic and there in self._parts:  # its own commands are heard before deadlines, too
                self._parts[there].inbox_end = max(self._parts[there].inbox_end, offset + 1)
                self._parts[there].at_end.discard(topic)
        self._failed = 0
        self._committed(number, outgoing)

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        try:
            self._take_over(consumer, places)
        except BaseException as error:  # raised where it can be handled, out of the client's callback
            self._fault = error

    def _take_over(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        of: dict[int, list[str]] = {}
        for place in places:
            of.setdefault(place.partition, []).append(place.topic)
        for number, topics in of.items():
            if set(topics) != set(self._participant.topics):
                text = f"group {self._participant.name}: expected all of its topics for partition {number}, got {sorted(topics)}"
                text += "; let no other program join this group"
                raise StreamhouseError(text)
        producers = {number: self._producer(number) for number in of}
        committed = {(place.topic, place.partition): place.offset for place in consumer.committed(places, timeout=_ANSWER_SECONDS)}
        unread = [place for place, offset in committed.items() if offset < 0]
        starts = {**committed, **(first_offsets(self._settings, unread) if unread else {})}
        for number, topics in of.items():
            held: dict[str, Held] = {}
            end = 0
            if self._participant.aggregate is not None:
                held, end = rebuilt(self._settings, self._participant.aggregate, number)
            if held and (lost := sorted(topic for topic in topics if committed[topic, number] < 0)):
                text = (
                    f"group {self._participant.name}: its events lie in partition {number} of its log, and its offset in {lost[0]} is gone"
                )
                text += "; what it has read would be read again, or passed over: say from where it goes on, as with"
                text += f" ./streamhouse groups reset {self._participant.name} --topic {lost[0]} --to end --yes"
                raise StreamhouseError(text)
            owned = Owned(self._participant, number, held, end, self._limits)
            self._parts[number] = _Part(owned, producers[number], {topic: starts[topic, number] for topic in topics})
            log.info("%s owns partition %d: %d aggregates", self._participant.name, number, len(held))
        consumer.assign([TopicPartition(place.topic, place.partition, starts[place.topic, place.partition]) for place in places])

    def _producer(self, number: int) -> Producer:
        return owning_producer(self._settings, f"streamhouse-{self._participant.name}-{number}", max(self._limits.most_bytes.values()))

    def _revoked(self, _: Consumer, places: list[TopicPartition]) -> None:
        for number in {place.partition for place in places}:
            self._parts.pop(number, None)

    def _close(self) -> None:
        self._parts.clear()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


def _fault(participant: Participant, error: KafkaError, where: str) -> Exception:
    """What an error of the consumer means: something to begin anew from, or for a person to decide."""
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        text = f"{where}: {error.str()}: retention took records before {participant.name} had read them"
        remedy = f"./streamhouse groups reset {participant.name} --topic {where.partition(',')[0]} --to beginning --yes"
        return StreamhouseError(f"{text}; what they asked for is never done; say from where it goes on, as with {remedy}")
    if error.code() in (KafkaError.FENCED_INSTANCE_ID, KafkaError._FENCED) or (error.fatal() and "fenced" in error.str().lower()):
        return StreamhouseError(f"participant {participant.name}: another process came under the same instance name; this one ends")
    return KafkaException(error)


def _incoming(message: Message) -> Incoming:
    return Incoming(
        message.topic() or "",
        int(message.partition() or 0),
        int(message.offset() or 0),
        message.key(),
        message.value(),
        headers_of(message),
        message.timestamp()[1],
    )
