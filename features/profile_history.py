"""Every profile row that there ever was, and which one counted at a moment: the past that the online store no longer holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.as_of import Asked, Known, as_of
from features.online import Profiles
from features.online_keys import PROFILE_FEATURES

_NO_KEY = -1


@dataclass(frozen=True)
class ProfileHistory:
    """r rows of the table user_profiles: `users` name -> code; `rows` by those codes, times in ms; `columns` (r,) texts."""

    users: Mapping[str, int]
    rows: Known
    columns: Mapping[str, list[str | None]]

    def known_then(self, users: Sequence[str], time: NDArray[np.int64]) -> Profiles:
        """Each action's profile (n,): the newest row known from before or at its time and written by then."""
        return self._taken(as_of(Asked(self._codes(users), time), self.rows))

    def known_from(self, users: Sequence[str], moment: NDArray[np.int64]) -> tuple[Profiles, NDArray[np.bool_]]:
        """The row of each user (n,) that was known from exactly that moment, and whether there is one.

        Of two with the same moment the one written later, as Feast brings it into the online store.
        """
        row = as_of(Asked(self._codes(users), moment), self.rows, created_cutoff=False)
        there = row >= 0
        there[there] = self.rows.event_time[row[there]] == moment[there]
        return self._taken(np.where(there, row, -1)), there

    def _codes(self, users: Sequence[str]) -> NDArray[np.int64]:
        return np.array([self.users.get(user, _NO_KEY) for user in users], np.int64)

    def _taken(self, row: NDArray[np.int64]) -> Profiles:
        known = self.rows.event_time[row] if len(self.rows.event_time) else row
        chosen = row.tolist()
        columns = {name: [None if r < 0 else values[r] for r in chosen] for name, values in self.columns.items()}
        return Profiles(np.where(row < 0, -1, known), columns)


def profile_history(
    users: Sequence[str | None],
    known_from: NDArray[np.int64],
    created: NDArray[np.int64],
    columns: Mapping[str, Sequence[str | None]],
) -> ProfileHistory:
    """The rows of user_profiles in any order; times (r,) ms. A row without user counts for nobody."""
    there = [i for i, user in enumerate(users) if user is not None]
    codes: dict[str, int] = {}
    key = np.array([codes.setdefault(str(users[i]), len(codes)) for i in there], np.int64)
    taken = {name: [columns[name][i] for i in there] for name in PROFILE_FEATURES}
    # what decides between rows with equal times must not be the order of files
    ties = tuple(np.unique(["" if v is None else f"={v}" for v in values], return_inverse=True)[1] for values in taken.values())
    rows = Known(key, known_from[there], created[there], tuple(tie.astype(np.int64) for tie in ties), np.arange(len(there)))
    return ProfileHistory(codes, rows, taken)
