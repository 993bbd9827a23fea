"""One line of a plan: what `apply` would do to one thing, before it does it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """`kind` and `name` say what, `action` is create, update, keep or refuse, `detail` why; refuse stops the whole plan."""

    kind: str
    name: str
    action: str
    detail: str = ""
