"""The fold: actions in log order -> each action's features as of just before it, and the users' new histories.

The features of an action are a pure function of the user's earlier actions in log order (partition, offset) and of the
action's own time. Nothing else enters: not the split into batches, not a crash and what is read again after it, not the
clock on the wall. The stream, a rebuild and training call this one function.

Rules for time, all in event time:
- The user's clock is the latest time among the earlier actions. An action behind it is late.
- Windows are evaluated at the action's own time; more than ALLOWED_LATENESS behind the clock, at clock - ALLOWED_LATENESS.
- Actions that the log brought earlier but that happened in a later bucket are not counted.
- A late action joins the bucket of its own time. One that no window can see any more changes nothing but the offsets.
- `seconds_since_action` is the distance to the user's clock, 0 for a late action, NaN without an earlier action; likewise purchases.
- A visit begins where the session id differs from that of the user's previous action in log order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.activity import ALLOWED_LATENESS, COUNTED, FEATURES, HOUR, KINDS, MINUTE, PURCHASE, VISIT_WINDOWS, WINDOWS
from features.history import ENTRY, NEVER, Histories

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]

_PAIRS = 2_000_000  # (action, entry) pairs compared at once; bounds memory at about 200 MB
_HORIZON = max(window.buckets for window in WINDOWS if window.grain == HOUR)
_FINE = [window for window in WINDOWS if window.grain < HOUR]
_GRAINS = tuple({window.grain for window in WINDOWS})
_COLUMN = {name: i for i, name in enumerate(FEATURES)}


class RewoundError(Exception):
    """An action is read again from before what the histories can still answer; only a rebuild can."""


@dataclass(frozen=True)
class Actions:
    """n actions; of each user in log order. `user` (n,) rows into Histories; times in ms; `session` a 64 bit hash."""

    user: Int64s
    offset: Int64s
    time: Int64s
    kind: Int64s
    session: NDArray[np.uint64]


@dataclass(frozen=True)
class FeatureRows:
    """Features of n actions, and the row of the store that they come from.

    `values` (n, len(FEATURES)) float64, NaN where there is no earlier action or purchase; `known_offset` (n,) the previous
    action's offset, -1: none; `known_time` (n,) the user's clock, ms, NEVER: none; `late` (n,) bool.
    """

    values: Float64s
    known_offset: Int64s
    known_time: Int64s
    late: NDArray[np.bool_]


def fold(histories: Histories, actions: Actions) -> tuple[FeatureRows, Histories]:
    """Answer each action and append those that are new. Actions that a history already holds change nothing.

    Raises:
        RewoundError: an action lies at or below its user's base.

    """
    headers = histories.headers
    if (actions.offset <= headers["base_offset"][actions.user]).any():
        at = int(np.flatnonzero(actions.offset <= headers["base_offset"][actions.user])[0])
        message = f"offset {actions.offset[at]} was merged already (base at {headers['base_offset'][actions.user[at]]})"
        raise RewoundError(message)
    fresh = np.flatnonzero(actions.offset > headers["last_offset"][actions.user])
    grown = _append(histories, actions, fresh)
    return _features(grown, actions.user, actions.offset, actions.time), grown


def current(histories: Histories, rows: Int64s) -> FeatureRows:
    """What stands readable in the store: features as of just after the last action in log order, at its time."""
    last = histories.headers[rows]
    return _features(histories, rows, last["last_offset"] + 1, last["last_time"].astype(np.int64))


def _append(histories: Histories, actions: Actions, fresh: Int64s) -> Histories:
    if not len(fresh):
        return histories
    order = fresh[np.argsort(actions.user[fresh], kind="stable")]
    user, offset, time, session = (
        actions.user[order],
        actions.offset[order],
        actions.time[order],
        actions.session[order],
    )
    first = np.r_[True, user[1:] != user[:-1]]
    last = np.r_[first[1:], True]
    before = np.r_[session[:1], session[:-1]]
    opens = session != np.where(first, histories.headers["last_session"][user], before)
    opens |= first & (histories.headers["last_offset"][user] < 0)

    added = np.zeros(len(order), ENTRY)
    added["offset"], added["time"], added["kind"], added["count"], added["visits"] = (
        offset,
        time,
        actions.kind[order],
        1,
        opens,
    )

    headers = histories.headers.copy()
    touched = user[last]
    headers["last_offset"][touched] = offset[last]
    headers["last_time"][touched] = time[last]
    headers["last_session"][touched] = session[last]
    # Feast keeps the row with the newest timestamp, so it must rise with each applied action even when event times do not
    begins = np.flatnonzero(first)
    applied = np.diff(np.r_[begins, len(user)])
    rank = np.arange(len(user)) - np.repeat(begins, applied)
    newest = np.maximum.reduceat(time - rank, begins) + applied - 1
    headers["row_time"][touched] = np.maximum(newest, np.maximum(headers["row_time"][touched], NEVER // 2) + applied)

    owner = np.concatenate([histories.owner, user])
    entries = np.concatenate([histories.entries, added])
    by_user = np.argsort(owner, kind="stable")
    return Histories(headers, entries[by_user], owner[by_user])


@dataclass(frozen=True)
class _Entries:
    """The entries of histories, a column each (E,); `bucket`: which one of that grain an entry's time lies in."""

    offset: Int64s
    time: Int64s
    kind: Int64s
    count: Float64s
    visits: Float64s
    bucket: dict[int, Int64s]


