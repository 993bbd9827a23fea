"""Records that registry clients framed, as the plain ones that the decoder reads. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from infra.contracts.decisions import Schemas
from infra.contracts.events import Rejected
from infra.contracts.framing import framed_at, plain_json, unframe
from jobs.records import Records, Rules


def plain_values(records: Records, rules: Rules) -> tuple[Sequence[bytes | None], dict[int, Rejected]]:
    """Every value as plain JSON, and by position why one could not be made so; in its stead stands None."""
    framed = framed_at(records.values)
    if not framed:
        return records.values, {}
    values, unread = list(records.values), dict[int, Rejected]()
    for i in framed:
        made = plain_at(rules.schemas, rules.topic, int(records.partition[i]), int(records.offset[i]), values[i])
        values[i] = None if isinstance(made, Rejected) else made
        if isinstance(made, Rejected):
            unread[i] = made
    return values, unread


def plain_at(schemas: Schemas, topic: str, partition: int, offset: int, value: bytes | None) -> bytes | Rejected | None:
    """One value as plain JSON, by what was decided for its place."""
    framed = unframe(value)
    return value if framed is None else plain_json(framed, schemas.schema_at(topic, partition, offset, framed.schema_id))


def readable_at(schemas: Schemas, topic: str, partition: int, offset: int, value: bytes | None) -> bytes | None:
    """As `plain_at`; None for one that is refused."""
    made = plain_at(schemas, topic, partition, offset, value)
    return None if isinstance(made, Rejected) else made
