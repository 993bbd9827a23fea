"""Topics in memory, and participants that work on them as the host does, one committed batch at a time, in an order drawn from a seed."""

from __future__ import annotations

from collections import defaultdict
from random import Random

from infra.contracts.partitioner import partition_of
from jobs.patterns.aggregate import Held, begun, evolved
from jobs.patterns.handling import Incoming, Outgoing
from jobs.patterns.message import Envelope, Message, derived_id, encode
from jobs.patterns.owned import Limits, Owned
from jobs.patterns.participant import Participant

PARTITIONS = 2
LIMITS = Limits(PARTITIONS, defaultdict(lambda: 1 << 20), retries=2, backoff=0.0)


class Logs:
    """Topics, and a clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.topics: dict[str, list[list[Incoming]]] = defaultdict(lambda: [[] for _ in range(PARTITIONS)])
        self.now = 1_000_000

    def append(self, record: Outgoing) -> None:
        key = record.key or b""
        number = partition_of(key, PARTITIONS) if record.partition is None else record.partition
        log = self.topics[record.topic][number]
        log.append(Incoming(record.topic, number, len(log), record.key, record.value, record.headers, self.now))

    def send(self, data: Message, name: str, expected: int | None = None) -> None:
        """A command of a client, whose id follows from `name`."""
        command = Envelope(derived_id("test", name), self.now, "test", data.aggregate_id, data, None, None, expected, True)
        self.append(Outgoing(data.topic, *encode(command)))

    def records(self, topic: str) -> list[Incoming]:
        return [record for log in self.topics[topic] for record in log]


class Working:
    """A participant's partition: what it has read, and what it holds until it dies."""

    def __init__(self, logs: Logs, participant: Participant, number: int) -> None:
        self.logs, self.participant, self.number = logs, participant, number
        self.positions = dict.fromkeys(participant.topics, 0)
        self.owned = self.recovered()

    def recovered(self) -> Owned:
        held: dict[str, Held] = {}
        aggregate = self.participant.aggregate
        if aggregate is not None:
            for record in self.logs.topics[aggregate.topic][self.number]:
                event = aggregate.codec.decode(record.value, record.headers)
                assert isinstance(event, Envelope)
                before = held.get(event.data.aggregate_id) or begun(aggregate)
                assert event.aggregate_version == before.version + 1
                held[event.data.aggregate_id] = evolved(aggregate, before, event)
        return Owned(self.participant, self.number, held, 0, LIMITS)

    def work(self, random: Random) -> bool:
        """Take some unread records of one topic, and commit or die; answers whether there was anything to do."""
        unread = [topic for topic, position in self.positions.items() if position < len(self.logs.topics[topic][self.number])]
        sent: list[Outgoing] = []
        topic, taken = random.choice(unread) if unread else "", 0
        if topic:
            start = self.positions[topic]
            some = self.logs.topics[topic][self.number][start : start + random.randint(1, 5)]
            for record in some:
                sent += self.owned.take(record, self.logs.now, lambda _: None)
            taken = len(some)
        sent += self.owned.expired(self.logs.now)
        if not taken and not sent:
            return False
        if random.random() < 0.1:  # killed before the commit
            self.owned = self.recovered()
            return True
        for outgoing in sent:
            self.logs.append(outgoing)
        if topic:
            self.positions[topic] += taken
        return True