def _columns(entries: NDArray[np.void]) -> _Entries:
    """A packed row's fields lie anywhere in memory; apart from each other they are read at several times the speed."""
    time = entries["time"].astype(np.int64)
    return _Entries(
        entries["offset"].astype(np.int64),
        time,
        entries["kind"].astype(np.int64),
        entries["count"].astype(np.float64),
        entries["visits"].astype(np.float64),
        {grain: time // grain for grain in _GRAINS},
    )


def _features(histories: Histories, user: Int64s, offset: Int64s, time: Int64s) -> FeatureRows:
    n = len(user)
    rows = FeatureRows(np.zeros((n, len(FEATURES))), np.full(n, -1), np.full(n, NEVER), np.zeros(n, bool))
    starts = np.searchsorted(histories.owner, np.arange(len(histories.headers) + 1))
    lengths = np.diff(starts)[user]
    entries = _columns(histories.entries)
    bounds = np.searchsorted(np.cumsum(lengths), np.arange(_PAIRS, int(lengths.sum()) + _PAIRS, _PAIRS), "left") + 1
    begin = 0
    for end in [*np.unique(bounds[bounds < n]).tolist(), n]:
        if end > begin:
            part = slice(begin, end)
            base = histories.headers[user[part]]
            _features_of(base, entries, starts[user[part]], lengths[part], offset[part], time[part], rows, part)
            begin = end
    return rows


def _features_of(
    base: NDArray[np.void],
    entries: _Entries,
    starts: Int64s,
    lengths: Int64s,
    offset: Int64s,
    time: Int64s,
    rows: FeatureRows,
    part: slice,
) -> None:
    """Compare each action with every entry of its user, as flat arrays of pairs, and count. Pairs of an action lie side by side."""
    n = len(offset)
    action = np.repeat(np.arange(n), lengths)
    entry = np.arange(len(action)) + np.repeat(starts - np.r_[0, np.cumsum(lengths)[:-1]], lengths)
    entry_offset = entries.offset[entry]
    known = entry_offset < offset[action]
    action, entry, entry_offset = action[known], entry[known], entry_offset[known]
    kind = entries.kind[entry]

    latest = _Latest(action)
    tail, entry_time = entry_offset >= 0, entries.time[entry]
    clock, bought, previous = (base[name].astype(np.int64) for name in ("base_clock", "base_purchase", "base_offset"))
    latest.raise_to(clock, np.where(tail, entry_time, NEVER))
    latest.raise_to(bought, np.where(tail & (kind == PURCHASE), entry_time, NEVER))
    latest.raise_to(previous, entry_offset)  # what is merged has -1

    evaluated = np.where(clock == NEVER, time, np.maximum(time, clock - ALLOWED_LATENESS))
    values, cell, count, visits = rows.values[part], action * KINDS + kind, entries.count[entry], entries.visits[entry]
    age = {grain: (evaluated // grain)[action] - entries.bucket[grain][entry] for grain in _GRAINS}
    for window in WINDOWS:
        within = age[window.grain].view(np.uint64) < window.buckets  # what happened in a later bucket is far beyond any, read so
        counts = np.bincount(cell, count * within, n * KINDS).reshape(n, KINDS)
        for what, kinds in COUNTED.items():
            values[:, _COLUMN[f"{what}_{window.name}"]] = counts[:, kinds[0]] if len(kinds) == 1 else counts[:, kinds].sum(1)
        if window.name in VISIT_WINDOWS:
            values[:, _COLUMN[f"visits_{window.name}"]] = np.bincount(action, visits * within, n)
    for name, then in (("seconds_since_action", clock), ("seconds_since_purchase", bought)):
        never = then == NEVER
        values[:, _COLUMN[name]] = np.where(never, np.nan, np.maximum(0, time - np.where(never, 0, then)) / 1000)
    rows.known_offset[part], rows.known_time[part], rows.late[part] = previous, clock, time < clock


class _Latest:
    """Maxima over the pairs of each action; `action` (P,) ascending."""

    def __init__(self, action: Int64s) -> None:
        self._first = np.flatnonzero(np.diff(action, prepend=-1))
        self._of = action[self._first]

    def raise_to(self, so_far: Int64s, value: Int64s) -> None:
        """Put in place of `so_far` (n,) what is greater of `value` (P,)."""
        if len(value):
            so_far[self._of] = np.maximum(so_far[self._of], np.maximum.reduceat(value, self._first))


def compact(histories: Histories, committed: Int64s) -> Histories:
    """Merge what no restart can ask for again: entries below `committed` (U,), the consumer group's committed offsets.

    Entries of the last hour before the base's clock stay by the minute, older ones by the hour, and what no window can see any
    more leaves. Changes no feature of any action at or after `committed`.
    """
    entries, owner = histories.entries, histories.owner
    merged = entries["offset"] < committed[owner]
    joining = merged & (entries["offset"] >= 0)
    if not joining.any():
        return histories
    headers = histories.headers.copy()
    np.maximum.at(headers["base_offset"], owner[joining], entries["offset"][joining])
    np.maximum.at(headers["base_clock"], owner[joining], entries["time"][joining])
    bought = joining & (entries["kind"] == PURCHASE)
    np.maximum.at(headers["base_purchase"], owner[bought], entries["time"][bought])

    old, who = entries[merged], owner[merged]
    clock = headers["base_clock"].astype(np.int64)[who] - ALLOWED_LATENESS  # no later action is evaluated before this
    time = old["time"].astype(np.int64)
    coarse = np.all([time // window.grain <= clock // window.grain - window.buckets for window in _FINE], axis=0)
    time = np.where(coarse, time // HOUR * HOUR, time // MINUTE * MINUTE)
    seen = time // HOUR > clock // HOUR - _HORIZON
    who, time, old = who[seen], time[seen], old[seen]
    order = np.lexsort((old["kind"], time, who))
    who, time, old = who[order], time[order], old[order]
    first = np.flatnonzero(np.r_[True, (who[1:] != who[:-1]) | (time[1:] != time[:-1]) | (old["kind"][1:] != old["kind"][:-1])][: len(who)])
    base = np.zeros(len(first), ENTRY)
    if len(first):
        base["offset"], base["time"], base["kind"] = -1, time[first], old["kind"][first]
        base["count"] = np.add.reduceat(old["count"], first)
        base["visits"] = np.add.reduceat(old["visits"], first)

    everyone = np.concatenate([who[first], owner[~merged]])
    all_entries = np.concatenate([base, entries[~merged]])
    by_user = np.argsort(everyone, kind="stable")
    return Histories(headers, all_entries[by_user], everyone[by_user])
