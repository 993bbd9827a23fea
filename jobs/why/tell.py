"""An explanation for people and for programs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from infra.contracts.codec import rfc3339
from jobs.why.explanation import Action, Again, Earlier, Explanation
from lakehouse.receipts import Receipt
from lakehouse.whereabouts import Held, Version

_SHOWN = 5  # of the actions that a window holds
_NAMES = 15  # letters before the text of a line


def as_dict(of: Explanation) -> dict[str, Any]:
    """Everything, for JSON; times as RFC 3339."""
    row, said, again = of.activity, of.said, of.again
    model = asdict(of.model) | {"path": str(of.model.path), "equal": of.model.sha256 == of.model.sha256_on_disk}
    return {
        "equal": again.is_equal,
        "prediction": {
            "event_id": said.event_id,
            "topic_partition": said.partition,
            "topic_offset": said.offset,
            "kafka_time": rfc3339(said.kafka_ms),
            "user_id": said.user_id,
            "score": said.score,
            "score_bits": said.bits,
            "decision": said.decision,
            "flags": list(said.flags),
            "held": _held(said.held),
        },
        "action": _action(of.action),
        "model": model,
        "features": [asdict(feature) for feature in of.features],
        "rows": {
            "user_activity": {
                "offset": row.said_offset,
                "time": row.said_time,
                "earlier_actions": row.earlier,
                "previous": _earlier(row.previous),
                "latest": _earlier(row.latest),
                "latest_purchase": _earlier(row.purchase),
                "windows": {
                    name: {"from": rfc3339(window.first_ms), "to": rfc3339(window.end_ms), "actions": window.actions}
                    for name, window in row.windows.items()
                },
                "counted": [_earlier(one) for one in row.counted],
            },
            "user_profile": asdict(of.profile),
        },
        "consumers": _consumers(of),
        "again": {
            "as_served": again.as_served,
            "folded": again.folded,
            "differences": [difference.as_dict() for difference in again.differences],
        },
    }


def _consumers(of: Explanation) -> dict[str, Any]:
    """Lists, null where they are not known; then the reason beside them says why."""
    told: dict[str, Any] = {"declared": list(of.consumers.declared)}
    for name, known in (("groups", of.consumers.groups), ("read_models", of.consumers.read_models)):
        told[name] = None if isinstance(known, str) else [asdict(one) for one in known]
        told[f"{name}_reason"] = known if isinstance(known, str) else None
    return told


def _action(action: Action) -> dict[str, Any]:
    event = action.event
    return {
        "topic_partition": action.place.partition,
        "topic_offset": action.place.offset,
        "kafka_time": rfc3339(action.kafka_ms),
        "bytes": len(action.value),
        "sha256": hashlib.sha256(action.value).hexdigest(),
        "event": _event(action.plain) if event is not None else None,
        "held": _held(action.held),
    }


def _event(plain: bytes) -> Any:  # noqa: ANN401 - parsed JSON
    """What an accepted action says, with what the decoder ignores; a number that nothing holds, such as 1e400, is told as its text."""

    def fraction(text: str) -> float | str:
        number = float(text)
        return number if math.isfinite(number) else text

    def whole(text: str) -> int | str:
        try:
            return int(text)
        except ValueError:  # of more digits than Python reads
            return text

    return json.loads(plain.decode(), parse_float=fraction, parse_int=whole)


def _earlier(one: Earlier | None) -> dict[str, Any] | None:
    if one is None:
        return None
    place = {"topic_partition": one.place.partition, "topic_offset": one.place.offset}
    return {**place, "time": rfc3339(one.time_ms), "action": one.what, "windows": list(one.windows)}


def _held(held: Held | None) -> dict[str, Any] | None:
    if held is None:
        return None
    return {
        "table": held.table,
        "data_file": held.file,
        "data_file_records": held.file_records,
        "read_at": _version(held.read_at),
        "added_by": None if held.added_by is None else _version(held.added_by),
        "receipts": [_receipt(receipt) for receipt in held.receipts],
    }


def _version(version: Version) -> dict[str, Any]:
    return {"snapshot_id": version.snapshot_id, "committed": _time(version.committed_ms), "operation": version.operation}


def _receipt(receipt: Receipt) -> dict[str, Any]:
    names = ("snapshot_id", "sequence_number", "operation", "job_id", "checkpoint_id", "first_offset", "last_offset", "records", "files")
    return {**{name: getattr(receipt, name) for name in names}, "committed": _time(receipt.committed_ms)}


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else rfc3339(milliseconds)


def show(of: Explanation, console: Console) -> None:
    """What a person asks first, first: what was said, of what, and whether it comes out again."""
    said, file = of.said, of.model
    decision = f"{'yes' if said.decision else 'no'}" + ("" if file.threshold is None else f" (from {file.threshold:g} on)")
    flags = f", flagged {', '.join(said.flags)}" if said.flags else ""
    lines = [
        ("prediction", escape(f"{said.event_id} at {said.partition}:{said.offset} of topic predictions")),
        ("score", f"[bold]{said.score:.9g}[/] (bits {said.bits}), decision {decision}{escape(flags)}"),
        *_of_again(of.again),
        *((name, escape(text)) for of_part in _PARTS for name, text in of_part(of)),
    ]
    for name, text in lines:
        console.print(f"{name:<{_NAMES}}{text}", highlight=False, soft_wrap=True)  # a path that is cut into lines is no path any more
    console.print()
    console.print(_features(of), highlight=False)


def _of_action(of: Explanation) -> Iterator[tuple[str, str]]:
    action, event = of.action, of.action.event
    if event is None:
        yield "action", f"{action.place} of topic user-actions, {len(action.value)} bytes, which are refused now"
        return
    data = event.data
    when = rfc3339(round(event.timestamp.timestamp() * 1000))
    yield "action", f"{action.place} of topic user-actions: {data.action} by {data.user_id} at {when}"
    yield "", f"event {event.event_id} from {event.source}, {len(action.value)} bytes, appended {rfc3339(action.kafka_ms)}"


def _of_model(of: Explanation) -> Iterator[tuple[str, str]]:
    file = of.model
    yield "model", f"{file.name}@{file.version}, {file.path}"
    if file.sha256_on_disk is None:
        yield "", f"sha256 {file.sha256} in the prediction; there is no such file now"
    elif file.sha256_on_disk == file.sha256:
        yield "", f"sha256 {file.sha256}, in the prediction and on disk"
    else:
        yield "", f"sha256 {file.sha256} in the prediction, {file.sha256_on_disk} on disk"
    if file.fault:
        yield "", file.fault


def _of_rows(of: Explanation) -> Iterator[tuple[str, str]]:
    row = of.activity
    if row.said_offset is None:
        yield "user_activity", f"the user had no earlier action; {row.earlier} found"
    else:
        place = f"{of.action.place.partition}:{row.said_offset}"
        yield "user_activity", f"known since the user's previous action {place}, clock {row.said_time}; {row.earlier} earlier actions"
    for name, window in row.windows.items():
        inside = [one for one in row.counted if name in one.windows]
        shown = ", ".join(f"{one.place} {one.what}" for one in inside[-_SHOWN:])
        before = f"{len(inside) - _SHOWN} more, " if len(inside) > _SHOWN else ""
        yield "", f"{name:>4} from {rfc3339(window.first_ms)}: {window.actions}{f' ({before}{shown})' if inside else ''}"
    for since, one in (("seconds_since_action", row.latest), ("seconds_since_purchase", row.purchase)):
        if one is not None:
            yield "", f"{since} from {one.place} {one.what} at {rfc3339(one.time_ms)}"
    profile = of.profile
    if profile.known_from is None:
        yield "user_profile", "none that counted"
    elif profile.values is None:
        yield "user_profile", f"known from {profile.known_from}, which table user_profiles does not hold"
    else:
        values = ", ".join(f"{name} {value}" for name, value in profile.values.items())
        yield "user_profile", f"known from {profile.known_from}: {values}"


def _of_tables(of: Explanation) -> Iterator[tuple[str, str]]:
    for what, held in (("action in", of.action.held), ("prediction in", of.said.held)):
        if held is None:
            yield what, "no table yet: it was read from its topic"
            continue
        yield what, f"{held.table}, snapshot {_short(held.read_at)}"
        if held.added_by is not None and held.added_by != held.read_at:
            yield "", f"its file came with snapshot {_short(held.added_by)}"
        yield "", f"file {held.file}, {held.file_records} records"
        for receipt in held.receipts:
            which = f"receipt of snapshot {receipt.snapshot_id}: offsets {receipt.first_offset} to {receipt.last_offset}"
            job = "" if receipt.job_id is None else f", job {receipt.job_id} checkpoint {receipt.checkpoint_id}"
            yield "", f"{which}, {receipt.records} records, committed {_time(receipt.committed_ms) or 'before it expired'}{job}"
        if not held.receipts:
            yield "", "no receipt tells of it; `./streamhouse audit` tells more"


def _short(version: Version) -> str:
    if version.committed_ms is None:
        return f"{version.snapshot_id} (expired)"
    return f"{version.snapshot_id}, {version.operation} of {rfc3339(version.committed_ms)}"


def _of_readers(of: Explanation) -> Iterator[tuple[str, str]]:
    readers = of.consumers
    yield "consumers", f"by contract: {', '.join(readers.declared)}"
    if isinstance(readers.groups, str):
        yield "", f"which groups have read it is not known: {readers.groups}"
    else:
        past = [one.group for one in readers.groups if one.has_read]
        before = [f"{one.group} (reads {'from its beginning' if one.committed is None else one.committed} next)" for one in readers.groups]
        waiting = [text for one, text in zip(readers.groups, before, strict=True) if not one.has_read]
        yield "", f"groups that have read it: {', '.join(past) or 'none'}" + (f"; not yet: {', '.join(waiting)}" if waiting else "")
    if isinstance(readers.read_models, str):
        yield "", f"which read models hold it is not known: {readers.read_models}"
    elif readers.read_models:
        yield (
            "",
            ", ".join(
                f"read model {one.name} version {one.version} {'has' if one.has_read else 'lacks'} it" for one in readers.read_models
            ),
        )


def _of_again(again: Again) -> Iterator[tuple[str, str]]:
    words = {True: "[green]equal to the bit[/]", False: "[red]different[/]", None: "[red]could not be made[/]"}
    yield "made again", f"from its own feature values: {words[again.as_served]}"
    yield "", f"folded from the user's earlier actions: {words[again.folded]}"
    for difference in again.differences:
        yield "", f"[red]difference[/]: {escape(difference.sentence)}"


_PARTS = (_of_action, _of_model, _of_rows, _of_tables, _of_readers)


def _features(of: Explanation) -> Table:
    table = Table(Column("#", justify="right"), "feature", "view", Column("value", justify="right"), "", box=SIMPLE_HEAD, show_edge=False)
    for number, feature in enumerate(of.features):
        value = "null" if feature.value is None else f"{feature.value:.9g}"
        table.add_row(str(number), escape(feature.name), escape(feature.view), value, escape(feature.means or ""))
    return table
