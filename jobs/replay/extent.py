"""How far actions and the predictions for them reach in a history, by the tables' metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs.folded_archive import milliseconds
from jobs.replay.chosen import Chosen, Span
from jobs.replay.history import History
from jobs.replay.table_source import BY_ACTION
from jobs.scoring_parts import SOURCE_TOPIC
from lakehouse.read import log_ends, plan_log, read_batches


@dataclass(frozen=True)
class Extent:
    """By partition: `archived`, offsets from the first action that is archived or answered; `last`, the last action that is answered.

    `ahead`: predictions for actions behind the end of `archived`, of what was chosen: not archived yet, or lost.
    """

    archived: dict[int, Span]
    last: Mapping[int, int] = field(default_factory=dict)
    ahead: int = 0


def extent(settings: Settings, history: History, what: Chosen) -> Extent:
    """Of a pinned history."""
    ends = log_ends(settings, "user_actions", history.snapshots["user_actions"])
    pinned = history.snapshots["predictions"]
    if pinned is None:
        return Extent(ends)
    answered = _answered(settings, pinned)
    archived = {p: (min(first, answered.get(p, (first, end))[0]), end) for p, (first, end) in ends.items()}
    ahead = 0
    for partition, (_, end) in answered.items():
        behind = ends.get(partition, (0, 0))[1]
        if end > behind and not what.offsets:
            ahead += _count(settings, pinned, partition, behind, what)
    return Extent(archived, {partition: end - 1 for partition, (_, end) in answered.items()}, ahead)


def _answered(settings: Settings, snapshot_id: int) -> dict[int, Span]:
    """Offsets of actions that predictions answer."""
    partitions, found = load_contracts().topics[SOURCE_TOPIC].partitions, dict[int, Span]()
    for lowest, highest, low, high, _ in plan_log(settings, "predictions", ["action_offset"], snapshot_id, by=BY_ACTION).files:
        for partition in range(max(lowest, 0), min(highest, partitions - 1) + 1):
            first, end = found.get(partition, (low, high + 1))
            found[partition] = min(first, low), max(end, high + 1)
    return found


def _count(settings: Settings, snapshot_id: int, partition: int, first: int, what: Chosen) -> int:
    where = f"action_partition = {partition:d} and action_offset >= {first:d}"
    columns = ["action_offset", "event_time"]
    return sum(
        int(what.holds(milliseconds(batch.column("event_time"))).sum())
        for batch in read_batches(settings, "predictions", columns, where, snapshot_id)
    )
