"""What a replay or a backtest reads: one snapshot of each table, that stays the same while it reads, and for good under a tag."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from infra.config import Settings
from infra.errors import StreamhouseError
from lakehouse.read import snapshot
from lakehouse.tags import Snapshots, held, tag, tagged

TABLES = ("user_actions", "predictions", "user_actions_dlq", "user_profiles", "feature_log")
"""What a history is of. The actions are pinned last, so that no prediction is pinned without its action."""


@dataclass(frozen=True)
class History:
    """`tag`: its name; None where it stays only while it is read."""

    tag: str | None
    snapshots: Snapshots


NO_HISTORY = History(None, {})
"""For who reads no table."""


@contextlib.contextmanager
def pinned(settings: Settings, tag_name: str | None, own_name: str, actions_snapshot: int | None = None) -> Iterator[History]:
    """The history of that tag, or the newest one, held under `own_name` until the block ends.

    `actions_snapshot`: an older snapshot of user_actions in place of the newest.

    Raises:
        StreamhouseError: no such tag, or nothing is archived yet.

    """
    if tag_name is not None:
        snapshots = tagged(settings, tag_name, TABLES)
        if snapshots is None:
            message = f"history `{tag_name}`: no table has such a tag; `./streamhouse tag` lists those that there are"
            raise StreamhouseError(message)
        yield History(tag_name, snapshots)
        return
    if snapshot(settings, TABLES[0]) is None:
        raise StreamhouseError("the archive holds no actions yet; run `./streamhouse demo`")
    with held(settings, own_name, TABLES, {} if actions_snapshot is None else {TABLES[0]: actions_snapshot}) as snapshots:
        yield History(None, snapshots)


def kept(settings: Settings, tag_name: str) -> History:
    """The history of that tag, which is given now where there is none.

    Raises:
        LakehouseError: a name of another form, or nothing is archived yet.

    """
    return History(tag_name, tag(settings, tag_name, TABLES))
