"""A report of the gate, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.portal.graph import HOLDS, Edge, Hit, Node
from jobs.gate.check import UNFELT, Judged, Report

_MANY = {"field": "fields", "column": "columns", "feature": "features", "model": "models", "table": "tables", "service": "services"}
_MANY |= {"job": "jobs", "command": "commands", "party": "parties", "read_model": "read models", "version": "versions", "event": "events"}
_MANY |= {"topic": "topics", "group": "groups"}
_HOW = {"reads": "read", "made from": "are made from", "holds": "are part of"}


def lines(report: Report) -> Iterator[str]:
    """One thing a line: with what was compared, each change and what it hits, who is released first, and the verdict."""
    yield from (f"compared with {said}" for said in report.compared)
    yield from (f"not compared: {why}" for why in report.not_compared)
    yield from (f"BREAKS A RULE {sentence}" for sentence in report.broken)
    for one in report.judged:
        yield f"{'safe' if one.finding.safe else 'BREAKING'} {one.finding}"
        yield from (f"  hits {text}" for text in grouped(one.hits))
    for number, step in enumerate(report.steps, 1):
        together = ", together" if len(step.programs) > 1 else ""
        yield f"release {number}{together}: {', '.join(map(str, step.programs))}"
    if not report.steps and any(one.finding.what not in UNFELT for one in report.judged):
        yield "release in any order"
    yield verdict(report)


def verdict(report: Report) -> str:
    """The last line."""
    broken = sum(not one.finding.safe for one in report.judged) + len(report.broken)
    if broken:
        return f"refused: {broken} of {len(report.judged) + len(report.broken)} findings break somebody"
    if report.status:
        return "not compared with the commit that was named" if report.compared else "nothing could be compared"
    return f"safe: {len(report.judged)} changes" if report.judged else "safe: nothing changed"


def grouped(hits: tuple[Hit, ...]) -> Iterator[str]:
    """Hits that have the same reason in one line: `columns a.x, a.y are made from field ...`."""
    groups: dict[tuple[str, str, Node, str], list[Hit]] = {}
    for hit in hits:
        last: Edge = hit.path[-1]
        if last.how != HOLDS or hit.node.kind in ("column", "feature", "table"):
            groups.setdefault((hit.node.kind, last.how, last.source, last.why), []).append(hit)
    for (kind, how, source, why), some in groups.items():
        if len(some) == 1:
            yield str(some[0].path[-1])
        else:
            names = ", ".join(hit.node.name for hit in some)
            yield f"{_MANY.get(kind, kind)} {names} {_HOW.get(how, how)} {source}" + (f" ({why})" if why else "")


def as_dict(report: Report) -> dict[str, Any]:
    """For programs."""
    return {
        "status": report.status,
        "verdict": verdict(report),
        "compared": list(report.compared),
        "notCompared": list(report.not_compared),
        "brokenRules": list(report.broken),
        "findings": [_finding(one) for one in report.judged],
        "release": [
            {"programs": [{"kind": node.kind, "name": node.name} for node in step.programs], "because": list(step.because)}
            for step in report.steps
        ],
    }


def _finding(one: Judged) -> dict[str, Any]:
    finding = one.finding
    return {
        "topic": finding.topic,
        "eventType": finding.event_type,
        "version": finding.version,
        "field": finding.field,
        "what": finding.what,
        "safe": finding.safe,
        "sentence": finding.sentence,
        "against": list(one.against),
        "hits": [{"kind": hit.node.kind, "name": hit.node.name, "why": hit.why} for hit in one.hits],
    }
