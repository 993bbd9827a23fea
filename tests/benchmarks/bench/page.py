"""What a bench found -> one HTML file for people, without scripts, which loads nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from statistics import median
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from jobs.backtest.figures import WIDTH, svg_of
from jobs.backtest.marks import CANDIDATE, CHAMPION, INK, NEGATIVE, POSITIVE
from jobs.backtest.page import NONE, STYLE
from tests.benchmarks.bench import costs_page
from tests.benchmarks.bench.legs import OURS, Leg, values
from tests.benchmarks.bench.ratios import DRAIN, INTERVALS, RATIOS, Ratio, Value, latency

ENOUGH = 5
"""Runs that a verdict needs; one of fewer says how many."""
_WORK = """<h2>What each side does</h2>
<p class="told">All read the same bytes, keep the same features of each user in a Redis of their own, score with the same ONNX file, and
publish a prediction for each action. A run in which an action is not answered exactly once ends there and counts nothing; so does one
in which a score differs by more than 0.000001 from that of a rival, which folds all earlier actions of the user by itself. Beyond that they
differ.</p>
<div class="wide"><table><tr><th class="text"></th><th class="text">ours</th><th class="text">rivals</th></tr>
<tr><td class="text">input</td><td class="text">checked by its contract; what is bad becomes a dead letter</td>
<td class="text">trusted, in time order</td></tr>
<tr><td class="text">store</td><td class="text">profiles of all users of the run</td>
<td class="text">the same rows of the users that it gets, as they were before ours answered them</td></tr>
<tr><td class="text">features</td><td class="text">by log order, late actions too; Feast can read them after each batch</td>
<td class="text">counters of their own, which nobody else reads</td></tr>
<tr><td class="text">state</td><td class="text">a history that answers again, after a crash, what it answered before; fenced</td>
<td class="text">what the last write left; may count twice</td></tr>
<tr><td class="text">prediction</td><td class="text">with all features, rows and the model's hash</td>
<td class="text">with score, decision and model</td></tr>
<tr><td class="text">until</td><td class="text">appended; committed with the checkpoint within a second</td>
<td class="text">appended</td></tr>
<tr><td class="text">actions</td><td class="text">a section of the clickstream</td>
<td class="text">the same one; its beginning where they are slow, and more such sections, which ours answered before, where they are
quick</td></tr>
<tr><td class="text">processes</td><td class="text">two workers beside one TaskManager</td>
<td class="text">two that share out the partitions; Pathway one</td></tr>
<tr><td class="text">warm-up</td><td class="text">the actions of five drains, of two in a quick run, as Java compiles meanwhile</td>
<td class="text">2,000 actions; nothing of theirs is compiled as it runs</td></tr>
<tr><td class="text">beside it</td><td class="text">registry, keeper and meter, which are not counted; no archive</td>
<td class="text">our stack at rest, which is not counted</td></tr></table></div>"""
_COLOURS = (CHAMPION, CANDIDATE, POSITIVE, NEGATIVE, "#5b8c2a", "#8d6bc7", "#c2a017")


@dataclass(frozen=True)
class Report:
    """Everything: `legs` all that was measured, `counted` those that count; `machine` what a number depends on besides the code."""

    command: str
    machine: Mapping[str, str]
    rivals: Mapping[str, str]
    legs: Sequence[Leg]
    counted: Sequence[Leg]
    seconds: float
    is_whole: bool = True

    def results(self) -> list[tuple[Ratio, Value | None]]:
        """Each ratio as it came out of the runs that count, or else of all."""
        found = []
        for ratio in RATIOS:
            value = ratio.of(self.counted)
            if value is None and (told := ratio.of(self.legs)) is not None:
                value = replace(told, disturbed=True)
            found.append((ratio, value))
        return found

    def behind(self) -> list[tuple[Ratio, Value]]:
        """Where we are behind our target."""
        return [(ratio, value) for ratio, value in self.results() if value is not None and not value.disturbed and not ratio.is_met(value)]

    def undecided(self) -> list[Ratio]:
        """Those that no number decides: they were not measured, or on a disturbed machine."""
        return [ratio for ratio, value in self.results() if value is None or value.disturbed]

    def sides(self) -> list[str]:
        """Who was drained, ours first."""
        return list(dict.fromkeys(leg.side for leg in self.counted if leg.part == DRAIN))


def page(report: Report) -> str:
    """The whole file."""
    return "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Streamhouse beside its rivals</title><style>{STYLE}small{{white-space:normal}}</style>",
            "<h1>Streamhouse beside its rivals</h1>",
            _verdict(report),
            _table(report),
            *_plots(report),
            _drains(report),
            costs_page.section(report.legs, report.counted),
            _WORK,
            _machine(report),
            _behind(report),
        ]
    )


def text(value: float, target: float | None = None) -> str:
    """A number with as many digits as tell something, and with as many more as tell on which side of the target it lies."""
    for more in range(17):
        digits = max(0, more + 2 - (math.floor(math.log10(abs(value))) if value else 0)) if abs(value) < 1000 else more
        shown = f"{value:,.{digits}f}"
        if not more and digits:
            shown = shown.rstrip("0").rstrip(".")
        read = float(shown.replace(",", ""))
        if target is None or (read < target, read > target) == (value < target, value > target):
            return shown
    return repr(value)


def _verdict(report: Report) -> str:
    results = report.results()
    told = [(ratio, value) for ratio, value in results if value is not None and not value.disturbed]
    met = sum(ratio.is_met(value) for ratio, value in told)
    lost = len(results) - len(told)
    not_measured = f", {lost} have no number that counts" if lost else ""
    disturbed = len(report.legs) - len(report.counted)
    said = f"{met} of {len(told)} measured ratios reach their target{not_measured}."
    quick = "" if report.is_whole else " <b>Not a whole run: fewer and shorter measurements, which say less.</b>"
    how = f"{len(report.legs)} measurements in {report.seconds / 60:.0f} minutes; {disturbed} do not count: the machine was disturbed."
    return f'<p class="verdict">{said}<br><small>{how} Ours counts by its worst run, a rival by its best.{quick}</small></p>'


def _table(report: Report) -> str:
    rows = []
    for ratio, value in report.results():
        is_met = value is not None and not value.disturbed and ratio.is_met(value)
        number = NONE if value is None else text(value.number, ratio.target) + ratio.unit
        verdict = said_of(value, is_met=is_met)
        kind = "none" if value is None or value.disturbed else "better" if is_met else "worse"
        made_of = "" if value is None else f"<br><small>{escape(value.made_of)}</small>"
        rows.append(
            f'<tr><td class="text">{escape(ratio.name)}</td><td class="text">{escape(ratio.what)}{made_of}</td>'
            f'<td>{number}</td><td>{ratio.wanted}</td><td class="{kind}">{verdict}</td></tr>'
        )
    head = '<tr><th class="text">ratio</th><th class="text">what</th><th>this run</th><th>target</th><th></th></tr>'
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'


def said_of(value: Value | None, *, is_met: bool) -> str:
    """The verdict on a ratio."""
    if value is None:
        return "not measured"
    if value.disturbed:
        return "disturbed"
    return ("met" if is_met else "not met") + (f", of {value.runs} run{'' if value.runs == 1 else 's'}" if value.runs < ENOUGH else "")


def _behind(report: Report) -> str:
    behind, undecided = report.behind(), report.undecided()
    items = [f"<li>{escape(r.name)}, {escape(r.what)}: {text(v.number, r.target)}{r.unit}, wanted {r.wanted}</li>" for r, v in behind]
    listed = f"<ul>{''.join(items)}</ul>" if items else "<p>In nothing that this run decided.</p>"
    left = f"<p>Undecided, not measured or on a disturbed machine: {escape(', '.join(r.name for r in undecided))}.</p>" if undecided else ""
    return f"<h2>Where we are behind</h2>{listed}{left}"


def _plots(report: Report) -> list[str]:
    draws: tuple[tuple[str, str, str, Callable[[Report], Figure | None]], ...] = (
        (
            "rates",
            "Actions a second",
            "After the first quarter of the answers. Median of the runs that count, slowest and quickest.",
            _rates,
        ),
        ("cpu", "CPU an action", "Microseconds of all processes that a side needs, broker and store too; medians.", _cpu),
        ("waits", "Waits for a prediction", "Share of the actions that waited longer, from when each was due.", _waits),
        ("commits", "The price of a commit", "99th percentile until a prediction is committed, by the interval of checkpoints.", _commits),
    )
    found = []
    for key, title, told, draw in draws:
        drawn = svg_of(key, title, lambda draw=draw: draw(report))  # type: ignore[misc]
        if drawn is not None:
            found.append(f'<h2>{title}</h2><p class="told">{told}</p><figure>{drawn}</figure>')
    return found


def _rates(report: Report) -> Figure | None:
    sides = report.sides()
    if not sides:
        return None
    figure = Figure(figsize=(WIDTH, 0.8 + 0.36 * len(sides)))
    ax = figure.subplots()
    for y, side in enumerate(reversed(sides)):
        rates = values(report.counted, DRAIN, side, "per_second")
        middle = median(rates)
        ax.barh(y, middle, color=CHAMPION if side == OURS else NEGATIVE, height=0.66)
        ax.plot([min(rates), max(rates)], [y, y], color=INK, linewidth=1.4)
    ax.set(yticks=range(len(sides)), yticklabels=list(reversed(sides)), xlabel="actions a second")
    ax.grid(visible=False, axis="y")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return figure


def _cpu(report: Report) -> Figure | None:
    sides = report.sides()
    if not sides:
        return None
    used = {side: _medians([leg.figures["cpu_us"] for leg in report.counted if (leg.part, leg.side) == (DRAIN, side)]) for side in sides}
    groups = list(dict.fromkeys(group if group not in sides else "the rival" for per in used.values() for group in per))
    figure = Figure(figsize=(WIDTH, 1.3 + 0.36 * len(sides)))
    ax = figure.subplots()
    for i, group in enumerate(groups):
        left = [sum(used[side].get(_in(side, before), 0.0) for before in groups[:i]) for side in reversed(sides)]
        width = [used[side].get(_in(side, group), 0.0) for side in reversed(sides)]
        ax.barh(range(len(sides)), width, left=left, height=0.66, color=_COLOURS[i % len(_COLOURS)], label=group)
    ax.set(yticks=range(len(sides)), yticklabels=list(reversed(sides)), xlabel="CPU microseconds an action", xscale="linear")
    ax.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=min(6, len(groups)))
    return figure


def _in(side: str, group: str) -> str:
    return side if group == "the rival" else group


def _medians(of: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: median(one.get(name, 0.0) for one in of) for name in dict.fromkeys(name for one in of for name in one)}


def _waits(report: Report) -> Figure | None:
    legs = [leg for leg in report.counted if leg.part == latency("1s")]
    if not legs:
        return None
    figure = Figure(figsize=(WIDTH, 3.8))
    ax = figure.subplots()
    for isolation, colour in (("read_uncommitted", CHAMPION), ("read_committed", CANDIDATE)):
        for i, leg in enumerate(legs):
            ends, counts = zip(*leg.figures["histogram"][isolation], strict=True)
            total, beyond, share = sum(counts), sum(counts), []
            for count in counts:
                beyond -= count
                share.append(max(beyond, 0.5) / total)
            ax.plot(ends, share, color=colour, linewidth=1.1, label=isolation.replace("_", " ") if i == 0 else None)
    ax.set(xscale="log", yscale="log", xlabel="milliseconds", ylabel="share that waited longer")
    ax.legend()
    return figure


def _commits(report: Report) -> Figure | None:
    told = {interval: values(report.counted, latency(interval), OURS, "committed_p99") for interval in INTERVALS}
    if sum(bool(found) for found in told.values()) < 2:
        return None
    figure = Figure(figsize=(WIDTH, 3.4))
    ax = figure.subplots()
    shown = [interval for interval in INTERVALS if told[interval]]
    middle = [median(told[interval]) for interval in shown]
    ax.plot(range(len(shown)), middle, color=CHAMPION, marker="o", label="99th percentile, median of the runs")
    ax.vlines(range(len(shown)), [min(told[i]) for i in shown], [max(told[i]) for i in shown], color=CHAMPION, linewidth=2, alpha=0.5)
    wanted = [next(ratio.target for ratio in RATIOS if ratio.name == f"R4 commit {interval}") for interval in shown]
    ax.plot(range(len(shown)), wanted, color=NEGATIVE, linestyle=":", marker="s", label="target")
    ax.set(xticks=range(len(shown)), xticklabels=shown, yscale="log", ylabel="milliseconds", xlabel="checkpoint interval")
    ax.legend()
    return figure


def _drains(report: Report) -> str:
    sides = report.sides()
    if not sides:
        return ""
    rows = []
    for side in sides:
        legs = [leg for leg in report.counted if leg.part == DRAIN and leg.side == side]
        rates = [leg.figures["per_second"] for leg in legs]
        cpu = _medians([leg.figures["cpu_us"] for leg in legs])
        peak = _medians([leg.figures["peak_mib"] for leg in legs])
        split = ", ".join(f"{name} {microseconds:.1f}" for name, microseconds in cpu.items())
        memory = ", ".join(f"{name} {size:,.0f}" for name, size in peak.items())
        rows.append(
            f'<tr><td class="text">{escape(side)}<br><small>{escape(report.rivals.get(side, "exactly once"))}</small></td>'
            f"<td>{len(legs)}</td>"
            f"<td>{legs[0].figures['actions']:,}</td><td>{median(rates):,.0f}<br><small>{min(rates):,.0f} to {max(rates):,.0f}</small></td>"
            f'<td class="text">{sum(cpu.values()):.1f}<br><small>{escape(split)}</small></td>'
            f'<td class="text">{sum(peak.values()):,.0f}<br><small>{escape(memory)}</small></td></tr>'
        )
    head = (
        '<tr><th class="text">side</th><th>runs</th><th>actions</th><th>actions/s</th><th class="text">CPU µs an action</th>'
        '<th class="text">peak MiB</th></tr>'
    )
    return f'<h2>Every side</h2><div class="wide"><table>{head}{"".join(rows)}</table></div>'


def _machine(report: Report) -> str:
    told: dict[str, Any] = {"command": report.command, **report.machine}
    return "<h2>Machine</h2><dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in told.items()) + "</dl>"
