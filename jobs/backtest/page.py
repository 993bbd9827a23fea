"""A comparison of two models -> one HTML file for people, without scripts, which loads nothing and is the same to the byte each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape

from jobs.backtest.figures import PLOTS, svg
from jobs.backtest.marks import short
from models.compared import Comparison, Estimate, Group, Metrics

NONE = "–"
STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--faint:#656d76;--ground:#fff;--line:#d8dee4;--box:#f6f8fa;--good:#1a7f37;--bad:#cf222e}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--faint:#9da7b1;--ground:#0d1117;--line:#30363d;--box:#161b22;--good:#56d364;--bad:#ff7b72}}
body{max-width:58rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground)}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.15rem;margin:2.2rem 0 .3rem}
.verdict{font-size:1.15rem;padding:.9rem 1.1rem;background:var(--box);border-left:.3rem solid var(--faint);border-radius:.3rem}
.verdict.candidate{border-color:var(--good)}.verdict.champion{border-color:var(--bad)}
.told,small,.none{color:var(--faint)}.told{margin:.2rem 0 .6rem}small{white-space:nowrap}
figure{margin:.5rem 0}figure svg{width:100%;height:auto;color:var(--ink)}figure svg text{font-family:system-ui,sans-serif!important}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}
th{font-weight:600}td.text,th.text{text-align:left}td.text{overflow-wrap:anywhere}
.better{color:var(--good)}.worse{color:var(--bad)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.2rem}dt{color:var(--faint)}dd{margin:0;overflow-wrap:anywhere}
pre{background:var(--box);padding:.7rem;border-radius:.3rem;white-space:pre-wrap;overflow-wrap:anywhere}
@media print{details>*{display:block}}
""".strip()

_MEASURES = (  # name on the page, field, whether more is better
    ("AUC", "auc", True),
    ("average precision", "average_precision", True),
    ("log loss", "log_loss", False),
    ("Brier score", "brier", False),
    ("calibration error", "calibration_error", False),
    ("precision of the decisions", "precision", True),
    ("recall of the decisions", "recall", True),
    ("F1 of the decisions", "f1", True),
)


@dataclass(frozen=True)
class Identity:
    """Whose action, and which: the identity of a row among the largest changes. `time`: ms of event time."""

    user_id: str
    event_id: str
    time: int
    action: str | None


@dataclass(frozen=True)
class About:
    """What the caller knows and the comparison does not.

    `outcome`: what a label says. `tag` names the history, `snapshots` the snapshot id of each table; `first`, `last`: ms of event
    time of its first and last action, None without any. `folded`: rows read; `left_out`: why a row was not compared -> how many.
    `learned_from`: how many compared rows happened by `learned_until`, ms, when a model still learned.
    `largest`: one for each of the comparison's `changes`, in their order. `command`: makes the report again.
    """

    title: str
    outcome: str
    tag: str
    snapshots: Mapping[str, int]
    first: int | None
    last: int | None
    champion_sha256: str
    candidate_sha256: str
    folded: int
    left_out: Mapping[str, int]
    learned_from: int
    learned_until: int
    largest: Sequence[Identity]
    command: str


