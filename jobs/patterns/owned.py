"""The aggregates of one partition in the hands of their owner, and what it sends for each record that it takes. No Kafka in here.

States change as records are taken, before anything is committed: when a commit fails, the owner lets go of all and folds the log again.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.contracts.events import Rejected
from jobs.dead_letter import Source, letter_of
from jobs.patterns.aggregate import Held
from jobs.patterns.handling import Handled, Incoming, Outgoing, expire, handle, is_event
from jobs.patterns.message import CAUSATION, EXPECTED, REPLAYED, REPLY, VERSION
from jobs.patterns.participant import Participant
from jobs.patterns.snapshots import snapshot_of

log = logging.getLogger("participant")
_AGAIN_MS = 10_000
_SAID = 300  # characters of an exception's own text that reach the dead letter
_HEADERS = (CAUSATION, VERSION, EXPECTED, REPLY, REPLAYED)
_HEADER_BYTES = 128  # anybody may send a longer one; cut off it is as wrong as it was


@dataclass(frozen=True)
class Limits:
    """What topics take, in bytes a record. A record is tried again `retries` times, first after `backoff` seconds, then twice that ..."""

    partitions: int
    most_bytes: Mapping[str, int]
    retries: int = 3
    backoff: float = 0.2


class Owned:
    """What one participant holds of one partition. `end`: a place in the event log below which all that is held was appended."""

    def __init__(self, participant: Participant, partition: int, held: dict[str, Held], end: int, limits: Limits) -> None:
        self.participant, self.partition, self.held, self.end = participant, partition, held, end
        self._limits = limits
        self._due: list[tuple[int, int, str]] = []  # when to look, the deadline, whose
        for aggregate_id, one in held.items():
            self._watch(aggregate_id, one)

    def take(self, record: Incoming, now_ms: int, sleep: Callable[[float], None]) -> list[Outgoing]:
        """What to send because of a record. Code that fails is tried again, in place, so that order holds; then it is a dead letter."""
        tried, pause = 0, self._limits.backoff
        while True:
            try:
                handled = handle(self.participant, record, self.held, self._limits.partitions, now_ms)
                handled = self._within_size(record, handled)
                break
            except Exception as error:
                if tried == self._limits.retries:
                    log.exception("%s, partition %d, offset %d: given up", record.topic, record.partition, record.offset)
                    step = "react" if is_event(self.participant, record) else "decide"
                    handled = Handled(rejected=Rejected(step, "handler_failed", f"{type(error).__name__}: {error}"[:_SAID]))
                    break
                tried += 1
                log.warning("%s, partition %d, offset %d: %r; again", record.topic, record.partition, record.offset, error)
                sleep(pause)
                pause *= 2
        if handled.rejected is not None:
            return [self._letter(record, handled.rejected, tried, now_ms)]
        return self._changed(handled, now_ms)

    def expired(self, now_ms: int) -> list[Outgoing]:
        """What to send because deadlines have passed."""
        sent: list[Outgoing] = []
        aggregate = self.participant.aggregate
        while aggregate is not None and self._due and self._due[0][0] <= now_ms:
            _, due, aggregate_id = heapq.heappop(self._due)
            held = self.held[aggregate_id]
            try:
                waits = aggregate.deadline(held.state)
                if waits is None or waits[0] != due:
                    continue  # what it waited for has come
                handled = expire(aggregate, aggregate_id, held, now_ms)
            except Exception:
                log.exception("%s %r: its deadline cannot be handled; again in %d s", aggregate.name, aggregate_id, _AGAIN_MS // 1000)
                heapq.heappush(self._due, (now_ms + _AGAIN_MS, due, aggregate_id))
                continue
            if not handled.outgoing:
                log.error("%s %r: its deadline has passed, and its command changes nothing", aggregate.name, aggregate_id)
            sent += self._changed(handled, now_ms)
        return sent

    @property
    def next_due(self) -> int | None:
        """When the next deadline passes, if one does."""
        return self._due[0][0] if self._due else None

    def _changed(self, handled: Handled, now_ms: int) -> list[Outgoing]:
        sent = list(handled.outgoing)
        if handled.changed is None or self.participant.aggregate is None:
            return sent
        aggregate_id, held = handled.changed
        before = self.held.get(aggregate_id)
        self.held[aggregate_id] = held
        self._watch(aggregate_id, held)
        every = self.participant.aggregate.snapshot_every
        if every and held.version // every > (before.version if before else 0) // every:
            snapshot = snapshot_of(self.participant.aggregate, aggregate_id, held, self.partition, self.end, now_ms)
            if snapshot.size <= self._limits.most_bytes[snapshot.topic]:
                sent.append(snapshot)
            else:
                log.warning("%r: its snapshot of %d bytes is larger than %s takes", aggregate_id, snapshot.size, snapshot.topic)
        return sent

    def _watch(self, aggregate_id: str, held: Held) -> None:
        if self.participant.aggregate is not None and (waits := self.participant.aggregate.deadline(held.state)):
            heapq.heappush(self._due, (waits[0], waits[0], aggregate_id))

    def _within_size(self, record: Incoming, handled: Handled) -> Handled:
        for one in handled.outgoing:
            most = self._limits.most_bytes[one.topic]
            if one.size > most:
                sentence = f"it leads to a record of {one.size} bytes on {one.topic}, which takes {most}"
                return Handled(rejected=Rejected("validate", "too_large", sentence))
        return handled

    def _letter(self, record: Incoming, why: Rejected, tried: int, now_ms: int) -> Outgoing:
        topic = self.participant.dead_letters
        source = Source(record.topic, record.partition, record.offset, record.key, record.value, tried)
        emitter = f"streamhouse/{self.participant.name}"
        headers = {name: value[:_HEADER_BYTES].decode("latin-1") for name, value in record.headers if name in _HEADERS}
        more = {"failedIn": self.participant.name} | ({"originalHeaders": headers} if headers else {})
        key, value = letter_of(source, why, now_ms, self._limits.most_bytes[topic], emitter, **more)
        return Outgoing(topic, key, value, [], None if key else self.partition)
