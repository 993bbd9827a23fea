"""What running it costs -> the page's tables of costs. No target is set for them, so each figure stands as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from statistics import median

from tests.benchmarks.bench.costs import AT_REST, DISK, FIRST_PREDICTION, LOADED, MEMORY, START_AGAIN, START_NEW, WAITING
from tests.benchmarks.bench.legs import Leg

_MIB = 2**20
_SMALL = 0.01  # of a million actions' bytes: less is told with the rest


def section(legs: Iterable[Leg], counted: Sequence[Leg]) -> str:
    """The part of the page; empty where nothing of it was measured.

    A disturbed machine lengthens a start and changes no memory or disk, so seconds alone say that they were disturbed.
    """
    found: dict[str, list[Leg]] = {}
    for leg in legs:
        if leg.part.startswith("costs: "):
            found.setdefault(leg.part, []).append(leg)
    if not found:
        return ""
    calm = {id(leg) for leg in counted}
    parts = [_seconds(found, calm), _memory(found), _disk(found)]
    return "\n".join(["<h2>What it costs</h2>", *(part for part in parts if part)])


def _seconds(found: Mapping[str, list[Leg]], calm: set[int]) -> str:
    said = {
        START_NEW: "<code>up</code> in an empty folder, jars and environment there",
        START_AGAIN: "<code>up</code> after <code>down</code>",
        FIRST_PREDICTION: "<code>submit score_events</code> until its first committed prediction",
    }
    rows = []
    for part, what in said.items():
        legs = found.get(part, [])
        if not legs:
            continue
        seconds = [leg.figures["seconds"] for leg in legs]
        cpu = [sum(leg.figures["cpu_seconds"].values()) for leg in legs]
        slowest = max(legs, key=lambda leg: leg.figures["seconds"]).figures.get("services", {})
        last = ", ".join(f"{escape(name)} {after:.0f}" for name, after in sorted(slowest.items(), key=lambda one: -one[1])[:4])
        disturbed = sum(id(leg) not in calm for leg in legs)
        note = f"; {disturbed} of {len(legs)} disturbed" if disturbed else ""
        rows.append(
            f'<tr><td class="text">{what}<br><small>{last}{note}</small></td><td>{len(legs)}</td>'
            f"<td>{median(seconds):.1f}<br><small>{min(seconds):.1f} to {max(seconds):.1f}</small></td><td>{median(cpu):.1f}</td></tr>"
        )
    if not rows:
        return ""
    head = '<tr><th class="text">start</th><th>runs</th><th>seconds</th><th>CPU seconds</th></tr>'
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'


def _memory(found: Mapping[str, list[Leg]]) -> str:
    columns = [(part, found[part][-1].figures["pss_mib"]) for part in MEMORY if part in found]
    if not columns:
        return ""
    titles = {AT_REST: "at rest", WAITING: "job waits", LOADED: "most under load"}
    names = sorted({name for _, figures in columns for name in figures}, key=lambda name: -max(f.get(name, 0.0) for _, f in columns))
    rows = [
        f'<tr><td class="text">{escape(name)}</td>' + "".join(f"<td>{figures.get(name, 0.0):,.0f}</td>" for _, figures in columns) + "</tr>"
        for name in names
    ]
    totals = [found[part][-1].figures.get("together_mib", sum(figures.values())) for part, figures in columns]
    rows.append('<tr><td class="text">all, at one time</td>' + "".join(f"<td>{total:,.0f}</td>" for total in totals) + "</tr>")
    head = '<tr><th class="text">MiB, shared pages once (PSS)</th>' + "".join(f"<th>{titles[part]}</th>" for part, _ in columns) + "</tr>"
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'


def per_million(size: float, actions: int) -> float:
    """Bytes of so many actions -> MiB of a million."""
    return size / max(1, actions) * 1e6 / _MIB


def _disk(found: Mapping[str, list[Leg]]) -> str:
    if DISK not in found:
        return ""
    figures = found[DISK][-1].figures
    actions = figures["actions"]
    lines: list[tuple[str, float]] = [(f"topic {name}", size) for name, size in figures["kafka_bytes"].items()]
    for topic, table in figures["tables"].items():
        lines += [
            (f"table of {topic}, {table['files']:,} data files", table["data_bytes"]),
            (
                f"table of {topic}, files merged away, until their snapshots expire",
                table["data_folder_bytes"] - table["data_bytes"],
            ),
            (f"table of {topic}, metadata of {table['commits']:,} commits", table["metadata_bytes"]),
        ]
    lines += [
        ("Redis' file as it was written", figures["aof_bytes"]),
        ("Redis' file once rewritten", figures["aof_rewritten_bytes"]),
        ("Flink's checkpoints", figures["checkpoint_bytes"]),
        ("logs", figures["log_bytes"]),
        ("the catalog", figures["catalog_bytes"]),
    ]
    most = max(size for _, size in lines)
    rest = [size for _, size in lines if size < _SMALL * most]
    shown = [*sorted(((name, size) for name, size in lines if size >= _SMALL * most), key=lambda one: -one[1])]
    if rest:
        shown.append((f"{len(rest)} others together", sum(rest)))
    rows = [
        f'<tr><td class="text">{escape(name)}</td><td>{size / _MIB:,.1f}</td><td>{per_million(size, actions):,.0f}</td></tr>'
        for name, size in shown
    ]
    users = max(1, figures["users"])
    told = (
        f"From {actions:,} actions of {users:,} users; a million is that many times as much, but for metadata, checkpoints, logs and "
        f"catalog, which grow with commits and time. Redis holds {figures['redis_bytes'] / users:,.0f} bytes a "
        f"user in memory and {figures['aof_rewritten_bytes'] / users:,.0f} in its file."
    )
    head = '<tr><th class="text">on disk</th><th>MiB</th><th>MiB a million actions</th></tr>'
    return f'<p class="told">{told}</p><div class="wide"><table>{head}{"".join(rows)}</table></div>'
