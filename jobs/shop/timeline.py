"""What was said about an order, by whom and when; and which orders wait, for whom and how long."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.clock import system_clock
from infra.config import Settings
from infra.contracts.codec import rfc3339
from infra.contracts.events import Rejected
from infra.contracts.load import load_contracts
from jobs.committed_records import read_all
from jobs.patterns.event_log import headers_of, read_event, rebuilt, recorded
from jobs.patterns.message import Codec, Message
from jobs.patterns.recorded import Recorded
from jobs.patterns.replies import CommandAccepted, CommandRefused
from jobs.patterns.show import as_dict, said
from jobs.shop.order import WAITS_FOR, Patience, order_aggregate
from jobs.shop.saga import participants

NONE, SOME = 0, 1
_STYLES = {"commands": "dim", "replies": "red", "dlq": "red"}


class DeadLetter(Message, frozen=True):
    """A record that a service could not handle, as far as it is told of here."""

    topic: ClassVar[str] = ""
    key: ClassVar[str] = "source_topic"
    source_topic: str
    source_partition: int
    source_offset: int
    failed_in: str
    error: dict[str, str]


@dataclass(frozen=True)
class Open:
    """An order without an end. `waits_for`: the step, or `compensation`; `since`: when (ms) the last thing was said of it.

    `deadline`: until when (ms) it waits for the step; 0 while it is wound down.
    """

    order_id: str
    status: str
    waits_for: str
    since: int
    deadline: int

    def late(self, now: int) -> int:
        """Since how many ms it should have gone on: its step's deadline has passed, or nothing was said since it is wound down."""
        return now - (self.deadline or self.since)


def timeline(settings: Settings, order_id: str) -> list[Recorded]:
    """Every committed message that bears the order as its correlation id, as far as topics keep it, by the broker's time.

    Raises:
        KafkaException: the broker does not answer.

    """
    found, wanted = list[Recorded](), orjson.dumps(order_id)[1:-1]  # as it stands in JSON
    for codec, topic in _said_on():
        for message in read_all(settings, topic, load_contracts().topics[topic].partitions):
            if wanted not in (message.value() or b""):
                continue
            read = codec.decode(message.value(), headers_of(message))
            if isinstance(read, Rejected) or isinstance(read.data, CommandAccepted):
                continue
            is_letter = isinstance(read.data, DeadLetter)  # its own ids name the record, which holds the order's
            if is_letter or order_id in (read.correlation_id, getattr(read.data, "order_id", None)):
                found.append(recorded(read, message))
    return sorted(found, key=lambda event: (event.kafka_ms, event.envelope.at))


def open_orders(settings: Settings) -> list[Open]:
    """Every order that has not ended, the one that waits longest first."""
    aggregate = order_aggregate(Patience())
    found, last = list[Open](), dict[str, int]()
    for number in range(load_contracts().topics[aggregate.topic].partitions):
        for order_id, held in rebuilt(settings, aggregate, number)[0].items():
            if held.state.status not in ("shipped", "cancelled"):
                last[order_id] = 0
                step = WAITS_FOR.get(held.state.status)
                found.append(Open(order_id, held.state.status, step or "compensation", 0, held.state.deadline if step else 0))
    if found:
        for message in read_all(settings, aggregate.topic, load_contracts().topics[aggregate.topic].partitions):
            event = read_event(aggregate, message)
            if (order_id := event.envelope.data.aggregate_id) in last:
                last[order_id] = max(last[order_id], event.kafka_ms)
    return sorted((replace(one, since=last[one.order_id]) for one in found), key=lambda one: one.since)


def _said_on() -> Iterator[tuple[Codec, str]]:
    for participant in participants(Patience()).values():
        if participant.aggregate is not None:
            yield Codec(participant.aggregate.commands), participant.aggregate.command_topic
            yield participant.aggregate.codec, participant.aggregate.topic
            yield Codec([DeadLetter]), participant.dead_letters
    yield Codec([CommandRefused, CommandAccepted]), CommandRefused.topic


def show(settings: Settings, order_id: str, *, as_json: bool) -> int:
    """Print the timeline; answers 1 when nothing is known of the order."""
    events = timeline(settings, order_id)
    if as_json:
        print(json.dumps([as_dict(event) for event in events]))
        return NONE if events else SOME
    console = Console(soft_wrap=True)
    if not events:
        console.print(f"order {escape(order_id)}: nothing is known of it", highlight=False)
        return SOME
    began = events[0].kafka_ms
    console.print(f"order {escape(order_id)}, from {rfc3339(began)}, in milliseconds; events in bold, commands not", highlight=False)
    for event in events:
        style = _STYLES.get(event.topic.rpartition("-")[2], "bold")
        kind = f"[{style}]{event.envelope.type:<18}[/]"
        console.print(
            f"{event.kafka_ms - began:>+8}  {event.topic:<18}  {kind} {escape(said(event.envelope.data, 'orderId'))}", highlight=False
        )
    return NONE


def list_open(settings: Settings, stuck_seconds: float | None, *, as_json: bool) -> int:
    """Print them; with `stuck_seconds` only those that should have gone on for longer, and answers 1 if there are any."""
    now = system_clock()
    found = [one for one in open_orders(settings) if stuck_seconds is None or one.late(now) >= stuck_seconds * 1000]
    if as_json:
        print(json.dumps([{"orderId": o.order_id, "status": o.status, "waitsFor": o.waits_for, "since": rfc3339(o.since)} for o in found]))
    else:
        table = Table("order", "status", "waits for", "silent for")
        for one in found:
            table.add_row(escape(one.order_id), one.status, one.waits_for, f"{(now - one.since) / 1000:.0f} s")
        Console().print(table if found else "no order hangs" if stuck_seconds is not None else "no order is on its way")
    return SOME if found and stuck_seconds is not None else NONE
