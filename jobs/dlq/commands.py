"""`./streamhouse dlq`: what lies among the dead letters, and its cure. What a command needs is imported inside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from jobs.asking import asking

if TYPE_CHECKING:
    from jobs.dlq.chains import Chains
    from jobs.dlq.letters import Place
    from jobs.dlq.replay import Outcome, Rehearsal
    from jobs.dlq.source import Source

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Dead letters: what was refused and why, and how to send it again. Example: ./streamhouse dlq list",
)
_Json = Annotated[bool, typer.Option("--json", help="for programs")]
_Topic = Annotated[str, typer.Option(help="whose dead letters: user-actions, or a command topic such as order-commands")]


@app.command("list")
def list_letters(topic: _Topic | None = None, as_json: _Json = False) -> None:
    """Group open letters by step, reason and version, and count the rest. Example: ./streamhouse dlq list --topic order-commands

    Without --topic: those of user-actions, and which other topics hold some.
    """
    from jobs.dlq import report
    from jobs.dlq.read import elsewhere, survey, with_answers

    settings = load_settings()
    source = _source(settings, topic)
    with _reading("reading dead letters"):
        chains = with_answers(settings, source, survey(settings, source))
        others = elsewhere(settings) if topic is None else {}
    if as_json:
        typer.echo(json.dumps(report.listing(chains) | {"topic": source.name, "other_topics": others}))
    else:
        report.show_listing(chains, source.option)
        report.show_others(others)


@app.command()
def show(
    place: Annotated[str, typer.Argument(help="PARTITION:OFFSET of the refused record in its topic, or the letter's event id")],
    topic: _Topic = "user-actions",
    as_json: _Json = False,
) -> None:
    """Print all that is known of one: error, record, replays and their answers. Example: ./streamhouse dlq show 1:7

    With --topic order-commands: an event to which the service could not react is named as payments/1:7.
    """
    from jobs.dlq import report
    from jobs.dlq.read import original_at, survey, with_answers

    source = _source(settings := load_settings(), topic)
    (wanted,) = _places([place], source)
    with _reading("reading dead letters"):
        chains = with_answers(settings, source, survey(settings, source))
        history = report.history(chains, wanted, source.name)
        if not history:
            raise _unknown(wanted, source)
        original = original_at(settings, source, chains, wanted)
    if as_json:
        typer.echo(json.dumps(report.one(chains, wanted, original, source.name)))
    else:
        report.show_one(chains, wanted, original, source.name)


@app.command()
def replay(
    places: Annotated[list[str] | None, typer.Argument(metavar="PLACE", help="as `dlq show` takes them")] = None,
    topic: _Topic = "user-actions",
    step: Annotated[str | None, typer.Option(help="only what this step refused")] = None,
    reason: Annotated[str | None, typer.Option(help="only what was refused for this reason")] = None,
    version: Annotated[str | None, typer.Option(help="only events of this schema version; - for those without one")] = None,
    everything: Annotated[bool, typer.Option("--all", help="every open letter")] = False,
    edit: Annotated[str | None, typer.Option(metavar="FUNCTION", help="a Python function of the event, or FILE.py:NAME")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="at most so many, the oldest first")] = None,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="quarantined ones too, however often they were sent")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="send nothing; say what would be accepted now")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Send dead letters through the same path again, each at most once. Example: ./streamhouse dlq replay --reason missing_field --dry-run

    With --edit 'lambda event: {**event, "version": 1}' each event is repaired on the way; of a value that a registry client framed the
    function gets the JSON, and what it changes is sent as plain JSON. With --topic order-commands commands go to their topic again, and
    events to the service alone that could not react to them, as they are.
    """
    from infra.clock import system_clock
    from jobs.dlq.chains import Wanted, choose, is_spent
    from jobs.dlq.edit import load_edit
    from jobs.dlq.read import survey, with_answers
    from jobs.dlq.replay import rehearse
    from jobs.dlq.replay import replay as send

    source = _source(settings := load_settings(), topic)
    named = _places(places or [], source)
    if not (named or step or reason or version or everything):
        message = "expected PLACEs, --step, --reason, --version or --all to say which dead letters; `./streamhouse dlq list` shows them"
        raise StreamhouseError(message)
    wanted = Wanted(frozenset(named), step, reason, version, limit, quarantined)
    function = None if edit is None else load_edit(edit)
    with _reading("reading dead letters"):
        chains = survey(settings, source)
    for place in named:
        if place not in chains.letters:
            raise _unknown(place, source)
    chosen = choose(chains, wanted)
    if not chosen:
        typer.echo(_nothing(with_answers(settings, source, chains) if named else chains, named, wanted.quarantined))
        return
    spent = sum(is_spent(chains, letter.place, settings.dlq.max_retries, wanted) for letter in chosen)
    if dry_run:
        with _bar("looking", len(chosen)) as advance:
            rehearsal = rehearse(settings, source, chains, chosen, wanted, function, system_clock, advance)
        typer.echo(_would(settings, rehearsal))
        if source.participants:
            typer.echo("what is decided about a command its service tells, when it has read it")
        return
    if not yes:
        also = f" and quarantine {spent:,}" if spent else ""
        typer.confirm(f"send {len(chosen) - spent:,} dead letters again{also}? (--dry-run says what would become of them)", abort=True)
    with _bar("sending", len(chosen)) as advance:
        outcome = send(settings, source, chosen, wanted, function, system_clock, advance)
    typer.echo(_did(settings, source, outcome))


