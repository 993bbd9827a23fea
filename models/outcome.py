"""What a model predicts: whether the user purchases within half an hour, and when that is known. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FOR_EVER = 2**62

HORIZON = 30 * 60_000
"""How far a label looks ahead, in ms of event time."""

LABEL = "the user purchases after the action, within the next 30 minutes of event time"


def outcomes(
    user: NDArray[np.int64],
    time: NDArray[np.int64],
    is_purchase: NDArray[np.bool_],
    created: NDArray[np.int64],
    known_by: int = FOR_EVER,
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """For n actions their labels, and from which moment on each was known, ms on the log's clock.

    `user` (n,) codes from 0; `time` (n,) ms of event time; `created` (n,) ms on the log's clock, when each action became known. A
    purchase that became known later than `known_by` does not count. A yes is known when the log brought the first purchase, a no
    when the half hour was over, neither before the action itself. A purchase is labelled by later purchases only.
    """
    buys = np.flatnonzero(is_purchase & (created <= known_by))
    moments = np.unique(time)
    width = len(moments) + 1
    # user and time in one number, so that one search finds the same user's next purchase
    bought = user[buys] * width + np.searchsorted(moments, time[buys])
    order = np.lexsort((created[buys], bought))
    after = user * width + np.searchsorted(moments, time, side="right")
    following = np.searchsorted(bought[order], after)
    label = following < len(buys)
    buy = buys[order[following[label]]]
    near = (user[buy] == user[label]) & (time[buy] <= time[label] + HORIZON)
    label[label] = near
    told = time + HORIZON
    told[label] = created[buy[near]]
    return label, np.maximum(told, created)