def page(comparison: Comparison, about: About) -> str:
    """The report. Equal arguments give equal text."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(about.title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{_text(about.title)}</h1>",
        f'<p class="verdict {comparison.better}">{_text(verdict(comparison))}</p>',
        f'<p class="worse">{_text(warning(about))}</p>' if about.learned_from else "",
        f"<p>{_text(_counted(comparison, about))}</p>",
        _metrics(comparison),
    ]
    for plot in PLOTS:
        parts.append(f'<h2>{_text(plot.title)}</h2><p class="told">{_text(plot.told)}</p>')
        drawn = svg(plot, comparison)
        parts.append(f"<figure>{drawn}</figure>" if drawn else '<p class="none">These rows give nothing to draw.</p>')
        if plot.key == "days":
            parts.append(_groups("Every day in numbers", {"day": comparison.days}))
        if plot.key == "segments":
            parts.append(_groups("Every segment in numbers", comparison.segments))
    parts += [_largest(comparison, about), _history(comparison, about), "</body></html>"]
    return "\n".join(part for part in parts if part) + "\n"


def verdict(comparison: Comparison) -> str:
    """Which model is better, by how much and how surely, in one sentence."""
    champion, candidate = comparison.champion.name, comparison.candidate.name
    told = "; ".join(
        f"{name} {_signed(one)} (95 % interval {_between(one, signed=True)}{', within noise' if _sign(one) == 0 else ''})"
        for name, one in (("average precision", comparison.difference.average_precision), ("AUC", comparison.difference.auc))
    )
    if comparison.better == "unknown":
        why = (
            "no action was scored by both"
            if not comparison.counts.compared
            else "too few actions, or users, have the one or the other answer"
        )
        return f"Whether {candidate} is better than {champion} cannot be told: {why}."
    if comparison.better == "neither":
        return f"The candidate {candidate} and the champion {champion} do not differ beyond noise: {told}."
    if comparison.better == "mixed":
        return f"The candidate {candidate} is better than the champion {champion} by one measure and worse by the other: {told}."
    word = "better" if comparison.better == "candidate" else "worse"
    return f"The candidate {candidate} is {word} than the champion {champion}: {told}."


def warning(about: About) -> str:
    """What to think of a comparison on rows that a model learned from."""
    return (
        f"{about.learned_from:,} of these actions happened by {_moment(about.learned_until)}Z, while a model still learned: a model looks"
        " better on them than it is. Judge by later ones."
    )


def _counted(comparison: Comparison, about: About) -> str:
    counts = comparison.counts
    share = f"{_percent(counts.conversion.value)} ({_between(counts.conversion, percent=True)})"
    said = f"Compared on {counts.compared:,} actions of {counts.users:,} users. What is foretold, that {about.outcome}, came true for"
    said += f" {counts.positives:,} of them: {share}."
    for rows, who in ((counts.without_champion, "the champion"), (counts.without_candidate, "the candidate")):
        if rows:
            said += f" {rows:,} more, to which {who} gave no score, are left out."
    return said


def _metrics(comparison: Comparison) -> str:
    rows = []
    for name, field, more in _MEASURES:
        if field in Metrics.__struct_fields__:
            three = [getattr(of, field) for of in (comparison.champion.metrics, comparison.candidate.metrics, comparison.difference)]
        else:
            three = [
                getattr(of, field) for of in (comparison.champion.decided, comparison.candidate.decided, comparison.decided_difference)
            ]
        rows.append(
            f'<tr><td class="text">{name}<br><small>{"more" if more else "less"} is better</small></td>'
            f"{_cell(three[0])}{_cell(three[1])}{_cell(three[2], signed=True)}<td>{_judged(three[2], more)}</td></tr>"
        )
    heads = (
        f'<th class="text"></th><th>champion<br>{_text(comparison.champion.name)}</th>'
        f"<th>candidate<br>{_text(comparison.candidate.name)}</th><th>difference</th><th>the candidate is</th>"
    )
    table = f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    note = '<p class="told">Below each value its 95 % interval; a dash: it cannot be told from these rows.</p>'
    alone = comparison.candidate_on_every_row
    if alone is not None:
        note += (
            f'<p class="told">On every action, with those to which the champion gave no score, the candidate has AUC '
            f"{_value(alone.auc.value)} and average precision {_value(alone.average_precision.value)}.</p>"
        )
    return table + note


def _groups(summary: str, groups: Mapping[str, Sequence[Group]]) -> str:
    rows = [
        f'<tr><td class="text">{_text(name)}: {_text(short(group.value, 60))}</td><td>{group.rows:,}</td><td>{group.users:,}</td>'
        f"<td>{group.positives:,}</td>{_cell(group.conversion, percent=True)}"
        f"<td>{_percent(group.champion.mean_score)}<br>{_percent(group.candidate.mean_score)}</td>"
        f"{_cell(group.champion.average_precision)}{_cell(group.candidate.average_precision)}"
        f"{_cell(group.difference.average_precision, signed=True)}{_cell(group.difference.auc, signed=True)}</tr>"
        for name, several in groups.items()
        for group in several
    ]
    if not rows:
        return ""
    heads = (
        "actions",
        "users",
        "positives",
        "conversion",
        "mean score, champion and candidate",
        "AP champion",
        "AP candidate",
        "AP difference",
        "AUC difference",
    )
    head = '<th class="text"></th>' + "".join(f"<th>{name}</th>" for name in heads)
    table = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    return f"<details><summary>{_text(summary)}</summary>{table}</details>"


def _largest(comparison: Comparison, about: About) -> str:
    head = "<h2>Largest changes</h2>"
    if not comparison.changes:
        return head + '<p class="none">No score changed.</p>'
    rows = []
    for change, who in zip(comparison.changes, about.largest, strict=True):
        decision = {True: "act", False: "leave"}
        decided = decision[change.champion_yes]
        if change.champion_yes != change.candidate_yes:
            decided += f" → {decision[change.candidate_yes]}"
        rows.append(
            f'<tr><td class="text">{_text(who.user_id)}</td><td class="text">{_text(who.action or NONE)}</td>'
            f'<td class="text">{_moment(who.time)}<br><small>{_text(who.event_id)}</small></td>'
            f"<td>{change.champion:.3f} → {change.candidate:.3f}</td><td>{_signed(Estimate(change.candidate - change.champion), 3)}</td>"
            f"<td>{decided}</td><td>{'yes' if change.label else 'no'}</td></tr>"
        )
    heads = (
        '<th class="text">user</th><th class="text">action</th><th class="text">time (UTC), event</th>'
        "<th>champion → candidate</th><th>change</th><th>decision</th><th>outcome</th>"
    )
    return f'{head}<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _history(comparison: Comparison, about: About) -> str:
    facts: list[tuple[str, str]] = [("history", about.tag)]
    facts += [(f"snapshot of {table}", str(number)) for table, number in sorted(about.snapshots.items())]
    facts.append(("actions from, to", " to ".join(NONE if ms is None else _moment(ms) + "Z" for ms in (about.first, about.last))))
    facts.append(("champion", f"{comparison.champion.name}, sha256 {about.champion_sha256}"))
    facts.append(("candidate", f"{comparison.candidate.name}, sha256 {about.candidate_sha256}"))
    facts.append(("rows folded", f"{about.folded:,}"))
    facts += [(f"left out: {why}", f"{rows:,}") for why, rows in sorted(about.left_out.items())]
    facts.append(("resamples", f"{comparison.resamples:,} from seed {comparison.seed}"))
    listed = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts)
    return (
        "<h2>How it was computed</h2><ul>"
        + "".join(f"<li>{_text(sentence)}</li>" for sentence in comparison.how)
        + f"</ul><h2>What it was computed from</h2><dl>{listed}</dl>"
        + f"<h2>How to make it again</h2><p>The same command on the same history gives the same page.</p><pre>{_text(about.command)}</pre>"
    )


def _sign(one: Estimate) -> int | None:
    if one.low is None or one.high is None:
        return None
    return 1 if one.low > 0 else -1 if one.high < 0 else 0


def _judged(one: Estimate, more: bool) -> str:
    sign = _sign(one)
    if sign is None:
        return NONE
    if sign == 0:
        return '<span class="none">within noise</span>'
    return '<span class="better">better</span>' if (sign > 0) == more else '<span class="worse">worse</span>'


def _cell(one: Estimate, *, signed: bool = False, percent: bool = False) -> str:
    value = _signed(one) if signed else _percent(one.value) if percent else _value(one.value)
    between = "" if one.low is None else f"<br><small>{_between(one, signed=signed, percent=percent)}</small>"
    return f"<td>{value}{between}</td>"


def _between(one: Estimate, *, signed: bool = False, percent: bool = False) -> str:
    if one.low is None or one.high is None:
        return "no interval"
    ends = [_percent(v) if percent else _signed(Estimate(v)) if signed else _value(v) for v in (one.low, one.high)]
    return " to ".join(ends)


def _value(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f} %"


def _signed(one: Estimate, digits: int = 4) -> str:
    if one.value is None:
        return NONE
    rounded = round(one.value, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def _moment(milliseconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)).strftime("%Y-%m-%d %H:%M:%S")


def _text(value: str) -> str:
    """Text from wherever: escaped, and no letter that cannot be shown (or turns the line around)."""
    return escape("".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in value))
