"""Records of a topic beside rows of its table, pure: what one has and the other lacks, and every column that differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import itemgetter
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from infra.contracts.columns import Extractor
from infra.contracts.framing import framed_at
from infra.contracts.in_effect import Contract
from jobs.archive_columns import EVENT_TOPICS
from jobs.archive_rows import NO_HEADERS, Row, archive_row
from jobs.audit.topic_log import Headers, Step, milliseconds
from jobs.differing import differing
from jobs.findings import Finding, Findings
from lakehouse.python_values import python_values

_RECORD = ("topic_partition", "topic_offset", "key", "value", "headers", "kafka_time", "event_time")
_SHOWN = 60  # characters of a value in a sentence
_MOVED = 100_000  # rows with another record's bytes of which it is told whose they are


@dataclass(frozen=True)
class Side:
    """The table of one topic partition: its name, and the offset after its last row as pinned.

    `from_value`: typed columns that may be null in a row whose value holds something, as those of an archiver that a contract outgrew.
    `in_parts`: those that are JSON with parts, which may lie there in another order; of such as are in `from_value` some parts alone may.
    """

    topic: str
    table: str
    partition: int
    end: int
    from_value: frozenset[str] = frozenset()
    in_parts: frozenset[str] = frozenset()


@dataclass
class Compared:
    """What comparing came to so far."""

    findings: Findings = field(default_factory=Findings)
    beyond: int = 0
    """Records behind the table's last row."""
    first_beyond: int = 2**63 - 1
    dropped: int = 0
    """Records that lack a row before it."""
    alien: list[int] = field(default_factory=list)
    """Offsets of rows without a committed record."""
    moved: dict[int, tuple[bytes | None, bytes | None]] = field(default_factory=dict)
    """By offset the record's and the row's bytes, where they differ."""


def typed_rows(topic: str, step: Step, contract: Contract, fields: Extractor | None = None) -> list[Row]:
    """The typed columns that each record's bytes give; those of user-actions as `fields` reads them."""
    records = zip(step.values, step.kafka_ms.tolist(), strict=True)
    if topic not in EVENT_TOPICS:
        return [archive_row(topic, value, kafka_ms, contract, fields=fields) for value, kafka_ms in records]
    told = zip(records, python_values(step.key), step.headers or repeat(NO_HEADERS, len(step)), strict=True)
    return [archive_row(topic, value, kafka_ms, contract, key, headers) for (value, kafka_ms), key, headers in told]


def compare(side: Side, step: Step, typed: list[Row], rows: pa.Table, compared: Compared) -> None:
    """Compare a step with the rows between its first and last offset, and add to `compared`."""
    offsets = rows["topic_offset"].to_numpy()
    if len(offsets) == len(step) and (offsets == step.offset).all():
        _columns(side, step, typed, rows, compared)
        return
    single, first, count = np.unique(offsets, return_index=True, return_counts=True)
    for offset, times in zip(single[count > 1].tolist(), count[count > 1].tolist(), strict=True):
        sentence = f"table {side.table} holds partition {side.partition}, offset {offset} {times} times"
        compared.findings.add(Finding(side.table, "row_twice", side.partition, offset, sentence))
    lacking = step.offset[~np.isin(step.offset, single)]
    beyond = lacking[lacking >= side.end]
    if len(beyond):
        compared.first_beyond = min(compared.first_beyond, int(beyond[0]))
        compared.beyond += len(beyond)
    for offset in lacking[lacking < side.end].tolist():
        compared.findings.add(dropped(side, offset))
        compared.dropped += 1
    compared.alien += single[~np.isin(single, step.offset)].tolist()
    in_both = np.isin(step.offset, single)
    if not in_both.all():
        kept = np.flatnonzero(in_both)
        step = Step(
            step.offset[kept],
            step.kafka_ms[kept],
            step.key.take(pa.array(kept)),
            step.value.take(pa.array(kept)),
            [step.values[i] for i in kept],
            None if step.headers is None else [step.headers[i] for i in kept],
        )
        typed = [typed[i] for i in kept]
    _columns(side, step, typed, rows.take(pa.array(first[np.isin(single, step.offset)])), compared)


def alien(side: Side, offset: int, why: str) -> Finding:
    """A row without a committed record; `why` goes on from "the topic has"."""
    sentence = f"table {side.table} holds a row at partition {side.partition}, offset {offset}, where topic {side.topic} has {why}"
    return Finding(side.table, "row_without_record", side.partition, offset, sentence)


def dropped(side: Side, offset: int) -> Finding:
    """A record that the table lacks."""
    sentence = f"table {side.table} lacks partition {side.partition}, offset {offset}, which topic {side.topic} holds"
    return Finding(side.table, "dropped_row", side.partition, offset, sentence)


def whose(side: Side, compared: Compared) -> Iterator[Finding]:
    """Rows with other bytes than their record: whose they are, where they are those of another row that differs too."""
    owner = {record: offset for offset, (record, _) in compared.moved.items()}
    for offset, (record, row) in sorted(compared.moved.items()):
        place = f"table {side.table}, partition {side.partition}, offset {offset}"
        if (origin := owner.get(row)) is not None and origin != offset:
            sentence = f"{place}: expected the record of that offset, got the one of offset {origin}"
            yield Finding(side.table, "swapped_offset", side.partition, offset, sentence)
        else:
            sentence = f"{place}: expected value {_shown(record)}, got {_shown(row)}"
            yield Finding(side.table, "changed_value", side.partition, offset, sentence)


