"""The training job on a real Iceberg lake: what it reads is named in what it publishes."""

from __future__ import annotations

import dataclasses
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from features.activity import FEATURES
from infra.config import Settings, load_settings
from infra.contracts.load import load_contracts
from jobs.train_model import TablesDisagree, cli, main, report, train_and_tell
from lakehouse.append import append
from lakehouse.archives import of_actions
from lakehouse.errors import LakehouseError
from lakehouse.migrate import apply
from lakehouse.read import read, snapshot
from lakehouse.table import FIELDS
from lakehouse.tables import TABLES, USER_ACTIONS
from models.manifest import ModelRefused, published
from models.scorer import load_scorer
from models.training import Recipe
from tests.evolved import action, with_version

DAYS, ROWS, USERS = 60, 4000, 40
USER_ACTIONS_HERE = (("topic_partition", "identity"),)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A lake of its own, with empty tables."""
    own = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state")})
    # Flink writes the archive; PyIceberg knows neither partitions by day nor the options of Flink's Parquet writer
    properties = MappingProxyType({FIELDS: USER_ACTIONS.properties[FIELDS]})
    actions = dataclasses.replace(USER_ACTIONS, partition=USER_ACTIONS_HERE, properties=properties)
    apply(own, {**TABLES, "user_actions": actions})
    return own


def fill(settings: Settings, seed: int = 0) -> None:
    """Users who put things into the cart and often buy ten minutes later."""
    random = np.random.default_rng(seed)
    minute = np.sort(random.integers(0, DAYS * 1440, ROWS))
    user = random.integers(0, USERS, ROWS)
    word = random.choice(["home", "search", "cart"], ROWS)
    buys = np.flatnonzero((word == "cart") & (random.random(ROWS) < 0.6))
    minute, user, word = (
        np.r_[minute, minute[buys] + 10],
        np.r_[user, user[buys]],
        np.r_[word, ["purchase"] * len(buys)],
    )
    n = len(minute)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    time = pa.array([start + timedelta(minutes=int(m)) for m in minute], pa.timestamp("us", "UTC"))
    names = pa.array([f"user_{u}" for u in user])
    place = {"topic_partition": pa.array(user % 4, pa.int32()), "topic_offset": pa.array(range(n), pa.int64())}
    features = {f: pa.array(random.poisson(2, n), pa.float64() if f.startswith("seconds") else pa.int64()) for f in FEATURES}
    late = pa.array([False] * n)
    append(
        settings,
        "feature_log",
        pa.table({**place, "user_id": names, "event_time": time, "late": late, **features}),
        f"log-{seed}",
    )
    text = pa.array(word.tolist())
    values = [action(i, user=f"user_{u}", action=w, platform=w, lifecycle=w) for i, (u, w) in enumerate(zip(user, word, strict=True))]
    required = {
        "kafka_time": time,
        "value": pa.array(values),
        "event_type": pa.array(["UserAction"] * n),
        "event_version": pa.array([1] * n, pa.int32()),
        "event_time": time,
        "user_id": names,
        "action": text,
        "platform": text,
        "lifecycle": text,
    }
    append(settings, "user_actions", pa.table({**place, **required}), f"actions-{seed}")
    everyone = pa.array([f"user_{u}" for u in range(USERS)])
    known = pa.array([start] * USERS, pa.timestamp("us", "UTC"))
    profiles = {"user_id": everyone, "channel": everyone, "cohort": everyone, "known_from": known, "created": known}
    append(settings, "user_profiles", pa.table(profiles), f"profiles-{seed}")


def test_the_job_publishes_a_model_that_names_the_snapshots_it_read(settings: Settings, tmp_path: Path) -> None:
    fill(settings)
    card = main(settings, "buys", root=tmp_path / "published")
    assert card.id == "buys@1"
    assert card.training.snapshot_ids == {t: snapshot(settings, t) for t in ("feature_log", "user_actions", "user_profiles")}
    assert card.metrics.model.auc > 0.7
    assert load_scorer(published(tmp_path / "published", "buys@1")).manifest == card


def test_training_again_on_the_same_tables_gives_the_same_model_as_the_next_version(settings: Settings, tmp_path: Path) -> None:
    fill(settings)
    first, second = (main(settings, "buys", root=tmp_path / "published") for _ in range(2))
    assert second.id == "buys@2"
    assert second.sha256 == first.sha256
    assert main(settings, "buys", "1", tmp_path / "published") == first


def test_a_version_that_exists_is_not_replaced_by_a_model_of_other_rows(settings: Settings, tmp_path: Path) -> None:
    fill(settings)
    main(settings, "buys", "1", tmp_path / "published")
    append(settings, "user_profiles", pa.table({"user_id": pa.array(["new"])}), "later")
    with pytest.raises(ModelRefused, match="publish it as version 2"):
        main(settings, "buys", "1", tmp_path / "published")


def test_empty_tables_are_refused_with_what_to_do(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(TablesDisagree, match=r"feature_log \(0 rows\) .*; run jobs/rebuild_features.py first"):
        main(settings, "buys", root=tmp_path / "published")


def test_on_the_command_line_a_refusal_is_a_sentence_and_no_stack(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMHOUSE_STATE", str(settings.state))
    app = typer.Typer()
    app.command()(cli)
    result = CliRunner().invoke(app, ["--name", "buys"])
    assert result.exit_code == 1
    assert " ".join(result.output.split()).endswith("run jobs/rebuild_features.py first")


def test_it_tells_of_actions_that_have_no_features_yet(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(settings)
    train_and_tell(settings, "buys", root=tmp_path / "published")
    assert "feature_log lacks" not in capsys.readouterr().out
    time = pa.array([datetime(2024, 3, 1, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    place = {"topic_partition": pa.array([0], pa.int32()), "topic_offset": pa.array([10_000_000], pa.int64())}
    text = pa.array(["home"])
    append(settings, "user_actions", pa.table({**place, "event_time": time, "user_id": text, "action": text}), "more")
    train_and_tell(settings, "buys", root=tmp_path / "published")
    assert "lacks the last 9,995,215 offsets of user_actions; `./streamhouse rebuild` adds the actions among them" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_field_that_a_newer_version_renamed_is_found_under_its_new_name(settings: Settings, tmp_path: Path) -> None:
    fill(settings)
    first = main(settings, "buys", root=tmp_path / "published")
    renamed = of_actions(with_version(load_contracts(), {"platform": "device"}, {}, {}))
    actions = dataclasses.replace(renamed, partition=USER_ACTIONS_HERE, properties=MappingProxyType({FIELDS: renamed.properties[FIELDS]}))
    assert [change.detail for change in apply(settings, {**TABLES, "user_actions": actions}) if change.action == "update"]
    with pytest.raises(LakehouseError, match="got 'platform'"):
        read(settings, "user_actions", ["platform"])
    second = main(settings, "buys", root=tmp_path / "published")
    assert (second.id, second.sha256) == ("buys@2", first.sha256)


def test_it_tells_what_was_published_and_how_to_score_with_it(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(settings)
    train_and_tell(settings, "buys", root=tmp_path / "published")
    told = capsys.readouterr().out
    assert "published buys@1, decision at" in told
    assert "STREAMHOUSE_SCORE_EVENTS_MODEL=buys@1 ./streamhouse submit score_events" in told


def test_the_report_shows_the_model_beside_its_baseline(settings: Settings, tmp_path: Path) -> None:
    fill(settings)
    card = main(settings, "buys", root=tmp_path / "published")
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(report(card))
    text = console.export_text()
    for scores in (card.metrics.model, card.metrics.baseline):
        assert f"{scores.auc:.4f}" in text
    assert "baseline: conversion rate of the current action" in text


def test_another_recipe_makes_a_second_model_beside_the_first(settings: Settings, tmp_path: Path) -> None:
    fill(settings)
    root = tmp_path / "published"
    first, second = main(settings, "buys", root=root), main(settings, "buys", root=root, recipe=Recipe(trees=30, leaves=5))
    assert (first.id, second.id) == ("buys@1", "buys@2")
    assert first.sha256 != second.sha256
    assert second.training.parameters == {"trees": 30, "leaves": 5, "learning_rate": 0.05}
    assert load_scorer(published(root, "buys@2")).manifest == second
