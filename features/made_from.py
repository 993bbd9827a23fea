"""From what each feature is made: the fields of the event that the fold reads for it, or a column of the view's table.

Feast's definitions carry it as the tag `made_from`; whoever asks without Feast reads it here.
"""

from __future__ import annotations

from collections.abc import Mapping

from features.activity import COUNTED, COUNTS, KINDS
from features.activity import FEATURES as ACTIVITIES
from features.online_keys import ACTIVITY, PROFILE, PROFILE_FEATURES

TOPIC, EVENT = "user-actions", "UserAction"
"""Whose actions are folded."""
TABLES: Mapping[str, str] = {ACTIVITY: "feature_log", PROFILE: "user_profiles"}
"""The table of each view: of activities the fold's own log, of profiles where they come from."""
_WHO_AND_WHEN = ("data.userId", "timestamp")


def fields(feature: str) -> tuple[str, ...]:
    """The fields of an action that a feature of `user_activity` depends on."""
    if feature in COUNTS:
        what = feature.rpartition("_")[0]
        if what == "visits":
            return ("data.sessionId", *_WHO_AND_WHEN)
        # a count of every kind does not ask which one it is
        return _WHO_AND_WHEN if len(COUNTED[what]) == KINDS else ("data.action", *_WHO_AND_WHEN)
    return ("data.action", *_WHO_AND_WHEN) if feature == "seconds_since_purchase" else _WHO_AND_WHEN


MADE_FROM: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    ACTIVITY: {feature: fields(feature) for feature in ACTIVITIES},
    PROFILE: dict.fromkeys(PROFILE_FEATURES, ()),
}
"""By view and feature: the fields of the event; none where it comes from the column of its name in the view's table."""


def tag(view: str, feature: str) -> str:
    """The same as Feast keeps it: `user-actions/UserAction: data.userId timestamp`, or `user_profiles.channel`."""
    read = MADE_FROM[view][feature]
    return f"{TOPIC}/{EVENT}: {' '.join(read)}" if read else f"{TABLES[view]}.{feature}"
