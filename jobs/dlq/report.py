"""What the dead letters are and what became of them, for people and for programs."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from infra.contracts.codec import rfc3339
from jobs.dead_letter import answer_id
from jobs.dlq.chains import Chains, State, groups, story
from jobs.dlq.edit import as_event
from jobs.dlq.letters import Original, Place, as_text, topic_of
from jobs.dlq.source import ACTIONS

_SHOWN = 4096  # characters of a record, and bytes of one that is no text
_LINE = 32  # bytes


def listing(chains: Chains) -> dict[str, Any]:
    """Numbers of letters by what became of them, and the open ones in groups."""
    states = Counter(chains.state(place) for place in chains.letters)
    return {
        "open": states[State.OPEN],
        "sent_again": sum(states[state] for state in (State.ACCEPTED, State.REFUSED, State.UNANSWERED)),
        "accepted": states[State.ACCEPTED],
        "refused_again": states[State.REFUSED],
        "unanswered": states[State.UNANSWERED],
        "quarantined": states[State.QUARANTINED],
        "unreadable": chains.unreadable,
        "groups": [
            {
                "step": group.step,
                "reason": group.reason,
                "version": group.version,
                "count": group.count,
                "first": rfc3339(group.first_ms),
                "last": rfc3339(group.last_ms),
                "example": as_text(group.example),
            }
            for group in groups(chains)
        ],
    }


def show_listing(chains: Chains, option: str = "") -> None:
    """For people; 80 columns must do. `option`: what the commands take that mean these letters."""
    console, numbers = Console(), listing(chains)
    if numbers["groups"]:
        days = (Column(name, min_width=10) for name in ("first", "last"))
        table = Table(
            "step",
            Column("reason", no_wrap=True),
            "ver.",
            "open",
            *days,
            Column("example", no_wrap=True),
            box=SIMPLE_HEAD,
            show_edge=False,
            padding=(0, 1, 0, 0),
        )
        for group in groups(chains):
            names = (Text(_printable(name)) for name in (group.step, group.reason, group.version))
            table.add_row(*names, f"{group.count:,}", _day(group.first_ms), _day(group.last_ms), as_text(group.example))
        console.print(table)
    sent = f"{numbers['sent_again']:,} sent again ({numbers['accepted']:,} accepted, {numbers['refused_again']:,} refused again,"
    sent += f" {numbers['unanswered']:,} not answered yet)"
    _say(console, f"{numbers['open']:,} open; {sent}; {numbers['quarantined']:,} quarantined")
    if numbers["unreadable"]:
        _say(console, f"{numbers['unreadable']:,} records of the topics are no dead letter and no note; they are left alone")
    if numbers["groups"]:
        shows = f"./streamhouse dlq show {numbers['groups'][0]['example']}{option} shows one"
        _say(console, f"{shows}, ./streamhouse dlq replay{option} --all sends them again")


def show_others(others: Mapping[str, Mapping[str, int]]) -> None:
    """In a line, for people: which other topics hold letters, as `read.elsewhere` counts them."""
    if others:
        told = ", ".join(f"{topic} {count['letters']:,} ({count['open']:,} open)" for topic, count in others.items())
        _say(Console(), f"letters of other topics: {told}; ./streamhouse dlq list --topic {next(iter(others))}")


def history(chains: Chains, place: Place, topic: str = ACTIONS) -> list[dict[str, Any]]:
    """Each record of the chain in which `place` stands, the original first: its error, and what was decided; empty: none knows it."""
    links = []
    for link in story(chains, place):
        letter, sent, held = chains.letters.get(link), chains.replayed.get(link), chains.quarantined.get(link)
        found: dict[str, Any] = {"place": as_text(link), "retry_count": chains.retries(link)}
        if letter is not None:
            found["refused"] = {
                "step": letter.step,
                "reason": letter.reason,
                "message": letter.message,
                "version": letter.version,
                "failed_at": rfc3339(letter.failed_ms),
                "event_id": answer_id(topic_of(link, topic), link[0], link[1]),
            }
            if letter.failed_in:
                found["refused"]["failed_in"] = letter.failed_in
        elif link in chains.accepted:
            found["accepted"] = {"prediction": answer_id(topic, link[0], link[1])} if topic == ACTIONS else {}
        if sent is not None and sent.replay is not None:
            found["sent_again"] = {"as": as_text(sent.replay), "at": rfc3339(sent.kafka_ms), "edited": sent.edited}
        if held is not None:
            found["quarantined"] = {"at": rfc3339(held.kafka_ms)}
        links.append(found)
    return links


def one(chains: Chains, place: Place, original: Original | None, topic: str = ACTIONS) -> dict[str, Any]:
    """All that is known of one record, its bytes whole: as `json`, `text` or `base64`, null where nothing holds them any more."""
    state = str(chains.state(place)) if place in chains.letters else None
    record = None if original is None else {"key": _readable(original.key), "value": _readable(original.value)}
    return {"place": as_text(place), "state": state, "record": record, "history": history(chains, place, topic)}


def show_one(chains: Chains, place: Place, original: Original | None, topic: str = ACTIONS) -> None:
    """For people: the history of its chain and the beginning of the record."""
    console = Console()
    for link in history(chains, place, topic):
        count = link["retry_count"]
        mark = "*" if link["place"] == as_text(place) else " "
        _say(console, f"{mark} {link['place']}  " + (f"replay {count}" if count else "the original"))
        if why := link.get("refused"):
            of = f" of {why['failed_in']}" if "failed_in" in why else ""
            _say(console, f"    {why['failed_at']}  refused by {why['step']}{of}, {why['reason']}: {why['message']}")
            _say(console, f"    event id {why['event_id']}, schema version {why['version']}")
        elif (found := link.get("accepted")) is not None:
            _say(console, f"    accepted: prediction {found['prediction']}" if found else "    accepted: its service has handled it")
        elif "sent_again" not in link:
            _say(console, "    not answered yet")
        if sent := link.get("sent_again"):
            _say(console, f"    {sent['at']}  sent again as {sent['as']}{', edited' if sent['edited'] else ''}")
        if held := link.get("quarantined"):
            _say(console, f"    {held['at']}  quarantined")
    if original is None:
        _say(console, f"the record {as_text(place)}: neither the topic nor its archive table holds it any more")
        return
    _say(console, f"key of {as_text(place)}:\n{_beginning(original.key)}")
    _say(console, f"value of {as_text(place)}:\n{_beginning(original.value)}")


def _readable(content: bytes | None) -> dict[str, Any] | None:
    if content is None:
        return None
    event = as_event(content)
    if isinstance(event, dict):
        return {"json": event}
    try:
        return {"text": content.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def _beginning(content: bytes | None) -> str:
    """Text as it is, anything else in hexadecimal; what would drive the terminal is written as an escape."""
    if content is None:
        return "null"
    try:
        text = content.decode("utf-8")
        shown, rest = _printable(text[:_SHOWN]), len(text) - _SHOWN
        unit = "characters"
    except UnicodeDecodeError:
        head = content[:_SHOWN]
        shown = "\n".join(head[i : i + _LINE].hex(" ", 4) for i in range(0, len(head), _LINE))
        rest, unit = len(content) - _SHOWN, "bytes"
    return shown + (f"\n... and {rest:,} {unit} more; --json prints all" if rest > 0 else "")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _say(console: Console, text: str) -> None:
    console.print(_printable(text), markup=False, highlight=False, soft_wrap=True)


def _day(milliseconds: int) -> str:
    return rfc3339(milliseconds)[:16].replace("T", " ")
