"""The command `tag`: histories are named, listed and let go."""

from __future__ import annotations

from infra.config import Settings
from infra.contracts.codec import rfc3339
from infra.errors import StreamhouseError
from jobs.replay.history import TABLES, kept
from lakehouse.tags import histories, tagged, untag


def main(settings: Settings, name: str | None, *, drop: bool) -> list[str]:
    """What was done, a line each; without a name the histories that there are.

    Raises:
        StreamhouseError: nothing to drop, a name of another form, or nothing is archived yet.

    """
    if name is None:
        if drop:
            raise StreamhouseError("tag --drop: expected the name of a history, got none; `./streamhouse tag` lists them")
        found = histories(settings, TABLES)
        if not found:
            return ["no history has a name yet; `./streamhouse tag NAME` gives one"]
        return [f"{one.name}  user_actions as of {rfc3339(one.committed_ms)}" for one in found]
    if drop:
        if not untag(settings, name, TABLES):
            message = f"history `{name}`: no table has such a tag; `./streamhouse tag` lists those that there are"
            raise StreamhouseError(message)
        return [f"history {name} is let go"]
    was_there = tagged(settings, name, TABLES) is not None
    snapshots = kept(settings, name).snapshots
    said = f"history {name} {'is there already' if was_there else 'is kept'}: "
    return [said + ", ".join(f"{table} {'empty' if snapshot is None else snapshot}" for table, snapshot in snapshots.items())]