def _columns(side: Side, step: Step, typed: list[Row], rows: pa.Table, compared: Compared) -> None:
    """Every column of rows that stand at the step's offsets, in their order."""
    typed = _as_archived(step, typed, rows)
    got = rows["value"].combine_chunks().cast(pa.large_binary())
    alike = np.ones(len(step), bool)
    for i in differing(step.value, got):
        alike[i] = False
        record, row = step.values[i], got[i].as_py()
        if len(compared.moved) < _MOVED:
            compared.moved[int(step.offset[i])] = record, row
        else:
            compared.findings.add(_changed(side, "value", int(step.offset[i]), record, row))
    expected: dict[str, pa.Array] = {"key": step.key}
    kinds: dict[str, pa.DataType] = {"key": pa.large_binary()}
    for name, values in _by_column(typed, [name for name in rows.column_names if name not in _RECORD]).items():
        kinds[name] = rows.schema.field(name).type
        expected[name] = _arrow(values, kinds[name])
    for name, column in expected.items():
        found = rows[name].combine_chunks().cast(kinds[name])
        for i in differing(column, found):
            # of a row with another record's bytes nothing else is told
            if alike[i] and not _outgrown(side, name, column[i], found[i]):
                compared.findings.add(_changed(side, name, int(step.offset[i]), column[i].as_py(), found[i].as_py()))
    for name, times in (("kafka_time", step.kafka_ms), ("event_time", np.array([row["event_ms"] for row in typed], np.int64))):
        found_times = milliseconds(rows[name])
        for i in np.flatnonzero((found_times != times) & alike).tolist():
            compared.findings.add(_changed(side, name, int(step.offset[i]), int(times[i]), int(found_times[i])))
    _headers(side, step, rows["headers"].combine_chunks(), alike, compared)


def _outgrown(side: Side, name: str, expected: pa.Scalar, got: pa.Scalar) -> bool:
    """Whether a column says what is expected but for what an archiver does otherwise that was started under another contract.

    It leaves out what that one did not name, and writes parts in the order in which that one named them.
    """
    if not got.is_valid:
        return name in side.from_value
    if name not in side.in_parts or not expected.is_valid:
        return False
    try:
        return _is_part(orjson.loads(got.as_py()), orjson.loads(expected.as_py()), lacking=name in side.from_value)
    except ValueError:
        return False


def _is_part(got: Any, whole: Any, *, lacking: bool) -> bool:  # noqa: ANN401 - parsed JSON
    """Whether all of `got` is in `whole`, and unless some may be `lacking` all of `whole` in it."""
    if isinstance(got, dict) and isinstance(whole, dict):
        fits = all(name in whole and _is_part(part, whole[name], lacking=lacking) for name, part in got.items())
        return fits and (lacking or len(got) == len(whole))
    if isinstance(got, list) and isinstance(whole, list):
        return len(got) == len(whole) and all(_is_part(*both, lacking=lacking) for both in zip(got, whole, strict=True))
    if lacking and type(got) is int and type(whole) is float:  # of an archiver whose contract said nothing of it, or a whole number
        return float(got) == whole
    return type(got) is type(whole) and bool(got == whole)


def _arrow(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):  # typed columns hold times in milliseconds
        return pa.array(values, pa.int64()).cast(pa.timestamp("ms", "UTC")).cast(kind)
    return pa.array(values, kind)


def _as_archived(step: Step, typed: list[Row], rows: pa.Table) -> list[Row]:
    """A framed record may be archived before anybody has decided about its schema id: its typed columns are null then."""
    framed = framed_at(step.values)
    if not framed:
        return typed
    known = rows["event_type"].combine_chunks().is_valid()
    late = {i for i in framed if not known[i].as_py()}
    return [{"event_ms": int(step.kafka_ms[i])} if i in late else row for i, row in enumerate(typed)]


def _by_column(typed: list[Row], names: list[str]) -> dict[str, Sequence[Any]]:
    """The values of each column; a row that did not decode has none of them."""
    blank = dict.fromkeys(names)
    whole = [row if len(row) > 1 else blank for row in typed]
    return dict(zip(names, zip(*map(itemgetter(*names), whole), strict=True), strict=True)) if whole else dict.fromkeys(names, ())


def _headers(side: Side, step: Step, maps: pa.Array, alike: NDArray[np.bool_], compared: Compared) -> None:
    if step.headers is None and len(maps.items) == 0:
        return
    for i, pairs in enumerate(maps.to_pylist()):
        expected: Headers = {} if step.headers is None else step.headers[i]
        if alike[i] and expected != (got := dict(pairs or ())):
            compared.findings.add(_changed(side, "headers", int(step.offset[i]), expected, got))


def _changed(side: Side, column: str, offset: int, expected: Any, got: Any) -> Finding:  # noqa: ANN401 - a column's value
    sentence = (
        f"table {side.table}, partition {side.partition}, offset {offset}, column {column}:"
        f" expected {_shown(expected)} of the record, got {_shown(got)}"
    )
    return Finding(side.table, f"changed_{column}", side.partition, offset, sentence)


def _shown(value: Any) -> str:  # noqa: ANN401 - a column's value
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"
