"""A participant's dead letters on their way back: a command again, or an event that it could not react to. Both to its command topic."""

from __future__ import annotations

from collections.abc import Sequence

from infra.contracts.events import Rejected
from infra.contracts.partitioner import partition_of
from jobs.dlq.chains import Chains
from jobs.dlq.edit import Edit, apply_edit
from jobs.dlq.letters import Letter, Original
from jobs.dlq.source import Source
from jobs.dlq.transactions import Outgoing
from jobs.patterns.handling import Incoming, refusal
from jobs.patterns.message import REPLAYED, Envelope
from jobs.patterns.participant import Participant

_AS_IT_IS = "an event is a fact and is sent as it is; leave out --edit, and mend the service that could not react to it"
_NOBODY = "no service of that name has its dead letters here"


def outgoing(source: Source, letter: Letter, original: Original, chains: Chains, edit: Edit | None) -> Outgoing | str | None:
    """The record that replaces a refused one; why it cannot be sent; None: the edit leaves it out.

    A command that can be read goes to its aggregate's partition, under its id; anything else keeps key and partition.

    Raises:
        EditError: as `apply_edit`.

    """
    participant = source.participants.get(letter.failed_in)
    if participant is None:
        return _NOBODY
    first, retries = chains.original(letter.place), chains.retries(letter.place) + 1
    headers = tuple((name, value) for name, value in original.headers if name != REPLAYED)
    if len(first) == 3:  # told by the notes, for any producer can send the header
        if edit is not None:
            return _AS_IT_IS
        headers += ((REPLAYED, b"1"),)
        return Outgoing(letter, first, retries, letter.place[0], original.key, original.value, headers, edited=False)
    answer = apply_edit(edit, original.value, letter.place)
    if answer is None:
        return None
    value, edited = answer
    key, partition = original.key, letter.place[0]
    if (aggregate_id := _addressed(participant, value)) is not None:
        key, partition = aggregate_id.encode(), partition_of(aggregate_id, source.topic.partitions)
    return Outgoing(letter, first, retries, partition, key, value, headers, edited)


def judged(source: Source, batch: Sequence[Outgoing], now_ms: int) -> dict[int, Rejected]:
    """By their numbers in the batch, those that their participants could not read or react to now."""
    refused = {}
    for i, record in enumerate(batch):
        incoming = Incoming(source.name, record.partition, 0, record.key, record.value, list(record.headers), now_ms)
        why = refusal(source.participants[record.letter.failed_in], incoming, source.topic.partitions, now_ms)
        if why is not None:
            refused[i] = why
    return refused


def _addressed(participant: Participant, value: bytes | None) -> str | None:
    """The aggregate to which a command goes; None: it is no command of the participant's."""
    read = participant.codec.decode(value)
    commands = () if participant.aggregate is None else tuple(participant.aggregate.commands)
    return read.data.aggregate_id if isinstance(read, Envelope) and isinstance(read.data, commands) else None
