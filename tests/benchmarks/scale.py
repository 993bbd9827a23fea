"""From what a bench measured on one machine: what a million actions a second take, and what breaks before.

    .streamhouse/env/bin/python -m tests.benchmarks.scale [BENCH.json ...] [--rate R] [--write docs/scale.md]

It reads the drains and costs of a bench (`./streamhouse bench`, or `--only drain,costs`), by default of .streamhouse/bench/bench.json.
Each number of the page comes from one of those and from `Assumed`, by arithmetic that stands beside it. `--write` puts the tables
between the page's marks and leaves its words alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated

import orjson
import typer

from infra.config import load_settings
from infra.errors import StreamhouseError
from infra.whole_files import write_whole
from tests.benchmarks import sizing as sized
from tests.benchmarks.action_costs import Measured, measured
from tests.benchmarks.sizing import Assumed, bytes_text, limits, sizing


def tables(m: Measured, a: Assumed) -> dict[str, str]:
    """The page's tables by the name of their mark, in Markdown."""
    used = [
        *((f"CPU of {group}, scoring", f"{us:.1f} µs an action") for group, us in m.scored_us.items()),
        *((f"CPU of {group}, archiving", f"{us:.1f} µs an action") for group, us in m.archived_us.items()),
        *((f"CPU of the {service}", f"{us:.1f} µs an action") for service, us in m.looks_us.items()),
        *((f"topic {topic}", f"{size:.0f} bytes an action") for topic, size in m.topic_bytes.items()),
        *((f"table of {topic}", f"{size:.0f} bytes an action") for topic, size in m.table_bytes.items()),
        ("a user in Redis", f"{m.user_bytes:,.0f} bytes, {m.user_file_bytes:,.0f} in its file"),
        ("metadata of a commit to one table", bytes_text(m.commit_bytes)),
        ("a Python worker under load", bytes_text(m.worker_bytes)),
    ]
    said = {
        "measured": [m.said + ".", "", "| what | measured |", "|---|---|", *(f"| {what} | {number} |" for what, number in used)],
        "assumed": ["| assumed | value |", "|---|---|", *(f"| {doc} | {_value(value)} |" for doc, value in _assumptions(a))],
        "limits": [
            "| what | breaks at actions/s | arithmetic | what moves it |",
            "|---|---|---|---|",
            *(f"| {one.what} | {'–' if one.rate is None else f'{one.rate:,.0f}'} | {one.at} | {one.moved_by} |" for one in limits(m, a)),
        ],
    }
    for part, lines in sizing(m, a).items():
        said[part.lower()] = [
            f"| {part} | | arithmetic |",
            "|---|---|---|",
            *(f"| {line.what} | {line.number} | {line.how} |" for line in lines),
        ]
    return {name: "\n".join(lines) for name, lines in said.items()}


def _assumptions(a: Assumed) -> Iterable[tuple[str, float]]:
    source = Path(sized.__file__).read_text("utf-8")
    for name in (field.name for field in fields(a)):
        told = re.search(rf'^    {name}: float = .*\n    """(.+)"""$', source, re.MULTILINE)
        assert told is not None
        yield told[1], asdict(a)[name]


def _value(value: float) -> str:
    return f"{value:g}" if value < 1000 else f"{value:,.0f}"


def filled(page: str, made: Mapping[str, str]) -> str:
    """The page with each table between its marks.

    Raises:
        StreamhouseError: a mark is missing, or names no table.

    """
    marks = re.findall(r"^<!-- made: (\w+) -->$", page, re.MULTILINE)
    if sorted(marks) != sorted(made):
        message = f"expected the marks {', '.join(sorted(made))}, got {', '.join(sorted(marks))}"
        raise StreamhouseError(message)
    for name, text in made.items():
        pattern = rf"(^<!-- made: {name} -->\n).*?(^<!-- end -->$)"
        page = re.sub(pattern, lambda found, text=text: f"{found[1]}\n{text}\n\n{found[2]}", page, flags=re.MULTILINE | re.DOTALL)  # type: ignore[misc]
    return page


def main(
    files: Annotated[list[Path] | None, typer.Argument(help="what benches wrote [default: .streamhouse/bench/bench.json]")] = None,
    rate: Annotated[float, typer.Option(help="actions a second", min=1)] = Assumed.rate,
    users: Annotated[float, typer.Option(help="users whose features are kept", min=1)] = Assumed.users,
    write: Annotated[Path | None, typer.Option(help="the page whose tables are made anew")] = None,
) -> None:
    """Print the tables, or put them into the page."""
    try:
        chosen = files or [load_settings().installed / "bench" / "bench.json"]
        told = [orjson.loads(file.read_bytes()) for file in chosen]
        legs = [leg for one in told for leg in one["legs"]]
        said = "; ".join(
            f"`{one['command']}` on {one['machine']['cores']} cores, commit {one['machine'].get('commit', 'unknown')}" for one in told
        )
        made = tables(measured(legs, said), Assumed(rate=rate, users=users))
        if write is not None:
            write_whole(write, filled(write.read_text("utf-8"), made))
    except FileNotFoundError as error:
        print(
            f"error: {error.filename}: no such file; run `./streamhouse bench`, or name what `bench --only drain,costs` wrote",
            file=sys.stderr,
        )
        raise typer.Exit(1) from error
    except (KeyError, TypeError) as error:
        print(
            f"error: expected what a bench writes, got something else ({error}); run `./streamhouse bench --only drain,costs` anew",
            file=sys.stderr,
        )
        raise typer.Exit(1) from error
    except (StreamhouseError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    if write is None:
        print("\n\n".join(made.values()))


if __name__ == "__main__":
    typer.run(main)
