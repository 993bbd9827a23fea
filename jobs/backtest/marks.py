"""What the plots of a comparison are drawn with: colours, and values with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from models.compared import Estimate

CHAMPION, CANDIDATE, POSITIVE, NEGATIVE = "#3a86c8", "#d9701a", "#b5489a", "#7b8794"
"""Told apart by people who see no red or no green, and seen on white and on black; marks and line styles tell them apart too."""

INK, FAINT = "#010203", "#040506"  # stand for the page's text colour, whole and faint
LOOKS: tuple[dict[str, Any], dict[str, Any]] = (
    {"color": CHAMPION, "linestyle": "--", "marker": "o"},
    {"color": CANDIDATE, "linestyle": "-", "marker": "s"},
)


def dot(ax: Any, told: Estimate, y: float, color: str, marker: str) -> None:  # noqa: ANN401 - matplotlib ships no types
    """A value with its interval, in a row of its own; nothing where there is no value."""
    if told.value is None:
        return
    if told.low is not None and told.high is not None:
        ax.plot([told.low, told.high], [y, y], color=color, linewidth=1.5, solid_capstyle="butt")
    ax.plot(told.value, y, color=color, marker=marker, markersize=4.5)


def band(ax: Any, x: np.ndarray, told: Sequence[Estimate], look: dict[str, Any], name: str) -> None:  # type: ignore[type-arg]  # noqa: ANN401
    """A line over days with its intervals as a band."""
    value, low, high = (
        np.array([np.nan if v is None else v for v in (getattr(one, part) for one in told)]) for part in ("value", "low", "high")
    )
    ax.fill_between(x, low, high, color=look["color"], alpha=0.16, linewidth=0)
    # a day between two that tell nothing has neither line nor band: its mark and a bar show it
    known = np.concatenate(([False], np.isfinite(value), [False]))
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    ax.vlines(x[alone], low[alone], high[alone], color=look["color"], alpha=0.5, linewidth=1.2)
    ax.plot(x, value, color=look["color"], linestyle=look["linestyle"], marker=look["marker"], markersize=2.5, label=name)


def error_bars(told: Sequence[Estimate]) -> tuple[list[float], np.ndarray]:  # type: ignore[type-arg]
    """Values (n,) and how far their intervals reach below and above, (2, n)."""
    value = [one.value or 0.0 for one in told]
    low = [v - (v if one.low is None else one.low) for v, one in zip(value, told, strict=True)]
    high = [(v if one.high is None else one.high) - v for v, one in zip(value, told, strict=True)]
    return value, np.maximum(0, np.array([low, high]))


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """Below all, where it covers no data, in as many columns as the names leave room for."""
    longest = max(len(handle.get_label()) for handle in handles)
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, min(len(handles), 118 // (longest + 8))))


def percents(*axes: Any) -> None:  # noqa: ANN401 - matplotlib ships no types
    """Write shares as percent, with no more digits than they need."""
    for axis in axes:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))


def thousands() -> FuncFormatter:
    """Whole numbers with separators."""
    return FuncFormatter(lambda value, _: f"{value:,.0f}")


def short(value: str | None, most: int = 18) -> str:
    """A text from the data as a label: one line, letters that can be shown, no more than `most` of them."""
    if value is None:
        return "not known"
    plain = "".join(letter if letter.isprintable() else "\ufffd" for letter in value)
    # a name's end tells as much as its beginning, such as a model's version
    return plain if len(plain) <= most else plain[: most - most // 3 - 1] + "…" + plain[-(most // 3) :]
