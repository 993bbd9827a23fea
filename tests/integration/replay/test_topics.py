"""The same history out of real topics and out of the tables: late answers, dead letters, records that nobody answered yet."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import orjson
import pytest

from infra.config import ROOT, Settings
from jobs.clickstream import open_clickstream, rows
from jobs.replay.chosen import Chosen, chosen
from jobs.replay.history import NO_HISTORY, pinned
from jobs.replay.run import Report, replay
from jobs.replay.tell import as_dict
from tests.audited import Archive, Scorer, Sent, Writer, audited_anew

ACTIONS, BAD, LATE, UNANSWERED = 400, 8, 30, 5


@pytest.fixture(scope="module")
def settings(broker: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    own = audited_anew(broker, tmp_path_factory.mktemp("topics") / "state")
    shop, scorer, archive = Writer(own, "shop"), Scorer(own), Archive(own)
    some = [row for row, _ in zip(rows(open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz")), range(ACTIONS), strict=False)]
    good = [Sent(row.user_id.encode(), row.value) for row in some]
    bad = [Sent(b"u", b"no json")] * BAD
    for start in range(0, ACTIONS, 100):
        shop.send(("user-actions", sent) for sent in [*good[start : start + 100], *bad[start // 50 : start // 50 + 2]])
    rng = random.Random(3)
    kept = scorer.answer(withhold=lambda _, __: rng.random() < LATE / ACTIONS)
    Writer(own, "late").send(reversed(list(kept.values())))
    shop.send(("user-actions", replace(sent, key=sent.key)) for sent in good[:UNANSWERED])
    archive.follow_all()
    return own


def of_topics(settings: Settings, what: Chosen | None = None, hands: int = 0) -> Report:
    return replay(settings, NO_HISTORY, what or Chosen(), 20_000, hands=hands, topics=True)


def of_tables(settings: Settings, what: Chosen | None = None) -> Report:
    with pinned(settings, None, "replay-test") as history:
        return replay(settings, history, what or Chosen(), 20_000, hands=0)


def facts(report: Report) -> dict[str, Any]:
    """All that a report tells but for where it was read and how long it took."""
    return {name: value for name, value in as_dict(report).items() if name not in ("seconds", "source", "snapshots", "tag")}


@pytest.mark.parametrize("hands", [0, 2])
def test_topics_and_tables_come_to_the_same(settings: Settings, hands: int) -> None:
    report = of_topics(settings, hands=hands)
    assert report.is_equal, report.outcome.findings.kept[:2]
    assert report.outcome.equal == ACTIONS
    assert report.outcome.refused == BAD
    assert report.tail == UNANSWERED
    assert facts(report) == facts(of_tables(settings))


def test_what_was_chosen_is_the_same_in_both(settings: Settings) -> None:
    first = orjson.loads(next(iter(rows(open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz")))).value)["timestamp"]
    for what in (chosen(None, first, []), chosen(first, None, []), chosen(None, None, ["1:20-60"]), chosen("2024-01-06", "2024-01-09", [])):
        assert facts(of_topics(settings, what)) == facts(of_tables(settings, what))
