"""A replay's report for people and for programs."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from jobs.findings import Findings
from jobs.replay.run import Report


def as_dict(report: Report) -> dict[str, Any]:
    """Everything, for JSON."""
    outcome, refolded = report.outcome, report.refolded
    both = _findings(report)
    return {
        "equal": report.is_equal,
        "source": report.source,
        "tag": report.history.tag,
        "snapshots": dict(report.history.snapshots),
        "actions": outcome.actions,
        "refused": outcome.refused,
        "dead_letters": report.dead_letters,
        "predictions": {"compared": report.compared, "equal": outcome.equal, "by_model": dict(sorted(outcome.models.items()))},
        "not_answered_yet": report.tail,
        "not_archived_yet": report.ahead,
        "folded": None
        if refolded is None
        else {
            "vectors": refolded.vectors,
            "vectors_equal": refolded.equal,
            "log_rows": refolded.log_rows,
            "log_rows_equal": refolded.log_equal,
            "profiles_later": refolded.profiles_later,
        },
        "difference_counts": [{"field": kind, "count": count} for (_, kind), count in sorted(both.counts.items())],
        "differences": [finding.as_dict() for finding in sorted(both.kept)],
        "seconds": round(report.seconds, 3),
    }


def show(report: Report, console: Console) -> None:
    """What was replayed, then each difference, then the outcome in a sentence."""
    outcome, refolded = report.outcome, report.refolded
    table = Table(Column("model", no_wrap=True), Column("predictions", justify="right"))
    for name, count in sorted(outcome.models.items()):
        table.add_row(escape(name), f"{count:,}")
    console.print(table)
    said = [
        f"{outcome.actions:,} records of user-actions, {outcome.refused:,} of them refused, as they were",
        f"{report.compared:,} predictions scored again, {outcome.equal:,} equal to the bit",
    ]
    if report.dead_letters:
        said.append(f"{report.dead_letters:,} actions that are accepted now have a dead letter")
    if report.tail:
        said.append(f"{report.tail:,} actions behind the last prediction of their partition: not answered, or not archived, yet")
    if report.ahead:
        said.append(f"{report.ahead:,} predictions for actions behind the last one of this history: not archived yet, or lost")
    if refolded is not None:
        said.append(f"{refolded.vectors:,} predictions made again from the folded archive, {refolded.equal:,} equal to the byte")
        rows = f"{refolded.log_rows:,} rows of feature_log, {refolded.log_equal:,} equal to the bit"
        said.append(rows if refolded.log_rows else "feature_log holds no row of them; run `./streamhouse rebuild`")
        if refolded.profiles_later:
            said.append(f"{refolded.profiles_later:,} predictions were scored before their user's profile was in the online store")
    for line in said:
        console.print(escape(line), highlight=False)
    findings = _findings(report)
    for kind, some in groupby(sorted(findings.kept, key=lambda one: (one.kind, one.partition, one.offset)), key=lambda one: one.kind):
        shown = list(some)
        count = sum(n for (_, of), n in findings.counts.items() if of == kind)
        console.print(f"[red]{escape(kind)}[/red]  {count:,}", highlight=False)
        for finding in shown:
            console.print(f"  {escape(finding.sentence)}", highlight=False, soft_wrap=True)
        if count > len(shown):
            console.print(f"  and {count - len(shown):,} more", highlight=False)
    pace = outcome.actions / report.seconds if report.seconds else 0.0
    if report.differences:
        word = f"{report.differences:,} differences"
    elif report.compared:
        word = "equal: each score that was compared comes out again"
    else:
        word = "nothing was compared: no prediction answers what was chosen"
    if refolded is None:
        console.print("scores and decisions were compared; --fold compares the features they were made from, too", highlight=False)
    console.print(f"{word} ({report.seconds:.1f} s, {pace:,.0f} records/s)", highlight=False)


def _findings(report: Report) -> Findings:
    both = Findings()
    both.merge([report.outcome.findings, *([report.refolded.findings] if report.refolded else [])])
    return both
