"""Sound topics, once for each module that asks for them, and a lake of each test's own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from infra.config import Settings
from tests.audited import Scorer, Sent, Writer, action, audited_anew
from tests.integration.audit.reports import USERS, archived_apart

ACTIONS = 600


@pytest.fixture(scope="module")
def clean(broker: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Good and bad records with headers, null keys and values, a repeated event id; aborted transactions before and among them."""
    settings = audited_anew(broker, tmp_path_factory.mktemp("clean"))
    shop, scorer = Writer(settings, "shop"), Scorer(settings)
    records = [action(f"user_{n % USERS}", n % (ACTIONS - 1)) for n in range(ACTIONS)]
    records = [dataclasses.replace(one, headers=[("trace", b"%d" % n)] if n % 7 == 0 else []) for n, one in enumerate(records)]
    bad = [Sent(None, b"no json"), Sent(b"k", None), Sent(b"user_1", b"{}", [("trace", None)]), Sent(b"\xff", b"\xff")]
    shop.send([("user-actions", one) for one in records[:5]], commit=False)
    shop.send([("user-actions", one) for one in [*records[:300], *bad]])
    shop.send([("user-actions", one) for one in records[:9]], commit=False)
    scorer.answer()
    shop.send([("user-actions", one) for one in records[300:]])
    Writer(settings, "lost").send([("predictions", Sent(b"user_1", b"never committed", partition=p)) for p in range(4)], commit=False)
    scorer.answer()
    return settings


@pytest.fixture
def lake(clean: Settings, tmp_path: Path) -> Settings:
    """A lake of the test's own that archived the clean topics, in some snapshots."""
    return archived_apart(clean, tmp_path / "state", step=250)
