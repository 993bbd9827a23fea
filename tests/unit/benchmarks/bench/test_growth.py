"""What the growth of cost is measured on is what it says: events that are good and as large as told, features as many, a kept ledger."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.activity import COUNTED, FEATURES, VISIT_WINDOWS, WINDOWS
from infra.config import ROOT, load_settings
from infra.contracts.events import UserAction
from infra.contracts.in_effect import of_files
from lakehouse import ledger
from lakehouse.catalog import load_table, open_catalog
from lakehouse.tables import RECEIPTS
from tests.benchmarks.bench import commits
from tests.benchmarks.bench.growth import FULL, QUICK, Plan
from tests.benchmarks.bench.made_models import trained
from tests.benchmarks.bench.path import _event
from tests.benchmarks.bench.path_cost import features_of


@pytest.mark.parametrize("plan", [FULL, QUICK])
def test_a_plan_spans_what_it_can(plan: Plan) -> None:
    spans = {
        "features": ([features_of(*windows) for windows in plan.features], 8, 256),
        "trees": (plan.trees, 10, 1000),
        "size": (plan.sizes, 240, 10_000),
        "partitions": (plan.partitions, 1, 64),
    }
    for found, least, most in spans.values():
        assert (found[0], found[-1]) == (least, most)
        assert list(found) == sorted(found)
    assert (FULL.users[0], FULL.users[-1]) == (1_000, 1_000_000)
    assert FULL.rounds >= 5


@pytest.mark.parametrize("windows", FULL.features)
def test_features_are_declared_before_anybody_reads_them(windows: tuple[int, int]) -> None:
    program = (
        "from tests.benchmarks.bench.path_cost import declare\n"
        f"declare{windows}\n"
        "from features.fold import _COLUMN\nfrom features.online import NUMBERS\n"
        "print(len(_COLUMN), NUMBERS['counts'].shape[0])"
    )
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    count = features_of(*windows)
    assert told.split() == [str(count), str(count - 2)]


def test_as_many_windows_as_there_are_are_those_that_there_are() -> None:
    assert features_of(len(WINDOWS), len(VISIT_WINDOWS)) == len(FEATURES)
    assert (len(WINDOWS), len(VISIT_WINDOWS)) in FULL.features
    assert len(COUNTED) == 5


@pytest.mark.parametrize("size", FULL.sizes)
def test_an_event_is_good_and_as_large_as_told(size: int) -> None:
    value = _event(7, 1_717_200_000_000, size)
    assert abs(len(value) - size) < 25  # the smallest is as its action's name
    (event,) = of_files().decode([value], np.array([1_717_200_000_000], np.int64))
    assert isinstance(event, UserAction)
    assert event.data.user_id == "user_0000007"


def test_a_made_model_takes_every_feature_and_has_other_scores_for_other_rows() -> None:
    model = trained(10)
    assert model.width == len(FEATURES) + 1
    rows = np.random.default_rng(1).exponential(20, (50, model.width)).astype(np.float32)
    assert len(np.unique(model.score(rows))) > 10


def test_a_measured_ledger_is_merged_and_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "HOUR", 10)
    monkeypatch.setattr(commits, "CYCLE", 8)
    monkeypatch.setattr(ledger, "MERGE_FILES", 8)
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path)})
    settings.lake.folder.mkdir(parents=True)
    book = commits.new_ledger(settings, 0)
    commits.bring_to(book, commits.HOUR)
    cost = commits.cycle(book)
    assert cost.milliseconds > 0
    assert book.count == commits.HOUR + commits.CYCLE
    with open_catalog(settings) as catalog:
        held = load_table(catalog, replace(settings, lake=replace(settings.lake, namespace="growth_0")), RECEIPTS.name)
        assert held.scan().to_arrow().num_rows == 4 * book.count
        assert commits.HOUR <= len(held.snapshots()) <= commits.HOUR + commits.CYCLE
        assert len(list(held.scan().plan_files())) < commits.CYCLE
