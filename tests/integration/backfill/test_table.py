"""The table of a model version beside everything else that reads or checks tables, and the command that fills it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from infra.config import ROOT, Settings
from infra.contracts.change import Change
from jobs.audit.run import audit
from jobs.backfill.command import COULD_NOT, DONE, main
from jobs.backfill.run import backfill
from jobs.published_models import published_model
from lakehouse import migrate
from lakehouse.errors import LakehouseError
from lakehouse.query import query
from lakehouse.read import read, snapshot
from lakehouse.tables import TABLES
from tests.audited import Archive, Scorer, Writer, audited_anew
from tests.integration.backfill.logs import CHAMPION, TABLE, champion, ends_of_topics, forget, send, some_actions, table_rows
from tests.lake import rewrite_records
from tests.unit.models.builders import a_folder

SERVED = ("action_partition", "action_offset", "action_id", "user_id", "event_time", "score", "decision", "features", "flags")


@pytest.fixture(scope="module")
def served(broker: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Actions that were served, and all archived; the scorer knew no profiles, and the table of them is empty."""
    settings = audited_anew(broker, tmp_path_factory.mktemp("served") / "state")
    send(Writer(settings, "shop"), some_actions(400))
    Scorer(settings).answer()
    Archive(settings).follow_all()
    return settings


@pytest.fixture
def settings(served: Settings) -> Settings:
    """The same without scores."""
    for name in (TABLE, "scores_buys_v1"):
        forget(served, name)
    return served


def test_the_served_models_rows_are_the_predictions_that_were_published(settings: Settings) -> None:
    backfill(settings, champion(settings), "backfill-test")
    order = [("topic_partition", "ascending"), ("topic_offset", "ascending")]
    filled = read(settings, TABLE).sort_by(order)
    predictions = read(settings, "predictions", SERVED).select(SERVED).rename_columns(filled.column_names).sort_by(order)
    assert len(filled) == len(predictions) == 392
    assert filled.equals(predictions.cast(filled.schema))


def test_files_that_are_rewritten_change_nothing(settings: Settings) -> None:
    backfill(settings, champion(settings), "backfill-test", rows=50)
    before = table_rows(settings)
    forget(settings)
    rewrite_records(settings, "user_actions")
    backfill(settings, champion(settings), "backfill-test", rows=50)
    assert table_rows(settings) == before
    rewrite_records(settings, TABLE)
    assert backfill(settings, champion(settings), "backfill-test").snapshots == 0
    assert table_rows(settings) == before


def test_it_is_described_queried_kept_by_apply_and_no_matter_of_the_audit(settings: Settings) -> None:
    backfill(settings, champion(settings), "backfill-test")
    assert query(settings, "SHOW TABLES")["name"].to_pylist() == sorted([*TABLES, TABLE])
    described = query(settings, f"DESCRIBE {TABLE}")
    assert described["column_name"].to_pylist()[:3] == ["topic_partition", "topic_offset", "event_id"]
    sql = f"SELECT count(*) AS n, max(abs(s.score - p.score)) AS apart FROM {TABLE} s JOIN predictions p ON p.action_id = s.event_id"
    assert query(settings, sql).to_pylist() == [{"n": 392, "apart": 0.0}]
    assert migrate.apply(settings) == [Change("table", name, "keep") for name in TABLES]
    report = audit(settings, settled=True)
    assert dict(report.findings.counts) == {}
    assert report.counts.predictions == 392


def test_another_file_of_the_same_version_is_refused(settings: Settings) -> None:
    model = champion(settings)
    backfill(settings, model, "backfill-test")
    before = snapshot(settings, TABLE)
    with pytest.raises(LakehouseError, match=f"expected scores of the model with sha256 {'0' * 64}, got those of {model.sha256}"):
        backfill(settings, replace(model, sha256="0" * 64), "backfill-test")
    assert snapshot(settings, TABLE) == before


def test_each_model_has_a_table_of_its_own(settings: Settings, tmp_path: Path) -> None:
    a_folder(tmp_path / "buys" / "1")
    other = published_model(tmp_path, "buys@1")
    assert backfill(settings, champion(settings), "backfill-test").table == TABLE
    outcome = backfill(settings, other, "backfill-test")
    assert (outcome.table, outcome.rows) == ("scores_buys_v1", 392)
    assert {len(features) for features in read(settings, "scores_buys_v1")["features"].to_pylist()} == {2}
    ours, theirs = table_rows(settings), table_rows(settings, "scores_buys_v1")
    assert ours.keys() == theirs.keys()
    at = champion(settings).sources.index("user_activity:actions_10m")
    assert [row[2][at] for row in ours.values()] == [theirs[place][2][0] for place in ours]


def test_a_score_that_is_no_number_has_no_row_as_it_has_no_prediction(settings: Settings) -> None:
    model = champion(settings)

    def score(x: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = model.score(x).copy()
        scores[x[:, 0] > 1] = float("nan")
        return scores

    outcome = backfill(settings, replace(model, name="holes", score=score), "backfill-test")
    first = pc.list_element(read(settings, "scores_holes_v1")["features"], 0).to_pylist()
    assert max(first) <= 1
    assert outcome.rows + outcome.not_finite == 392
    assert 0 < outcome.not_finite < 392
    forget(settings, "scores_holes_v1")


def test_the_command_tells_what_it_did_in_words_and_for_programs(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    topics = ends_of_topics(settings)
    assert main(settings, CHAMPION, rows=100, as_json=True, own_name="backfill-test") == DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["table"], told["rows"], told["refused"], told["snapshots"]) == (TABLE, 392, 8, 4)
    assert all(part["seam"] <= part["filled"] <= part["end"] for part in told["partitions"].values())
    assert main(settings, CHAMPION, rows=100, as_json=False, own_name="backfill-test") == DONE
    assert capsys.readouterr().out == f"nothing is new: {TABLE} holds what {CHAMPION} gives for every accepted action of user-actions\n"
    assert main(settings, "purchase_30m@99", rows=100, as_json=False, own_name="backfill-test") == COULD_NOT
    assert "error: model `purchase_30m@99`" in capsys.readouterr().err
    assert ends_of_topics(settings) == topics


def test_on_the_command_line(settings: Settings) -> None:
    command = [sys.executable, "-m", "jobs.cli", "backfill", "--model", CHAMPION]
    done = subprocess.run(command, cwd=ROOT, env=settings.environment, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, f"392 rows of {CHAMPION} are added to {TABLE}, snapshots: 1"), done.stderr
    nothing = {**settings.environment, "STREAMHOUSE_STATE": str(settings.state / "nothing")}
    done = subprocess.run(command, cwd=ROOT, env=nothing, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: table `user_actions`: expected it in")
