"""Chosen dead letters -> new records of the topic that they are sent to, each with its note in the same transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from infra.clock import Clock
from infra.config import Settings
from infra.contracts.events import Rejected
from infra.contracts.in_effect import decode_user_action
from infra.contracts.partitioner import partition_of
from infra.contracts.registry import RegistryUnreachable
from infra.contracts.replays import HEADER, Replay, encode_replay
from jobs.contract_history import in_effect
from jobs.dlq import to_participant
from jobs.dlq.chains import Chains, State, Wanted, chained, is_spent
from jobs.dlq.edit import Edit, EditError, apply_edit
from jobs.dlq.letters import Letter, Original, as_text
from jobs.dlq.notes import Note
from jobs.dlq.read import check_notes_are_whole, originals, read_notes
from jobs.dlq.source import Source
from jobs.dlq.transactions import Outgoing, Transactions
from jobs.framed_records import plain_at
from jobs.records import Records, Rules
from jobs.schema_history import AsRegistered
from jobs.scoring_parts import rules
from jobs.scoring_path import accept

BATCH_RECORDS, BATCH_BYTES = 500, 8 << 20
"""How much one transaction holds at most; a single value may be larger."""

_LOST = "neither the topic nor its archive table holds the record any more"
_LEFT_OUT = "the edit left it out"
_TOO_LARGE = "the broker takes no value of that size; make it smaller by --edit"


@dataclass
class Outcome:
    """What became of the chosen letters.

    `left_out`: reasons with their numbers and a place each; `rivals`: how many another run decided about meanwhile.
    """

    sent: int = 0
    quarantined: int = 0
    rivals: int = 0
    left_out: dict[str, tuple[int, str]] = field(default_factory=dict)

    def leave_out(self, letter: Letter, why: str) -> None:
        """Count a letter that is not sent."""
        count, place = self.left_out.get(why, (0, as_text(letter.place)))
        self.left_out[why] = (count + 1, place)


@dataclass
class Rehearsal:
    """What a replay would do: `accepted` now, `refused` by step and reason, `quarantined` instead of sent, `left_out` as Outcome's."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    quarantined: int = 0
    left_out: dict[str, tuple[int, str]] = field(default_factory=dict)


def replay(
    settings: Settings,
    source: Source,
    chosen: Sequence[Letter],
    wanted: Wanted,
    edit: Edit | None,
    clock: Clock,
    progress: Callable[[int], None],
) -> Outcome:
    """Send what has no note yet; answers what became of each. `progress`: so many more letters are done with.

    A rival that runs is fenced, and its open transaction aborted, before the notes are read; so each letter is sent at most once.

    Raises:
        EditError: nothing of its transaction was sent; what was committed before stays, and is not sent again.
        RegistryUnreachable: a framed letter's schema could not be asked for; the same holds.
        TransactionError: a rival fenced this run, or the broker did not take a transaction; the same holds.

    """
    outcome, source_rules = Outcome(), rules(in_effect(settings), AsRegistered(settings))
    with Transactions(settings, source, clock) as transactions:
        check_notes_are_whole(settings, source)
        notes, _ = read_notes(settings, source)
        chains = chained(chosen, notes)
        states = {State.OPEN, State.QUARANTINED} if wanted.quarantined else {State.OPEN}
        left = [letter for letter in chosen if chains.state(letter.place) in states]
        outcome.rivals = len(chosen) - len(left)
        progress(outcome.rivals)
        spent = [letter for letter in left if is_spent(chains, letter.place, settings.dlq.max_retries, wanted)]
        for start in range(0, len(spent), BATCH_RECORDS):
            part = spent[start : start + BATCH_RECORDS]
            transactions.note([_quarantine(letter, chains) for letter in part])
            outcome.quarantined += len(part)
            progress(len(part))
        held_back = {letter.place for letter in spent}
        fit = [letter for letter in left if letter.place not in held_back]
        for batch, done in _batches(settings, source, fit, chains, edit, source_rules, outcome):
            too_large = transactions.send(batch)
            for refused in too_large:
                outcome.leave_out(refused.letter, _TOO_LARGE)
            outcome.sent += len(batch) - len(too_large)
            progress(done)
    return outcome


