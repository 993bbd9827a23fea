"""Commands to aggregates over Kafka, and the answers of their owners. One of these serves many threads."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as OutOfTime
from functools import cache
from types import TracebackType

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as Record

from infra.clock import Clock
from infra.config import Settings
from infra.contracts.events import Rejected
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs.committed_records import end_offsets
from jobs.patterns.event_log import headers_of
from jobs.patterns.event_store import NoReply, Reply
from jobs.patterns.message import Codec, Envelope, Message, encode
from jobs.patterns.replies import CommandAccepted, CommandRefused

_codec = Codec([CommandAccepted, CommandRefused])
_POLL_SECONDS = 0.2
_BATCH = 500


@cache
def _codec_of(kind: type[Message]) -> Codec:
    return Codec([kind])


class Commands:
    """Sends commands, and hears their replies from the moment on at which it is entered. `source`: who sends."""

    def __init__(self, settings: Settings, clock: Clock, source: str, *, seconds: float = 10.0) -> None:
        self._settings, self._clock, self._source, self._seconds = settings, clock, source, seconds
        self._waiting: dict[tuple[str, str, str], list[Future[Reply]]] = {}  # by command id and type, and aggregate
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Commands:
        client = self._settings.kafka.client()
        self._producer = Producer(
            {
                **client,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 1,
                "message.timeout.ms": int(self._seconds * 1000),
                "log_level": 2,
            }
        )
        topic = CommandAccepted.topic
        ends = end_offsets(self._settings, [(topic, number) for number in range(load_contracts().topics[topic].partitions)])
        self._consumer = Consumer(
            {
                **client,
                "group.id": "streamhouse-replies",  # commits nothing
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": 50,
                "log_level": 2,
            }
        )
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in ends.items()])
        self._listener.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._listener.join()
        self._consumer.close()
        self._producer.flush(1)

    def execute(
        self, command: Message, command_id: str, *, expected_version: int | None = None, correlation_id: str | None = None
    ) -> Reply:
        """Send a command and wait for its reply.

        Raises:
            NoReply: none came; whether it was accepted is not known.

        """
        future = self.begin(command, command_id, expected_version=expected_version, correlation_id=correlation_id)
        try:
            return future.result(self._seconds)
        except (OutOfTime, KafkaException) as error:
            why = str(error) or f"no reply within {self._seconds:g} s"
            text = f"command {type(command).__name__} {command_id} to {command.aggregate_id!r}: {why}"
            text += "; see that its service runs (./streamhouse status), and send it again with the same id: it is accepted once"
            raise NoReply(text) from error
        finally:
            future.cancel()  # nobody waits any more

    def begin(
        self, command: Message, command_id: str, *, expected_version: int | None = None, correlation_id: str | None = None
    ) -> Future[Reply]:
        """Send a command; its reply comes to the future, or the client's error. One that is cancelled is waited for no more.

        Raises:
            StreamhouseError: the command does not keep to its contract, or its id is no UUID; nothing was sent.

        """
        correlation, command_id = correlation_id or command.aggregate_id, command_id.lower()
        envelope = Envelope(
            command_id, self._clock(), self._source, correlation, command, expected_version=expected_version, wants_reply=True
        )
        key, value, headers = encode(envelope)
        if isinstance(unfit := _codec_of(type(command)).decode(value, headers), Rejected):
            # its owner would make a dead letter of it, which answers nobody
            message = f"command {envelope.type} to {command.aggregate_id[:80]!r}: {unfit.message}; mend it and send it again"
            raise StreamhouseError(message)
        name = (command_id, envelope.type, command.aggregate_id)
        future: Future[Reply] = Future()
        future.add_done_callback(lambda done: self._forget(name, done))
        with self._lock:
            self._waiting.setdefault(name, []).append(future)

        def delivered(error: KafkaError | None, _: Record) -> None:
            if error is not None:
                _settle(future, KafkaException(error))

        try:
            self._producer.produce(command.topic, value, key, headers=list(headers), on_delivery=delivered)
        except BufferError:
            _settle(future, KafkaException(KafkaError(KafkaError._QUEUE_FULL)))
        except KafkaException as error:
            _settle(future, error)
        self._producer.poll(0)
        return future

    def _forget(self, name: tuple[str, str, str], future: Future[Reply]) -> None:
        with self._lock:
            waiting = self._waiting.get(name, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiting.pop(name, None)

    def _listen(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0)
            records = self._consumer.consume(1, _POLL_SECONDS)  # ends with the first: of more it would wait the whole time
            if records:
                records += self._consumer.consume(_BATCH, 0)
            for record in records:
                if record.error() is not None:
                    continue  # the client goes on by itself
                reply = _codec.decode(record.value(), headers_of(record))
                if isinstance(reply, Rejected) or not isinstance(reply.data, CommandAccepted | CommandRefused):
                    continue
                with self._lock:
                    waiting = self._waiting.pop((reply.data.command_id, reply.data.command_type, reply.data.aggregate_id), [])
                for future in waiting:
                    _settle(future, reply.data)


def _settle(future: Future[Reply], outcome: Reply | KafkaException) -> None:
    with contextlib.suppress(InvalidStateError):  # whoever waited gave up at this very moment, or has heard
        if isinstance(outcome, KafkaException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
