"""What `apply` would do to one thing, as a value: shown first, then carried out."""

from __future__ import annotations

from dataclasses import dataclass

ACTIONS = ("create", "update", "refuse", "keep")


@dataclass(frozen=True)
class Change:
    """One line of a plan. `kind`: topic, schema, ...; `action`: one of ACTIONS; `detail`: what changes, or why not."""

    kind: str
    name: str
    action: str
    detail: str = ""
