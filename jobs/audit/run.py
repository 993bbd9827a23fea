"""The audit as a whole: pins, strands and joins on two processes, then files and replays, and one report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.stack import flink_rest
from jobs.audit import workers
from jobs.audit.files import Measured, judge
from jobs.audit.gaps import Told
from jobs.audit.join import Expect, Joined, unanswered_action
from jobs.audit.pins import ACTIONS, ANSWERS, LETTERS, PREDICTIONS, REPLAYS, PinnedTopic, pin
from jobs.audit.replays import Place, Replay, accepted_twice, asked, unmatched
from jobs.audit.rows import Side, dropped
from jobs.audit.second_look import still_missing
from jobs.audit.spill import BUCKET
from jobs.audit.strand import Strand, Work
from jobs.contract_history import in_effect
from jobs.findings import Finding, Findings, Unproven
from jobs.processes import Progress, all_done
from jobs.schema_history import decisions
from jobs.table_log import END

PROCESSES = 2
_LITTLE = 50_000  # offsets
_SECOND_LOOK_SECONDS = 10.0  # some checkpoints long
_EVENTS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Counts:
    """What was looked at. `unanswered` and `not_archived`: what may still come; `without_row`: what the topic holds where the table has no
    row, below its last one; `not_begun`: topics of a job that nobody ever started.
    """

    actions: int
    predictions: int
    dead_letters: int
    repeated_event_ids: int
    replays: int
    unanswered: int
    not_archived: dict[str, int]
    not_begun: list[str]
    records: dict[str, int]
    rows_alone: dict[str, int]
    without_row: dict[str, Told]
    snapshots: dict[str, int]
    files: dict[str, int]


@dataclass
class Report:
    """The outcome of an audit."""

    counts: Counts
    findings: Findings
    unproven: list[Unproven]
    settled: bool
    scorer_runs: bool
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether nothing refutes the claim."""
        return self.findings.total == 0


@dataclass
class _Outcome:
    """What the workers answered."""

    strands: dict[str, list[Strand]] = field(default_factory=dict)
    measured: dict[str, Measured] = field(default_factory=dict)
    joined: list[Joined] = field(default_factory=list)
    missing: set[Place] = field(default_factory=set)
    repeated: int = 0


def audit(settings: Settings, *, settled: bool = False, progress: Progress = lambda _, __: None, processes: int | None = None) -> Report:
    """Audit the state as of now. `settled`: everything is at rest, so whatever is missing is lost.

    `processes`: by default two, and none but this one where so little is to be read that starting them takes longer.

    Raises:
        NotAuditable: the broker does not answer, or a topic is missing or was cut meanwhile.
        LakehouseError: a table or its metadata cannot be read.

    """
    began = time.monotonic()
    pinned = pin(settings)
    runs = _runs(settings)
    total = sum(p.size for topic in pinned.values() for p in topic.partitions)
    if processes is None:
        processes = PROCESSES if total > _LITTLE else 0
    with workers.begun(settings, processes) as (pool, passed):
        outcome = _Outcome()
        _follow(settings, pool, pinned, outcome, lambda: progress(passed(), total))
        _join(pool, pinned, outcome, tail_is_fine=runs and not settled)
    if outcome.missing and runs and not settled:
        answering = [p for topic in ANSWERS for p in pinned[topic].partitions]
        outcome.missing = still_missing(settings, outcome.missing, answering, in_effect(settings), _SECOND_LOOK_SECONDS)
    report = _report(pinned, outcome, settled=settled, scorer_runs=runs)
    report.seconds = time.monotonic() - began
    return report


def _follow(settings: Settings, pool: Executor, pinned: dict[str, PinnedTopic], outcome: _Outcome, tick: Callable[[], None]) -> None:
    ends = {p.partition: p.end for p in pinned[ACTIONS].partitions}
    bits = max(0, math.ceil(math.log2(max(1, sum(ends.values())) / _EVENTS_AT_ONCE)))
    contract, schemas = in_effect(settings), decisions(settings)
    works = [
        Work(p, len(topic.partitions), topic.table, topic.snapshot_id, ends, bits, contract, schemas)
        for topic in pinned.values()
        for p in topic.partitions
    ]
    works.sort(key=lambda work: work.pin.size * (2 if work.pin.topic == PREDICTIONS else 1), reverse=True)
    measuring = {name: pool.submit(workers.measure_table, topic) for name, topic in pinned.items()}
    strands = [pool.submit(workers.follow_strand, work) for work in works]
    for done in _all_done([*strands, *measuring.values()], tick):
        if isinstance(done, Strand):
            outcome.strands.setdefault(done.pin.topic, []).append(done)
    outcome.measured = {name: future.result() for name, future in measuring.items()}
    unordered = [(topic, s.pin.partition) for topic in ANSWERS for s in outcome.strands.get(topic, []) if not s.order.is_kept]
    for strand_of, found in zip(unordered, _all_done([pool.submit(workers.find_disorder, *of) for of in unordered], tick), strict=True):
        topic, partition = strand_of
        next(s for s in outcome.strands[topic] if s.pin.partition == partition).findings.merge([found])
    for repeated in _all_done([pool.submit(workers.count_repeated, part) for part in range(1 << bits)], tick):
        outcome.repeated += repeated


