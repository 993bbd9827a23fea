"""A stack of a test's own: up and applied, without jobs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from infra.config import ROOT, Settings
from infra.stack.apart import empty_place, settings_apart, silent
from infra.stack.stack import up
from jobs import apply

__all__ = ["empty_place", "fresh_stack", "stack_settings"]


def stack_settings(name: str, **overrides: str) -> Settings:
    """Settings of a stack in `.streamhouse/<name>` on free ports; `overrides` as SCORE_EVENTS_PARALLELISM="2"."""
    return settings_apart(ROOT / ".streamhouse" / name, **overrides)


@contextlib.contextmanager
def fresh_stack(name: str, *, keep: bool = False, **overrides: str) -> Iterator[Settings]:
    """From nothing to up and applied; ended and deleted afterwards unless `keep`."""
    settings = stack_settings(name, **overrides)
    with empty_place(settings, keep=keep):
        up(settings, silent)
        apply.main(settings)
        yield settings
