"""Where things stand in the online store, by Feast's own names: rows of users, marks of partitions, and whether profiles are there."""

from __future__ import annotations

from features import feast_bytes as fb

PROJECT = "streamhouse"
JOIN_KEY = "user_id"
ACTIVITY = "user_activity"
PROFILE = "user_profile"
PROFILE_FEATURES = ("channel", "cohort")

MATERIALIZED = f"{PROJECT}:{PROFILE}:materialized"
"""A key that is there as long as the profiles are: they share the store."""
LIFE = f"{PROJECT}:{PROFILE}:life"
"""Another value, or none, tells whoever brings profiles that what he brought before may be lost."""

KEY_TAIL = PROJECT.encode()
"""What stands in a row's key behind the user id."""
_PREFIX = fb.key_prefix(JOIN_KEY)
_HEADS = [_PREFIX + fb.text_head(length) for length in range(4 * 128 + 1)]  # of every user id that a contract allows


def row_key(user: str) -> bytes:
    """Where Feast keeps the rows of a user, of every view."""
    text = user.encode()
    return key_head(len(text)) + text + KEY_TAIL


def key_head(length: int) -> bytes:
    """What stands in a row's key before a user id of so many bytes."""
    return _HEADS[length] if length < len(_HEADS) else _PREFIX + fb.text_head(length)


def mark_key(partition: int | str) -> str:
    """Where a partition's lease stands, and how far its rows have come; `*` is any partition."""
    return f"{PROJECT}:{ACTIVITY}:partition:{partition}"


def any_row() -> bytes:
    """The pattern of every row's key."""
    return b"".join(b"\\" + bytes([byte]) if byte in b"*?[]\\^-" else bytes([byte]) for byte in _PREFIX) + b"*"
