"""The typed columns of archived predictions against the bytes that they were taken from. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from infra.contracts.codec import EventTimeWindow
from jobs.archive_rows import archive_row
from jobs.replay.published import COLUMNS
from jobs.replay.served import Difference, Place, difference
from lakehouse.python_values import python_values

_CAUSE = "the column was changed after it was archived: the record's own bytes beside it say otherwise"


def compare_columns(partition: int, rows: pa.Table, window: EventTimeWindow) -> Iterator[Difference]:
    """Each typed column that differs, of rows with `published.COLUMNS` and the bytes, `value`: made again as the archive made them."""
    if len(rows) == 0:
        return
    # Kafka's time stands in for an event's own alone, which is none of these columns
    made = [archive_row("predictions", value, 0, window) for value in python_values(rows["value"])]
    for name in COLUMNS:
        held = rows[name].combine_chunks()
        own = pa.array([row.get(name) for row in made], held.type)
        if _same(held, own):
            continue
        offsets, ids, users = (rows[of].to_pylist() for of in ("action_offset", "action_id", "user_id"))
        for i, (old, new) in enumerate(zip(held.to_pylist(), own.to_pylist(), strict=True)):
            if repr(old) != repr(new):
                place = Place(partition, offsets[i], str(ids[i]), str(users[i]))
                yield difference(place, f"column {name}", old, new, _CAUSE)


def _same(one: pa.Array, other: pa.Array) -> bool:
    """To the bit, so that -0.0 is not 0.0, and NaN is itself."""
    if pa.types.is_list(one.type):
        lengths = (pc.list_value_length(side) for side in (one, other))
        return bool(next(lengths).equals(next(lengths))) and _same(one.flatten(), other.flatten())
    if pa.types.is_float32(one.type):
        one, other = one.view(pa.int32()), other.view(pa.int32())
    return bool(one.equals(other))
