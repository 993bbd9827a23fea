"""Kafka transactions that hold records of the source topic and the notes that they were sent."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from types import TracebackType

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.clock import Clock
from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.dlq.letters import Letter, Place
from jobs.dlq.notes import Note, write_note
from jobs.dlq.source import Source

TRANSACTION_TIMEOUT_MS = 15_000
"""How long a run that was killed can hold back the topic's readers, and up to 10 s more until the broker looks."""
_COMMIT_TRIES = 4  # each as long as the transaction may last
_LARGEST_VALUE = 100_000_000  # before compression; what the broker takes is said by the topic
_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)
_FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)


class TransactionError(StreamhouseError):
    """A transaction was not committed; nothing of it is seen by anybody."""


@dataclass(frozen=True)
class Outgoing:
    """A record that replaces the one of `letter`, the `retry_count`-th replay of `original`."""

    letter: Letter
    original: Place
    retry_count: int
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    edited: bool


class Transactions:
    """One owner at a time: whoever enters aborts the open transaction of the one before, and that one can commit nothing more."""

    def __init__(self, settings: Settings, source: Source, clock: Clock) -> None:
        self._source, self._topic, self._clock = source, source.name, clock
        # the client counts a record that the broker refused; the broker misses it at the next one of that partition and refuses that
        # too; once this second transaction is aborted, the client counts anew
        self._is_misnumbered = False
        self._producer = Producer(
            {
                **settings.kafka.client(),
                "transactional.id": source.transactional_id,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "partitioner": "murmur2_random",
                "max.in.flight": 1,  # what is on its way behind a refused record hangs until it times out, with the whole transaction
                "compression.type": "zstd",  # a letter may come from a value that only compression brought under the topic's limit
                "message.max.bytes": _LARGEST_VALUE,
                "linger.ms": 5,
                "log_level": 2,  # what goes wrong is said once, by us
            }
        )

    def __enter__(self) -> Transactions:
        try:
            self._producer.list_topics(self._topic, timeout=60)  # a client without a connection asks for its coordinator half a second late
            self._producer.init_transactions(60)
        except KafkaException as error:
            message = f"expected transactional id {self._source.transactional_id!r}, got {error.args[0].str()}; see `./streamhouse status`"
            raise TransactionError(message) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self._abort()

    def send(self, batch: Sequence[Outgoing]) -> list[Outgoing]:
        """Commit the records and their notes; answers those that the broker takes at no size, of which nothing is sent.

        Raises:
            TransactionError: nothing of the batch was sent, or it was and the answer was lost: the notes tell.

        """
        too_large = self._committed(partial(self._send_records, batch)) if batch else []
        if not too_large or len(batch) == 1:
            return too_large
        refused: list[Outgoing] = []
        for is_suspect, group in groupby(batch, key=lambda record: record in too_large):
            # whatever shares a request with one that is too large is refused with it, so each of these is tried by itself
            for part in [[record] for record in group] if is_suspect else [list(group)]:
                refused += self.send(part)
        return refused

    def note(self, notes: Sequence[Note]) -> None:
        """Commit notes alone.

        Raises:
            TransactionError: as `send`.

        """

        def write() -> list[Outgoing]:
            self._send_notes(notes)
            return []

        self._committed(write)

    def _committed(self, produce: Callable[[], list[Outgoing]]) -> list[Outgoing]:
        """Run `produce` in a transaction; one that answers records too large is aborted."""
        try:
            self._producer.begin_transaction()
            too_large = produce()
            if too_large:
                self._is_misnumbered = True
                self._producer.abort_transaction(30)
            else:
                self._commit()
        except KafkaException as error:
            if self._is_misnumbered and self._is_aborted():
                self._is_misnumbered = False
                return self._committed(produce)
            raise self._stopped(error.args[0]) from error
        return too_large

    def _is_aborted(self) -> bool:
        """Whether the open transaction could be aborted, so that nothing of it will be seen."""
        try:
            self._producer.abort_transaction(30)
        except KafkaException:
            return False
        return True

    def _commit(self) -> None:
        for left in reversed(range(_COMMIT_TRIES)):
            try:
                self._producer.commit_transaction()
            except KafkaException as error:
                if left == 0 or not error.args[0].retriable():
                    raise
            else:
                return

    def _send_records(self, batch: Sequence[Outgoing]) -> list[Outgoing]:
        """Records first, then, once the broker has said where they lie, their notes."""
        offsets: dict[int, int] = {}
        failures: dict[int, KafkaError] = {}

        def delivered(i: int) -> Callable[[KafkaError | None, Message], None]:
            def note(error: KafkaError | None, message: Message) -> None:
                if error is not None:
                    failures[i] = error
                else:
                    offsets[i] = -1 if message.offset() is None else int(message.offset() or 0)

            return note

        for i, record in enumerate(batch):
            try:
                self._produce(self._topic, record.key, record.value, record.partition, [*record.headers], delivered(i))
            except KafkaException as refused:
                if refused.args[0].code() not in _TOO_LARGE:
                    raise
                failures[i] = refused.args[0]
        self._flush(failures)
        if too_large := [batch[i] for i, error in failures.items() if error.code() in _TOO_LARGE]:
            return too_large
        for error in failures.values():
            raise KafkaException(error)
        if len(offsets) < len(batch) or min(offsets.values()) < 0:
            message = f"{self._topic} took the records and did not say where they lie; run the command again, nothing of these was sent"
            raise TransactionError(message)
        self._send_notes(
            [
                Note(record.original, record.letter.place, (record.partition, offsets[i]), record.retry_count, record.edited)
                for i, record in enumerate(batch)
            ]
        )
        return []

    def _send_notes(self, notes: Sequence[Note]) -> None:
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            failures.extend([] if error is None else [error])

        for note in notes:
            key, value = write_note(note, self._topic, self._clock(), is_command=bool(self._source.participants))
            self._produce(self._source.notes.name, key, value, -1, [], delivered)
        self._flush(failures)
        for error in failures:
            raise KafkaException(error)

    def _produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int,
        headers: list[tuple[str, str | bytes | None]],
        delivered: Callable[[KafkaError | None, Message], None],
    ) -> None:
        while True:
            try:
                self._producer.produce(topic, key=key, value=value, partition=partition, headers=headers, on_delivery=delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def _flush(self, failures: Sized) -> None:
        """Until the broker has everything, or one record has failed: the transaction is aborted then, and the rest may hang until it is."""
        deadline = time.monotonic() + TRANSACTION_TIMEOUT_MS / 1000
        while len(self._producer) and not failures and time.monotonic() < deadline:
            self._producer.poll(0.05)
        if len(self._producer) and not failures:
            message = f"{self._topic} did not take the records within {TRANSACTION_TIMEOUT_MS / 1000:.0f} s"
            message += "; run the command again, it sends only what is missing"
            raise TransactionError(message)

    def _stopped(self, error: KafkaError) -> TransactionError:
        if error.code() in _FENCED or (error.txn_requires_abort() and self._is_fenced()):
            return TransactionError(
                "another `dlq replay` was started and took over; what this one had committed stays and is sent by nobody again"
            )
        return TransactionError(f"{self._topic} did not take a transaction: {error.str()}; run the command again, it sends what is missing")

    def _is_fenced(self) -> bool:
        try:
            self._producer.abort_transaction(10)
        except KafkaException as error:
            return error.args[0].code() in _FENCED
        return False

    def _abort(self) -> None:
        """So that readers wait for nobody; a broker that is away aborts it by its timeout."""
        with contextlib.suppress(KafkaException):
            self._producer.abort_transaction(5)
