"""A comparison's plots, each an SVG text that is the same to the byte for the same comparison.

Text and axes are drawn in the page's own text colour, so that they can be read on a light and on a dark ground.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jobs.backtest.marks import (
    CANDIDATE,
    CHAMPION,
    FAINT,
    INK,
    LOOKS,
    NEGATIVE,
    POSITIVE,
    band,
    dot,
    error_bars,
    legend,
    percents,
    short,
    thousands,
)
from models.compared import Comparison, Group, Side

WIDTH = 9.0  # inches, the page's column
MOST_VALUES = 12
_STYLE = {
    "svg.fonttype": "none",  # text stays text: to be found, copied and read aloud
    "font.family": "DejaVu Sans",  # which comes with matplotlib, so that the layout is the same everywhere
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "figure.constrained_layout.use": True,
    "text.parse_math": False,
    "axes.unicode_minus": True,
}


@dataclass(frozen=True)
class Plot:
    """`title` and `told` (what to look for) are plain text; `draw` gives the figure, None where there is nothing to draw."""

    key: str
    title: str
    told: str
    draw: Callable[[Comparison], Figure | None]


def svg(plot: Plot, comparison: Comparison) -> str | None:
    """The plot as an `<svg>` element; None: there is nothing to draw."""
    return svg_of(plot.key, plot.title, lambda: plot.draw(comparison))


def svg_of(key: str, title: str, draw: Callable[[], Figure | None]) -> str | None:
    """A figure as an `<svg>` element of a page in which no other has this key; None: there is nothing to draw."""
    with _style(key):
        figure = draw()
        if figure is None:
            return None
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    # ids of several plots share one page
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{key}-", text)
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{title}">', text, count=1)
    text = text.replace(f"stroke: {FAINT}", "stroke: currentColor; stroke-opacity: 0.15").replace(INK, "currentColor")
    return "\n".join(line.rstrip() for line in text.splitlines())


def drawn(plot: Plot, comparison: Comparison) -> Figure | None:
    """The figure itself, as for another format."""
    with _style(plot.key):
        return plot.draw(comparison)


@contextmanager
def _style(key: str) -> Iterator[None]:
    with warnings.catch_warnings():
        # the reader's browser has letters that the font which measures here has not
        warnings.filterwarnings("ignore", "Glyph .* missing")
        # "default" first: a person's own matplotlibrc must not change the page
        with matplotlib.style.context(["default", {**_STYLE, "svg.hashsalt": key}]):
            yield


def _sides(comparison: Comparison) -> Iterator[tuple[Side, dict[str, Any], str]]:
    for side, look, role in zip((comparison.champion, comparison.candidate), LOOKS, ("champion", "candidate"), strict=True):
        yield side, look, f"{role} {short(side.name, 34)}"


def _curves(comparison: Comparison) -> Figure | None:
    if not comparison.champion.roc.x:
        return None
    figure = Figure(figsize=(WIDTH, 4.1))
    roc, pr = figure.subplots(1, 2)
    for side, look, name in _sides(comparison):
        line = {"color": look["color"], "linestyle": look["linestyle"], "label": name}
        roc.plot(side.roc.x, side.roc.y, **line)
        pr.plot(side.precision_recall.x, side.precision_recall.y, drawstyle="steps-pre", **line)
    by_chance = {"color": NEGATIVE, "linewidth": 1, "linestyle": ":", "label": "by chance"}
    roc.plot([0, 1], [0, 1], **by_chance)
    pr.axhline(comparison.counts.conversion.value or 0, **by_chance)
    roc.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01))
    pr.set(title="Precision and recall", xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.01))
    percents(roc.xaxis, roc.yaxis, pr.xaxis, pr.yaxis)
    legend(figure, roc.get_legend_handles_labels()[0])
    return figure


def _calibration(comparison: Comparison) -> Figure | None:
    if not comparison.champion.calibration:
        return None
    figure = Figure(figsize=(WIDTH, 4.4))
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    top = 0.0
    for ax, (side, look, name) in zip(axes, _sides(comparison), strict=True):
        x = [one.mean_score for one in side.calibration]
        y, error = error_bars([one.observed for one in side.calibration])
        ax.axline((0, 0), slope=1, color=NEGATIVE, linewidth=1, linestyle=":")
        ax.errorbar(x, y, error, color=look["color"], marker=look["marker"], linestyle="none", markersize=4.5, capsize=2.5, elinewidth=1.2)
        ax.set(title=name, xlabel="mean score")
        percents(ax.xaxis, ax.yaxis)
        top = max(top, *x, *(one.observed.high or one.observed.value or 0 for one in side.calibration))
    low = min(0.0, *(one.mean_score for side, *_ in _sides(comparison) for one in side.calibration))
    axes[0].set(ylabel="observed rate", xlim=(low, 1.05 * top or 1), ylim=(0, min(1.02, 1.05 * top) or 1))
    return figure


def _lift(comparison: Comparison) -> Figure | None:
    if comparison.champion.deciles[0].lift.value is None:
        return None
    figure = Figure(figsize=(WIDTH, 4.1))
    lift, gain = figure.subplots(1, 2)
    tenths = np.arange(1, 11)
    for i, (side, look, name) in enumerate(_sides(comparison)):
        y, error = error_bars([one.lift for one in side.deciles])
        bars = {"error_kw": {"ecolor": INK, "elinewidth": 1}, "capsize": 2, "color": look["color"], "alpha": 0.85}
        lift.bar(tenths + (i - 0.5) * 0.4, y, 0.38, yerr=error, label=name, **bars)
        reached = [0.0, *(one.gain.value or 0 for one in side.deciles)]
        line = {"color": look["color"], "linestyle": look["linestyle"], "marker": look["marker"], "markersize": 3.5}
        gain.plot(np.arange(11) / 10, reached, label=name, clip_on=False, zorder=3, **line)
    lift.axhline(1, color=NEGATIVE, linewidth=1, linestyle=":")
    gain.plot([0, 1], [0, 1], color=NEGATIVE, linewidth=1, linestyle=":", label="by chance")
    lift.set(title="Lift", xlabel="tenth of the actions, highest scores first", ylabel="times the conversion of all", ylim=(0, None))
    lift.set_xticks(tenths)
    lift.grid(visible=False, axis="x")
    gain.set(title="Cumulative gains", xlabel="highest-scored actions", ylabel="of all positives", xlim=(0, 1), ylim=(0, 1))
    percents(gain.xaxis, gain.yaxis)
    legend(figure, gain.get_legend_handles_labels()[0])
    return figure


def _scores(comparison: Comparison) -> Figure | None:
    if not comparison.counts.compared:
        return None
    figure = Figure(figsize=(WIDTH, 3.9))
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for ax, (side, _, name) in zip(axes, _sides(comparison), strict=True):
        edges = np.array(side.histogram.edges)
        for counts, color, label, style in (
            (side.histogram.negative, NEGATIVE, "without the outcome", "-"),
            (side.histogram.positive, POSITIVE, "with the outcome", "--"),
        ):
            share = np.array(counts) / max(1, sum(counts))
            ax.stairs(share, edges, color=color, fill=True, alpha=0.25)
            ax.stairs(share, edges, color=color, linewidth=1.4, linestyle=style, label=label)
        ax.set(title=name, xlabel="score", xlim=(edges[0], edges[-1]))
        percents(ax.yaxis)
    axes[0].set(ylabel="share of the actions with that answer", ylim=(0, None))
    legend(figure, axes[0].get_legend_handles_labels()[0])
    return figure


def _decisions(comparison: Comparison) -> Figure | None:
    if not comparison.counts.compared:
        return None
    figure = Figure(figsize=(WIDTH, 2.9))
    rows, conversion = figure.subplots(1, 2, sharey=True)
    cells = comparison.cells[::-1]
    names = {(True, True): "both act", (True, False): "only the champion", (False, True): "only the candidate", (False, False): "neither"}
    colors = {(True, True): POSITIVE, (True, False): CHAMPION, (False, True): CANDIDATE, (False, False): NEGATIVE}
    kinds = [(cell.champion_yes, cell.candidate_yes) for cell in cells]
    place = np.arange(4)
    bars = rows.barh(place, [max(cell.rows, 0.5) for cell in cells], 0.6, color=[colors[kind] for kind in kinds], alpha=0.85)
    rows.bar_label(bars, [f"{cell.rows:,}" for cell in cells], padding=4)
    rows.set_yticks(place, [names[kind] for kind in kinds])
    rows.set(title="Decisions", xlabel="actions (logarithmic)", xscale="log", xlim=(0.5, 8 * max(cell.rows for cell in cells)))
    rows.invert_yaxis()
    for ax in (rows, conversion):
        ax.grid(visible=False, axis="y")
    rows.xaxis.set_major_formatter(thousands())
    rows.minorticks_off()
    for y, kind, cell in zip(place, kinds, cells, strict=True):
        dot(conversion, cell.conversion, y, colors[kind], "o")
    conversion.axvline(comparison.counts.conversion.value or 0, color=NEGATIVE, linewidth=1, linestyle=":")
    conversion.set(title="What happened next", xlabel="conversion (dotted: of all actions)", xlim=(0, None))
    percents(conversion.xaxis)
    return figure


def _days(comparison: Comparison) -> Figure | None:
    if len(comparison.days) < 2:
        return None
    days = comparison.days
    when = np.array([date.fromisoformat(day.value or "1970-01-01") for day in days])
    figure = Figure(figsize=(WIDTH, 7.6))
    actions, precision, auc, rate = figure.subplots(4, 1, sharex=True, height_ratios=[1, 2, 2, 2])
    actions.bar(when, [day.rows for day in days], color=NEGATIVE, alpha=0.6)
    actions.set(title="Actions", ylabel="a day")
    actions.yaxis.set_major_formatter(thousands())
    actions.yaxis.set_major_locator(MaxNLocator(3))
    for ax, metric in ((precision, "average_precision"), (auc, "auc")):
        for i, (_, look, name) in enumerate(_sides(comparison)):
            band(ax, when, [getattr((day.champion, day.candidate)[i], metric) for day in days], look, name)
    band(rate, when, [day.conversion for day in days], {"color": POSITIVE, "linestyle": "-", "marker": "D"}, "observed conversion")
    for i, (_, look, name) in enumerate(_sides(comparison)):
        means = [(day.champion, day.candidate)[i].mean_score for day in days]
        rate.plot(when, means, color=look["color"], linestyle=look["linestyle"], label=name)
    precision.set(title="Average precision", ylim=(0, 1))
    auc.set(title="AUC", ylim=(None, 1.02))
    auc.axhline(0.5, color=NEGATIVE, linewidth=1, linestyle=":")
    rate.set(title="Conversion observed, and the models' mean scores", ylim=(0, None), xlabel="day of the action, UTC")
    percents(rate.yaxis)
    for ax in (precision, auc, rate):
        ax.margins(x=0.01)
    locator: Any = AutoDateLocator(tz=UTC, maxticks=8)  # type: ignore[no-untyped-call]
    rate.xaxis.set_major_locator(locator)
    rate.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    legend(figure, rate.get_legend_handles_labels()[0])
    return figure


def _segments(comparison: Comparison) -> Figure | None:
    shown = [(name, group) for name, groups in comparison.segments.items() for group in groups[:MOST_VALUES]]
    if not shown:
        return None
    figure = Figure(figsize=(WIDTH, 1.6 + 0.27 * (len(shown) + 0.5 * len(comparison.segments))))
    precision, difference, rate = figure.subplots(1, 3, sharey=True, width_ratios=[1.1, 1, 1])
    places, names, y = [], [], 0.0
    previous = shown[0][0]
    for name, group in shown:
        if name != previous:
            y, previous = y + 0.5, name
            for ax in (precision, difference, rate):
                ax.axhline(y - 0.75, color=FAINT, linewidth=0.8)
        places.append(y)
        names.append(f"{name}: {short(group.value)}  ({group.rows:,})")
        _segment(precision, difference, rate, group, y)
        y += 1
    precision.set_yticks(places, names)
    precision.set_ylim(y - 0.3, -0.7)
    difference.axvline(0, color=NEGATIVE, linewidth=1, linestyle=":")
    precision.set(title="Average precision", xlabel="average precision", xlim=(0, 1))
    difference.set(title="Difference", xlabel="candidate − champion")
    rate.set(title="Conversion", xlabel="conversion and mean scores", xlim=(0, None))
    percents(rate.xaxis)
    for ax in (precision, difference, rate):
        ax.grid(visible=False, axis="y")
    handles = [
        precision.plot([], [], color=look["color"], marker=look["marker"], markersize=5, linestyle="-", label=name)[0]
        for _, look, name in _sides(comparison)
    ]
    handles += [precision.plot([], [], color=color, marker="D", markersize=5, linestyle="-", label=label)[0] for color, label in _OTHERS]
    legend(figure, handles)
    return figure


_OTHERS = ((INK, "difference"), (POSITIVE, "conversion"))


def _segment(precision: Any, difference: Any, rate: Any, group: Group, y: float) -> None:  # noqa: ANN401 - matplotlib ships no types
    for side, look, shift in zip((group.champion, group.candidate), LOOKS, (-0.16, 0.16), strict=True):
        dot(precision, side.average_precision, y + shift, look["color"], look["marker"])
        rate.plot(side.mean_score, y + shift, color=look["color"], marker=look["marker"], markersize=4)
    if not group.enough:
        precision.text(0.02, y, "too few of one answer", va="center", fontsize=8, alpha=0.7)
    dot(difference, group.difference.average_precision, y, INK, "D")
    dot(rate, group.conversion, y, POSITIVE, "D")


PLOTS = (
    Plot("curves", "ROC, precision and recall", "Higher is better. The dotted line is what a model gets that knows nothing.", _curves),
    Plot(
        "calibration",
        "Calibration",
        "Ten groups of equal size by score. On the dotted line, a score of 30 % means that it comes true three times in ten.",
        _calibration,
    ),
    Plot("lift", "Lift and gains", "What acting on the highest scores alone would reach.", _lift),
    Plot("scores", "Scores by what happened next", "The less the two overlap, the better the model tells them apart.", _scores),
    Plot("decisions", "Changed decisions", "Each model at its own threshold.", _decisions),
    Plot("days", "By day", "Bands are 95 % intervals. Days with too few of one answer have no AUC and no average precision.", _days),
    Plot(
        "segments",
        "By segment",
        f"Bars are 95 % intervals; the number of actions stands in brackets. At most the {MOST_VALUES} commonest values of each are drawn.",
        _segments,
    ),
)
