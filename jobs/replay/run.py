"""A replay as a whole: a pinned history, its parts on all processes, and one report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs import processes
from jobs.archive_rows import archive_row
from jobs.committed_records import read_all
from jobs.contract_history import in_effect
from jobs.offset_ranges import NONE, Ranges, holds, of_offsets
from jobs.processes import Progress
from jobs.replay.chosen import Chosen
from jobs.replay.extent import Extent, extent
from jobs.replay.history import History
from jobs.replay.parts import Part, begin, parts_of, refold_part, replay_part, replay_topic, whole
from jobs.replay.refolded import Refolded
from jobs.replay.served import Outcome, Place, difference
from jobs.replay.topic_source import topic_spans
from jobs.scoring_parts import SOURCE_TOPIC
from lakehouse.read import read

LETTERS = "user-actions-dlq"
_LITTLE = 50_000  # offsets
_SHOWN = 1000  # unanswered actions that are told one by one


@dataclass
class Report:
    """What a replay came to. `dead_letters`: accepted actions that a dead letter answers; `tail`: those behind the last prediction of
    their partition, which may still have been under way; `ahead`: predictions behind the last archived action, which were not
    compared. `refolded`: None where features were not folded again.
    """

    history: History
    outcome: Outcome
    dead_letters: int
    tail: int
    ahead: int
    refolded: Refolded | None
    seconds: float
    source: str = "tables"

    @property
    def compared(self) -> int:
        """How many predictions were scored again."""
        return sum(self.outcome.models.values())

    @property
    def is_equal(self) -> bool:
        """Whether everything that was compared came out again; where nothing was, nothing is equal."""
        return self.compared > 0 and self.differences == 0

    @property
    def differences(self) -> int:
        """How many there are."""
        return self.outcome.findings.total + (self.refolded.findings.total if self.refolded else 0)


def replay(
    settings: Settings,
    history: History,
    what: Chosen,
    batch: int,
    progress: Progress = lambda _, __: None,
    hands: int | None = None,
    *,
    fold: bool = False,
    topics: bool = False,
) -> Report:
    """Replay as served what was chosen of a history. `hands`: how many processes; by default as many as there are cores, four at most.

    `fold`: fold the archive again, too, and hold each vector of features and each row of the feature log against it. `topics`: read
    actions and predictions from their topics, as far as those reach back, instead of the tables.

    Raises:
        StreamhouseError: chosen offsets or a table's files are not there.

    """
    began = time.monotonic()
    reach = Extent(topic_spans(settings)) if topics else extent(settings, history, what)
    ends = reach.archived
    spans = what.spans(ends)
    total = sum(end - first for first, end in spans.values())
    if fold:
        total += sum(end - ends[partition][0] for partition, (_, end) in spans.items())
    if hands is None:
        hands = processes.hands(total, _LITTLE)
    outcome, refolded = Outcome(), Refolded() if fold else None
    with processes.begun(hands, begin, settings, history.snapshots, what, batch) as (pool, passed):
        # folding cannot be cut within a partition, so it is begun first
        folds = [pool.submit(refold_part, Part(p, span), ends[p][0]) for p, span in spans.items()] if fold else []
        parts = whole(spans) if topics else parts_of(spans, hands)
        under_way = [pool.submit(replay_topic if topics else replay_part, part) for part in parts]
        done = processes.all_done([*folds, *under_way], lambda: progress(passed(), total), time.sleep)
        # in log order, so that the first differences of a field are told, however it was cut
        in_order = sorted(zip(parts, done[len(folds) :], strict=True), key=lambda pair: (pair[0].partition, pair[0].span))
        outcome.merge([one for _, one in in_order])
        if refolded is not None:
            refolded.merge(done[: len(folds)])
    letters = _letters_of_topic(settings) if topics else letters_of_table(settings, history)
    dead_letters, tail = unanswered(outcome, letters, reach.last)
    source = "topics" if topics else "tables"
    return Report(history, outcome, dead_letters, tail, reach.ahead, refolded, time.monotonic() - began, source)


def unanswered(outcome: Outcome, letters_of: Callable[[int, int, int], Ranges], last: Mapping[int, int]) -> tuple[int, int]:
    """Tell accepted actions without a prediction apart: dead letters, what was under way, and what is a difference.

    `last`: by partition, the last action that the history has a prediction for, whatever part of it was chosen.
    """
    letters, tail = 0, 0
    for partition, ranges in sorted(outcome.unanswered.items()):
        behind = max(outcome.last.get(partition, -1), last.get(partition, -1)) + 1
        tail += int(np.maximum(ranges[:, 1] - np.maximum(ranges[:, 0], behind), 0).sum())
        below = ranges[ranges[:, 0] < behind]
        if len(below) == 0:
            continue
        offsets = np.concatenate([np.arange(first, end) for first, end in np.minimum(below, behind).tolist()])
        refused = letters_of(partition, int(offsets[0]), int(offsets[-1]))
        answered = holds(refused, offsets)
        letters += int(answered.sum())
        missing = offsets[~answered]
        for number, offset in enumerate(missing.tolist()[:_SHOWN]):
            place = Place(partition, offset, "-", "-")
            cause = "the action is accepted now, and neither a prediction nor a dead letter answers it; `./streamhouse audit` tells more"
            standing_for = len(missing) - _SHOWN + 1 if number == _SHOWN - 1 else 1
            outcome.findings.add(difference(place, "answer", "nothing", "a prediction", cause), standing_for)
    return letters, tail


def letters_of_table(settings: Settings, history: History) -> Callable[[int, int, int], Ranges]:
    """Which offsets of a partition, from the first to the last that is asked about, dead letters of the history answer."""
    return partial(_letters, settings, history)


def _letters(settings: Settings, history: History, partition: int, first: int, last: int) -> Ranges:
    """Offsets of a partition that dead letters answer."""
    pinned = history.snapshots["user_actions_dlq"]
    if pinned is None:
        return NONE
    where = f"source_partition = {partition:d} and source_offset >= {first:d} and source_offset <= {last:d}"
    rows = read(settings, "user_actions_dlq", ["source_offset"], where, pinned)
    return of_offsets(rows["source_offset"].to_numpy())


def _letters_of_topic(settings: Settings) -> Callable[[int, int, int], Ranges]:
    """As `letters_of_table`, out of the topic, which is read when it is asked for the first time."""

    @cache
    def known() -> Mapping[int, Ranges]:
        offsets: dict[int, list[int]] = {}
        contract = in_effect(settings)
        for message in read_all(settings, LETTERS, load_contracts().topics[LETTERS].partitions):
            row = archive_row(LETTERS, message.value(), message.timestamp()[1], contract)
            if row.get("source_topic") == SOURCE_TOPIC:
                offsets.setdefault(row["source_partition"], []).append(row["source_offset"])
        return {partition: of_offsets(np.array(some, np.int64)) for partition, some in offsets.items()}

    return lambda partition, _, __: known().get(partition, NONE)