def _source(settings: Settings, topic: str | None) -> Source:
    from jobs.dlq.source import ACTIONS, source

    return source(settings, topic or ACTIONS)


def _places(texts: list[str], source: Source) -> list[Place]:
    from jobs.dlq.letters import read_place

    places = []
    for text in texts:
        place = read_place(text, source.name, source.beside)
        if place is None:
            message = f"{text!r}: expected PARTITION:OFFSET of a record of {source.name} such as 1:7, or its dead letter's event id"
            if source.beside:
                message += f"; that of an event of another topic as {next(iter(source.beside))}/1:7"
            raise StreamhouseError(message)
        places.append(place)
    return places


def _unknown(place: Place, source: Source) -> StreamhouseError:
    from jobs.dlq.letters import as_text, topic_of

    where = f"source_partition = {place[0]} AND source_offset = {place[1]}"
    if source.participants:
        where = f"source_topic = '{topic_of(place, source.name)}' AND {where}"
    return StreamhouseError(
        f"no dead letter names {as_text(place)}: the record was not refused, or its letter is older than the topic keeps; look for it by"
        f' ./streamhouse query "SELECT * FROM {source.letters.archive} WHERE {where}"'
    )


def _nothing(chains: Chains, named: list[Place], quarantined: bool) -> str:
    from jobs.dlq.chains import State
    from jobs.dlq.letters import as_text

    told = []
    for place in named:
        note, state = chains.replayed.get(place), chains.state(place)
        told.append(f"{as_text(place)}: {state}" + (f", as {as_text(note.replay)}" if note is not None and note.replay is not None else ""))
    held = sum(chains.state(place) == State.QUARANTINED for place in chains.letters)
    told += [f"{held:,} are quarantined; --quarantined sends them too"] if held and not quarantined else []
    return "\n".join(["nothing to send: no open dead letter is meant", *told])


def _would(settings: Settings, rehearsal: Rehearsal) -> str:
    told = [f"{rehearsal.accepted:,} would be accepted now, {rehearsal.refused.total():,} refused again; nothing was sent"]
    told += [f"  {count:,} by {why}" for why, count in rehearsal.refused.most_common()]
    told += [f"{rehearsal.quarantined:,} would be quarantined: {_times(settings)}"] if rehearsal.quarantined else []
    return "\n".join(told + _left_out(rehearsal.left_out))


def _did(settings: Settings, source: Source, outcome: Outcome) -> str:
    told = [f"{outcome.sent:,} sent again; `./streamhouse dlq list{source.option}` says what became of them"]
    told += [f"{outcome.quarantined:,} quarantined: {_times(settings)}"] if outcome.quarantined else []
    told += [f"{outcome.rivals:,} had been sent or quarantined by another `dlq replay` meanwhile"] if outcome.rivals else []
    return "\n".join(told + _left_out(outcome.left_out))


def _times(settings: Settings) -> str:
    return f"sent again {settings.dlq.max_retries} times already (dlq.max_retries); --quarantined sends them all the same"


def _left_out(left_out: dict[str, tuple[int, str]]) -> list[str]:
    return [f"{count:,} left out: {why} ({place}{' and others' if count > 1 else ''})" for why, (count, place) in left_out.items()]


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """A sign of life on a terminal, and a sentence where the broker fails."""
    from rich.console import Console

    with Console(stderr=True).status(what), asking(what):
        yield


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    from confluent_kafka import KafkaException
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(what, total=total)
            yield lambda letters: progress.advance(task, letters)
    except KafkaException as error:
        message = f"{what}: expected the broker to go on, got {error.args[0].str()}; run the command again, it sends only what is missing"
        raise StreamhouseError(message) from error
