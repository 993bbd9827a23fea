"""The table user_profiles -> the online store, by Feast's own materialize."""

from __future__ import annotations

from datetime import UTC, datetime

from features.apply import feature_store
from features.online import PROFILE
from infra.config import Settings

_BEGINNING = datetime(2015, 1, 1, tzinfo=UTC)


def materialize_profiles(settings: Settings, until: datetime) -> None:
    """Bring every profile known before `until` into the online store; each row keeps the time from which it was known."""
    feature_store(settings).materialize(_BEGINNING, until, feature_views=[PROFILE])