def rehearse(
    settings: Settings,
    source: Source,
    chains: Chains,
    chosen: Sequence[Letter],
    wanted: Wanted,
    edit: Edit | None,
    clock: Clock,
    progress: Callable[[int], None],
) -> Rehearsal:
    """What `replay` would do now, judged by the rules of the scoring path or of the participant; sends nothing.

    Raises:
        EditError, RegistryUnreachable: as in `replay`.

    """
    outcome, rehearsal, source_rules = Outcome(), Rehearsal(), rules(in_effect(settings), AsRegistered(settings))
    fit = [letter for letter in chosen if not is_spent(chains, letter.place, settings.dlq.max_retries, wanted)]
    rehearsal.quarantined = len(chosen) - len(fit)
    progress(rehearsal.quarantined)
    for batch, done in _batches(settings, source, fit, chains, edit, source_rules, outcome):
        refused = to_participant.judged(source, batch, clock()) if source.participants else _judged(batch, source_rules, clock())
        rehearsal.refused.update(f"{why.step}: {why.reason}" for why in refused.values())
        rehearsal.accepted += len(batch) - len(refused)
        progress(done)
    rehearsal.left_out = outcome.left_out
    return rehearsal


def outgoing(letter: Letter, original: Original, chains: Chains, source_rules: Rules, edit: Edit | None) -> Outgoing | None:
    """The record that replaces a refused one; None: the edit leaves it out.

    A framed one is edited, and its user found, by the JSON that it says; its own bytes are sent where the edit changes nothing.

    Raises:
        EditError: as `apply_edit`.
        RegistryUnreachable: a framed one's schema could not be asked for.

    """
    answer = apply_edit(edit, _readable(letter, original.value, source_rules), letter.place)
    if answer is None:
        return None
    value = answer[0] if answer[1] else original.value
    event = decode_user_action(_readable(letter, value, source_rules))
    if isinstance(event, Rejected):
        key, partition = original.key, letter.place[0]
    else:
        user = event.data.user_id
        key, partition = user.encode(), partition_of(user, source_rules.partitions)
    place, retries = chains.original(letter.place), chains.retries(letter.place) + 1
    header = (HEADER, encode_replay(Replay(place[0], place[1], retries)))
    return Outgoing(letter, place, retries, partition, key, value, (header,), edited=value != original.value)


def _readable(letter: Letter, value: bytes | None, source_rules: Rules) -> bytes | None:
    """A framed value as plain JSON by the schema of its id; any other, and one that cannot be read, as it is."""
    made = plain_at(source_rules.schemas, source_rules.topic, letter.place[0], letter.place[1], value)
    return value if isinstance(made, Rejected) else made


def _batches(
    settings: Settings,
    source: Source,
    letters: Sequence[Letter],
    chains: Chains,
    edit: Edit | None,
    source_rules: Rules,
    outcome: Outcome,
) -> Iterator[tuple[list[Outgoing], int]]:
    """What one transaction sends at a time, and how many letters are done with it; what cannot be sent is counted in `outcome`."""
    batch: list[Outgoing] = []
    size = done = 0
    for letter, original in originals(settings, source, letters):
        done += 1
        if original is None:
            outcome.leave_out(letter, _LOST)
            continue
        try:
            if source.participants:
                record = to_participant.outgoing(source, letter, original, chains, edit)
            else:
                record = outgoing(letter, original, chains, source_rules, edit)
        except (EditError, RegistryUnreachable) as error:
            message = f"{error}; {outcome.sent:,} letters were sent before, and none of the {len(batch) + 1:,} that were to go with it"
            raise type(error)(message) from error
        if not isinstance(record, Outgoing):
            outcome.leave_out(letter, record or _LEFT_OUT)
            continue
        batch.append(record)
        size += len(record.key or b"") + len(record.value or b"")
        if len(batch) >= BATCH_RECORDS or size >= BATCH_BYTES:
            yield batch, done
            batch, size, done = [], 0, 0
    if batch or done:
        yield batch, done


def _judged(batch: Sequence[Outgoing], source_rules: Rules, now_ms: int) -> dict[int, Rejected]:
    n = len(batch)
    records = Records(
        [record.key for record in batch],
        [record.value for record in batch],
        np.array([record.partition for record in batch], np.int64),
        np.arange(n, dtype=np.int64),
        np.full(n, now_ms, np.int64),
    )
    return accept(records, source_rules)[1]


def _quarantine(letter: Letter, chains: Chains) -> Note:
    return Note(chains.original(letter.place), letter.place, None, chains.retries(letter.place))
