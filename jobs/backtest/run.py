"""A backtest as a whole: a history that stays, its partitions on all processes, labels as they became known, a comparison."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from features.history import NEVER
from infra.config import Settings
from infra.contracts.codec import rfc3339
from infra.contracts.events import SHAPE
from infra.errors import StreamhouseError
from jobs import processes
from jobs.backtest.page import About, Identity
from jobs.backtest.parts import SEGMENTS, Models, PartOfBacktest, backtest_partition, begin
from jobs.processes import Progress
from jobs.replay.chosen import Chosen, milliseconds
from jobs.replay.history import History
from jobs.scoring_parts import models_folder
from lakehouse.held_columns import columns_called
from lakehouse.read import log_ends, read
from models.compared import Comparison
from models.comparison import Scored, compare
from models.manifest import Manifest, ModelRefused, load_manifest, published
from models.outcome import HORIZON, LABEL, outcomes

_LITTLE = 20_000  # offsets
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """What is compared on what. `known_by` ms: labels that became known later do not count; None: all that the history knows."""

    models: Models
    what: Chosen
    known_by: int | None
    seed: int
    resamples: int
    command: str


@dataclass(frozen=True)
class Backtest:
    """A comparison, and what it was made from."""

    comparison: Comparison
    about: About


def backtest(
    settings: Settings, history: History, asked: Asked, progress: Progress = lambda _, __: None, hands: int | None = None
) -> Backtest:
    """Score a history with the candidate as it would have scored then, and compare. The same history gives the same.

    Raises:
        ModelRefused: a model that was not published.
        StreamhouseError: a model that predicts something else.

    """
    cards = manifests(settings, asked.models)
    ends = log_ends(settings, "user_actions", history.snapshots["user_actions"])
    total = sum(end - first for first, end in ends.values())
    if hands is None:
        hands = min(processes.hands(total, _LITTLE), len(ends))
    with processes.begun(hands, begin, settings, history.snapshots, asked.models) as (pool, passed):
        largest_first = sorted(ends.items(), key=lambda item: item[1][0] - item[1][1])
        futures = [pool.submit(backtest_partition, partition, span) for partition, span in largest_first]
        parts = processes.all_done(futures, lambda: progress(passed(), total), time.sleep)
    return _compared(settings, history, asked, cards, sorted(parts, key=lambda part: part.partition))


def manifests(settings: Settings, models: Models) -> dict[str, Manifest]:
    """The cards of the models that were named.

    Raises:
        ModelRefused: one was not published.
        StreamhouseError: one predicts something else than the labels here tell.

    """
    cards = {}
    for name in (models.candidate, models.champion):
        if name is not None:
            card = cards[name] = load_manifest(published(models_folder(settings), name))
            if card.training.label != LABEL:
                message = f"{card.thing}: expected one that predicts that {LABEL}, got one that predicts that {card.training.label}"
                raise StreamhouseError(message + "; a backtest can judge it once models/outcome.py knows that label")
    return cards


def _compared(settings: Settings, history: History, asked: Asked, cards: dict[str, Manifest], parts: Sequence[PartOfBacktest]) -> Backtest:
    columns = _joined(parts)
    label, known = np.zeros(len(columns.time), bool), np.zeros(len(columns.time), bool)
    for part, of in zip(parts, columns.of, strict=True):
        # a partition has its own clock; its users are in no other
        by = int(part.created.max(initial=0)) if asked.known_by is None else min(asked.known_by, int(part.created.max(initial=0)))
        label[of], _ = outcomes(part.user, part.time, part.is_purchase, part.created, by)
        known[of] = part.time + HORIZON <= by  # a yes that is known sooner does not count before a no could
    chosen = asked.what.holds(columns.time)
    served = sum((part.served for part in parts), Counter[tuple[str, str]]())
    learned = learned_until([*cards.values(), *_served_cards(settings, served)])
    fresh = columns.time > learned
    # a model looks good on what it learned from: unless a person asks for that time, it is left out where anything else is left
    leave_out = not asked.what.begins and bool((chosen & known & fresh).any())
    wanted = chosen & fresh if leave_out else chosen
    at = np.flatnonzero(wanted & known)
    segments = {
        name: [None if code < 0 else columns.words[name][code] for code in columns.segments[name][at].tolist()] for name in SEGMENTS
    }
    champion = asked.models.champion or " and ".join(sorted({name for name, _ in served})) or "nothing published"
    hashes = [cards[champion].sha256] if champion in cards else sorted({sha256 for _, sha256 in served})
    comparison = compare(
        Scored(
            columns.user[at],
            columns.time[at],
            label[at],
            columns.champion[at],
            columns.candidate[at],
            columns.champion_yes[at],
            columns.candidate_yes[at],
            segments,
        ),
        champion,
        asked.models.candidate,
        asked.seed,
        asked.resamples,
    )
    left_out = {
        "is no action (a dead letter)": sum(part.refused for part in parts),
        "lies outside the chosen times": int((~chosen).sum()),
        f"happened by {rfc3339(learned)}, while a model still learned": int((chosen & ~wanted).sum()),
        f"has a label that was not known yet, {HORIZON // 60_000} minutes before the end of its partition": int((wanted & ~known).sum()),
    }
    changes = [at[change.index] for change in comparison.changes]
    about = About(
        title=f"Backtest of {asked.models.candidate} against {champion}",
        outcome=LABEL,
        tag=history.tag or "",
        snapshots={table: snapshot for table, snapshot in history.snapshots.items() if snapshot is not None},
        first=int(columns.time.min()) if len(columns.time) else None,
        last=int(columns.time.max()) if len(columns.time) else None,
        champion_sha256=" and ".join(hashes) or "none",
        candidate_sha256=cards[asked.models.candidate].sha256,
        folded=len(columns.time) + sum(part.refused for part in parts),
        left_out={why: count for why, count in left_out.items() if count},
        learned_from=int((~fresh[at]).sum()),
        learned_until=learned,
        largest=_identities(settings, history, parts, columns, changes),
        command=asked.command,
    )
    return Backtest(comparison, about)


def learned_until(cards: Iterable[Manifest]) -> int:
    """The last event time, ms, of what models were trained on or a threshold was chosen on: of every period but the test's.

    A period that is told in other words than times, as a model from elsewhere may, counts as none.
    """
    found = NEVER
    for card in cards:
        for period, (_, last) in card.training.split.items():
            with contextlib.suppress(StreamhouseError):
                found = max(found, NEVER if period == "test" else milliseconds(period, last))
    return found


def _served_cards(settings: Settings, served: Iterable[tuple[str, str]]) -> Iterator[Manifest]:
    """Of the models that published; one that is gone says nothing of what it learned from."""
    for name in sorted({name for name, _ in served}):
        with contextlib.suppress(ModelRefused):
            yield load_manifest(published(models_folder(settings), name))


@dataclass(frozen=True)
class _Columns:
    """All partitions one after the other; `of`: where each begins and ends."""

    of: list[slice]
    partition: Integers
    offset: Integers
    user: Integers
    time: Integers
    champion: NDArray[np.float32]
    champion_yes: NDArray[np.bool_]
    candidate: NDArray[np.float32]
    candidate_yes: NDArray[np.bool_]
    segments: dict[str, Integers]
    words: dict[str, list[str]]


def _joined(parts: Sequence[PartOfBacktest]) -> _Columns:
    sizes = np.cumsum([0, *(len(part.time) for part in parts)]).tolist()
    users = np.cumsum([0, *(part.users for part in parts)]).tolist()
    words = {name: sorted({word for part in parts for word in part.words[name]}) for name in SEGMENTS}
    places = {name: {word: i for i, word in enumerate(known)} for name, known in words.items()}
    segments = {}
    for name in SEGMENTS:
        coded = []
        for part in parts:
            lookup = np.array([*(places[name][word] for word in part.words[name]), -1], np.int64)
            coded.append(lookup[part.segments[name]])  # -1, not known, is the last place
        segments[name] = np.concatenate(coded)
    return _Columns(
        [slice(first, end) for first, end in pairwise(sizes)],
        np.concatenate([np.full(len(part.time), part.partition) for part in parts]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.user + first for part, first in zip(parts, users, strict=False)]),
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.champion.score for part in parts]),
        np.concatenate([part.champion.decision for part in parts]),
        np.concatenate([part.candidate.score for part in parts]),
        np.concatenate([part.candidate.decision for part in parts]),
        segments,
        words,
    )


def _identities(
    settings: Settings, history: History, parts: Sequence[PartOfBacktest], columns: _Columns, rows: Sequence[int]
) -> list[Identity]:
    """Whose actions these are, read from the archive by their offsets."""
    called = columns_called(settings, "user_actions", SHAPE, ["userId", "action"])
    found = {}
    for partition in {int(columns.partition[row]) for row in rows}:
        offsets = sorted({int(columns.offset[row]) for row in rows if columns.partition[row] == partition})
        where = f"topic_partition = {partition} and topic_offset in ({', '.join(map(str, offsets))})"
        names = ["topic_partition", "topic_offset", "event_id", *called.values()]
        for row in read(settings, "user_actions", names, where, history.snapshots["user_actions"]).to_pylist():
            found[row["topic_partition"], row["topic_offset"]] = row
    named = [(found[int(columns.partition[row]), int(columns.offset[row])], int(columns.time[row])) for row in rows]
    return [Identity(str(row[called["userId"]]), str(row["event_id"]), moment, row[called["action"]]) for row, moment in named]
