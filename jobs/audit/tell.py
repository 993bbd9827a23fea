"""The report for people and for programs."""

from __future__ import annotations

import dataclasses
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from jobs.archive_columns import ARCHIVED
from jobs.audit.run import Report
from jobs.findings import Finding


def as_dict(report: Report) -> dict[str, Any]:
    """Everything, for JSON."""
    counts = [{"where": where, "kind": kind, "count": n} for (where, kind), n in sorted(report.findings.counts.items())]
    return {
        "clean": report.is_clean,
        "settled": report.settled,
        "score_events_runs": report.scorer_runs,
        "seconds": round(report.seconds, 3),
        "counts": dataclasses.asdict(report.counts),
        "finding_counts": counts,
        "findings": [finding.as_dict() for finding in sorted(report.findings.kept, key=_by_place)],
        "unproven": [one.as_dict() for one in report.unproven],
    }


def show(report: Report, console: Console) -> None:
    """A table of what was looked at, then each finding, then the outcome in a sentence."""
    counts = report.counts
    table = Table(Column("topic", no_wrap=True), "records", "not archived yet", "rows of what retention cut", "snapshots", "files")
    quiet = {name for name in ARCHIVED["archive_shop"] if name in counts.records and not counts.records[name] + counts.files[name]}
    for name, records in counts.records.items():
        if name in quiet:
            continue
        behind, alone = counts.not_archived[name], counts.rows_alone[name]
        table.add_row(name, *(f"{n:,}" for n in (records, behind, alone, counts.snapshots[name], counts.files[name])))
    console.print(table)
    told = Table(Column("offsets without a row", no_wrap=True), "lost", "aborted", "control or compacted", "not retained")
    for name, gaps in counts.without_row.items():
        if name in quiet:
            continue
        told.add_row(name, *(f"{n:,}" for n in (gaps.committed, gaps.aborted, gaps.neither, gaps.not_retained)))
    console.print(told)
    said = [
        f"{counts.actions:,} actions, {counts.predictions:,} predictions, {counts.dead_letters:,} dead letters, {counts.replays:,} replays",
        f"{counts.repeated_event_ids:,} actions repeat the event id of another",
    ]
    if quiet:
        said.append(f"nothing lies on {len(quiet)} topics of the shop and the bank, nor in their tables")
    if waiting := sum(counts.not_archived[name] for name in counts.not_begun):
        said.append(f"{waiting:,} records of the shop and the bank are not archived yet: `./streamhouse submit archive_shop` begins it")
    if counts.unanswered:
        said.append(f"{counts.unanswered:,} actions behind the last answer of their partition are not answered yet; score_events runs")
    if not report.scorer_runs:
        said.append("score_events does not run: each action without an answer is a finding")
    for line in said:
        console.print(escape(line), highlight=False)
    for one in report.unproven:
        console.print(f"[yellow]not proven[/yellow]  {escape(one.sentence)}", highlight=False, soft_wrap=True)
    for (where, kind), findings in groupby(sorted(report.findings.kept, key=_by_place), key=lambda finding: (finding.where, finding.kind)):
        count = report.findings.counts[where, kind]
        shown = list(findings)
        console.print(f"[red]{escape(f'{where}: {kind}')}[/red]  {count:,}", highlight=False)
        for finding in shown:
            console.print(f"  {escape(finding.sentence)}", highlight=False, soft_wrap=True)
        if count > len(shown):
            console.print(f"  and {count - len(shown):,} more", highlight=False)
    outcome = "clean: every record is where it should be" if report.is_clean else f"{report.findings.total:,} findings"
    if report.is_clean and report.unproven:
        outcome = f"nothing is wrong; {len(report.unproven):,} ranges are not proven"
    console.print(f"{outcome} ({report.seconds:.1f} s)", highlight=False)


def _by_place(finding: Finding) -> tuple[str, str, int, int]:
    return finding.where, finding.kind, finding.partition, -1 if finding.offset is None else finding.offset
