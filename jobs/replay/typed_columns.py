"""The typed columns of archived predictions against the bytes that they were taken from. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from infra.contracts.in_effect import Contract
from jobs.archive_rows import archive_row
from jobs.differing import differing
from jobs.replay.published import COLUMNS
from jobs.replay.served import Difference, Place, difference
from lakehouse.python_values import python_values

_CAUSE = "the column was changed after it was archived: the record's own bytes beside it say otherwise"


def compare_columns(partition: int, rows: pa.Table, contract: Contract) -> Iterator[Difference]:
    """Each typed column that differs, of rows with `published.COLUMNS` and the bytes, `value`: made again as the archive made them."""
    if len(rows) == 0:
        return
    # Kafka's time stands in for an event's own alone, which is none of these columns
    made = [archive_row("predictions", value, 0, contract) for value in python_values(rows["value"])]
    for name in COLUMNS:
        held = rows[name].combine_chunks()
        own = pa.array([row.get(name) for row in made], held.type)
        for i in differing(held, own):
            offset, event_id, user_id = (rows[of][i].as_py() for of in ("action_offset", "action_id", "user_id"))
            place = Place(partition, offset, str(event_id), str(user_id))
            yield difference(place, f"column {name}", held[i].as_py(), own[i].as_py(), _CAUSE)