def _join(pool: Executor, pinned: dict[str, PinnedTopic], outcome: _Outcome, *, tail_is_fine: bool) -> None:
    answering = [strand for topic in ANSWERS for strand in outcome.strands.get(topic, [])]
    wanted = asked(_replays(outcome))
    tasks = []
    for p in pinned[ACTIONS].partitions:
        last = max((strand.order.last.get(p.partition, -1) for strand in answering), default=-1)
        known = max((_known_from(strand, p.partition) for strand in answering if strand.pin.low > 0), default=0)
        expect = Expect(p.partition, last + 1 if tail_is_fine else END, known, p.low)
        tasks += [
            pool.submit(workers.join_bucket, expect, bucket, frozenset(o for o in wanted.get(p.partition, ()) if o >> BUCKET == bucket))
            for bucket in range(p.begins >> BUCKET, ((p.end - 1) >> BUCKET) + 1)
        ]
    outcome.joined = list(_all_done(tasks, lambda: None))
    outcome.missing = {(joined.partition, offset) for joined in outcome.joined for offset in joined.missing}


def _known_from(strand: Strand, partition: int) -> int:
    """From which action on the answers in a topic partition that retention has cut are all there."""
    if partition in strand.kept_first:
        return strand.kept_first[partition]
    return END if strand.pin.held is None else strand.cut_last.get(partition, -1) + 1


def _report(pinned: dict[str, PinnedTopic], outcome: _Outcome, *, settled: bool, scorer_runs: bool) -> Report:
    findings, unproven = Findings(), list[Unproven]()
    for name, topic in pinned.items():
        strands = outcome.strands.get(name, [])
        findings.merge([strand.findings for strand in strands])
        unproven += [one for strand in strands for one in strand.unproven]
        held = {strand.pin.partition: strand.held for strand in strands}
        measured = judge(topic, outcome.measured[name], held)
        findings.merge([measured.findings])
        unproven += measured.unproven
        if settled and topic.begun:
            for strand in strands:
                if strand.beyond:
                    findings.add(_behind(topic, strand), strand.beyond)
    findings.extend(map(unanswered_action, sorted(outcome.missing)))
    findings.merge([joined.findings for joined in outcome.joined])
    unproven += [_unanswered(joined) for joined in outcome.joined if joined.unproven]
    replays = _replays(outcome)
    if REPLAYS in pinned or replays:
        notes = [note for strand in outcome.strands.get(REPLAYS, []) for note in strand.notes]
        accepted: set[Place] = {(joined.partition, offset) for joined in outcome.joined for offset in joined.accepted}
        findings.extend(unmatched(replays, notes))
        findings.extend(accepted_twice(replays, accepted))
    return Report(_counts(pinned, outcome, replays, settled=settled), findings, sorted(unproven), settled, scorer_runs)


def _behind(topic: PinnedTopic, strand: Strand) -> Finding:
    side = Side(topic.name, topic.table, strand.pin.partition, 0)
    finding = dropped(side, strand.first_beyond)
    more = f"; so {strand.beyond} records to the topic's end" if strand.beyond > 1 else ""
    return Finding(finding.where, finding.kind, finding.partition, finding.offset, finding.sentence + more)


def _unanswered(joined: Joined) -> Unproven:
    first, last, count = joined.unproven
    sentence = (
        f"topic {ACTIONS}, partition {joined.partition}: {count} actions from offset {first} to {last} have no answer that is still kept;"
        " retention has cut the topics of answers there, so whether they were answered is not proven"
    )
    return Unproven(ACTIONS, joined.partition, first, last, sentence)


def _counts(pinned: dict[str, PinnedTopic], outcome: _Outcome, replays: Sequence[Replay], *, settled: bool) -> Counts:
    def by_topic(of: Callable[[Strand], int]) -> dict[str, int]:
        return {name: sum(map(of, outcome.strands.get(name, []))) for name in pinned}

    records, alone = by_topic(lambda strand: strand.records), by_topic(lambda strand: strand.rows_alone)
    return Counts(
        actions=records[ACTIONS] + alone[ACTIONS],
        predictions=records[PREDICTIONS] + alone[PREDICTIONS],
        dead_letters=records[LETTERS] + alone[LETTERS],
        repeated_event_ids=outcome.repeated,
        replays=len(replays),
        unanswered=sum(joined.tail for joined in outcome.joined),
        not_archived={
            name: 0 if settled and pinned[name].begun else count for name, count in by_topic(lambda strand: strand.beyond).items()
        },
        not_begun=[name for name, topic in pinned.items() if not topic.begun],
        records=records,
        rows_alone=alone,
        without_row={name: sum((strand.without_row for strand in outcome.strands.get(name, [])), Told()) for name in pinned},
        snapshots={name: len({receipt.snapshot_id for receipt in outcome.measured[name].receipts}) for name in pinned},
        files={name: len(outcome.measured[name].files) for name in pinned},
    )


def _replays(outcome: _Outcome) -> list[Replay]:
    return [replay for strand in outcome.strands.get(ACTIONS, []) for replay in strand.replays]


def _runs(settings: Settings) -> bool:
    try:
        return flink_rest.alive(settings, "score_events") is not None
    except StreamhouseError:
        return False


def _all_done(futures: Sequence[Future[Any]], tick: Callable[[], None]) -> list[Any]:
    return all_done(futures, tick, time.sleep)
