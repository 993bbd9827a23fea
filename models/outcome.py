"""What a model predicts: whether the user purchases within half an hour, and when that is known. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HORIZON = 30 * 60_000
"""How far a label looks ahead, in ms of event time."""

LABEL = "the user purchases after the action, within the next 30 minutes of event time"


def outcomes(
    user: NDArray[np.int64],
    time: NDArray[np.int64],
    is_purchase: NDArray[np.bool_],
    created: NDArray[np.int64],
    known_by: int,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For n actions their labels, and which of them are known by the moment `known_by`.

    `user` (n,) codes from 0; `time` (n,) ms of event time; `created` (n,) ms on the log's clock, when each action became known. A
    label is known once the half hour has passed; a purchase that became known later than `known_by` does not count. A purchase
    is labelled by later purchases only.
    """
    buys = np.flatnonzero(is_purchase & (created <= known_by))
    moments = np.unique(time)
    width = len(moments) + 1
    # user and time in one number, so that one search finds the same user's next purchase
    bought = user[buys] * width + np.searchsorted(moments, time[buys])
    order = np.argsort(bought, kind="stable")
    after = user * width + np.searchsorted(moments, time, side="right")
    following = np.searchsorted(bought[order], after)
    label = following < len(buys)
    buy = buys[order[following[label]]]
    label[label] = (user[buy] == user[label]) & (time[buy] <= time[label] + HORIZON)
    return label, time + HORIZON <= known_by
