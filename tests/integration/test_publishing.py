"""A model that was made elsewhere is published from the command's own function, with and without tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from infra.config import Settings, load_settings
from infra.errors import StreamhouseError
from jobs.cli import app
from jobs.publish_model import check_sources, main, publish_and_tell
from jobs.train_model import read_frame
from models import golden, publishing
from models.golden import Golden
from models.manifest import ModelInput, ModelRefused, published
from models.scorer import load_scorer
from models.trial import Limits, record_scores
from tests.integration.test_training import fill
from tests.integration.test_training import settings as settings  # a lake of its own
from tests.unit.models.builders import a_folder, a_manifest


def made(folder: Path, **changes: Any) -> Path:
    """Made elsewhere: a model and its manifest, no golden rows."""
    (a_folder(folder, **changes) / golden.FILE).unlink()
    return folder


def rows(root: Path, model: str) -> Golden:
    return msgspec.json.decode((published(root, model) / golden.FILE).read_bytes(), type=Golden)


def test_golden_rows_are_recorded_on_actions_of_the_tables(settings: Settings, tmp_path: Path) -> None:
    fill(settings)
    folder = made(tmp_path / "made")
    outcome = main(settings, folder, tmp_path / "published")
    assert (outcome.manifest.id, outcome.new, outcome.golden) == ("buys@1", True, "recorded on actions of the tables")
    recorded = rows(tmp_path / "published", "buys@1")
    frame, _ = read_frame(settings)
    assert set(recorded.columns) == {"user_activity:actions_10m", "action:action"}
    assert recorded.columns["user_activity:actions_10m"][0] == frame.columns["user_activity:actions_10m"][0]
    assert recorded.columns["action:action"][-1] == frame.columns["action:action"][-1]
    assert len(recorded.scores) == 16
    assert set(recorded.columns["action:action"]) > {"home", "search", "cart"}
    load_scorer(published(tmp_path / "published", "buys@1"))

    main(settings, folder, tmp_path / "again")
    assert rows(tmp_path / "again", "buys@1") == recorded


def test_the_same_again_changes_nothing_also_when_the_tables_have_grown(settings: Settings, tmp_path: Path) -> None:
    folder, root = made(tmp_path / "made"), tmp_path / "published"
    main(settings, folder, root)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}
    fill(settings)
    told = publish_and_tell(settings, folder, root)
    assert told[0] == "buys@1 is published already with the same content; nothing was changed"
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()} == before


def test_without_tables_golden_rows_are_drawn_from_a_seed(tmp_path: Path) -> None:
    nothing = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state")})
    told = publish_and_tell(nothing, made(tmp_path / "made"), tmp_path / "published")
    assert told[0] == "published buys@1"
    assert told[1].startswith("golden rows: recorded on rows drawn from a seed, as the tables give none (")
    assert told[2] == "score with it: STREAMHOUSE_SCORE_EVENTS_MODEL=buys@1 ./streamhouse submit score_events"
    assert len(rows(tmp_path / "published", "buys@1").scores) == 16
    load_scorer(published(tmp_path / "published", "buys@1"))


def test_golden_rows_that_the_folder_brings_are_checked_and_kept(settings: Settings, tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "made")
    assert main(settings, folder, tmp_path / "published").golden == "as the folder brought them"
    brought = msgspec.json.decode((folder / golden.FILE).read_bytes(), type=Golden)
    assert rows(tmp_path / "published", "buys@1") == brought
    changed = msgspec.structs.replace(brought, scores=[*brought.scores[:-1], 0.5])
    (a_folder(tmp_path / "next", version="2") / golden.FILE).write_bytes(msgspec.json.encode(changed))
    with pytest.raises(ModelRefused, match=r"model `buys@2`: golden row 2 must score 0\.5, got 0\.\d+"):
        main(settings, tmp_path / "next", tmp_path / "published")


def test_another_model_of_a_published_version_is_told_the_next_free_one(settings: Settings, tmp_path: Path) -> None:
    main(settings, made(tmp_path / "made"), tmp_path / "published")
    with pytest.raises(ModelRefused, match="a published version never changes; publish it as version 2"):
        main(settings, made(tmp_path / "other", threshold=0.7), tmp_path / "published")


def test_who_was_second_to_publish_the_same_is_told_that_it_is_there(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, root = made(tmp_path / "made"), tmp_path / "published"

    def record_while_another_publishes(draft: Path, limits: Limits) -> list[float]:
        monkeypatch.setattr(publishing, "record_scores", record_scores)
        main(settings, folder, root)
        return record_scores(draft, limits)

    monkeypatch.setattr(publishing, "record_scores", record_while_another_publishes)
    outcome = main(settings, folder, root)
    assert (outcome.new, outcome.golden) == (False, "as they were")
    load_scorer(published(root, "buys@1"))


def test_a_refused_model_of_a_new_name_leaves_the_registry_as_it_was(tmp_path: Path) -> None:
    nothing, root = load_settings({"STREAMHOUSE_STATE": str(tmp_path / "state")}), tmp_path / "published"
    root.mkdir()
    folder = made(tmp_path / "made", inputs=a_manifest().inputs[:1])
    with pytest.raises(ModelRefused, match="must have one input"):
        main(nothing, folder, root)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (
            ModelInput(name="weight", source="user_activity:weight", dtype="float32", default=0.0),
            "input `weight` must come from what each action is scored with, got `user_activity:weight`; take one of action:action,",
        ),
        (
            ModelInput(name="cohort", source="user_profile:cohort", dtype="float32", default=0.0),
            "input `cohort` must have a `vocabulary`, for it is a text, got none",
        ),
        (
            ModelInput(name="visits_7d", source="user_activity:visits_7d", dtype="float32", default=0.0, vocabulary=("1",)),
            "input `visits_7d` must have no `vocabulary`, for it is a number, got one",
        ),
    ],
)
def test_a_model_that_asks_for_what_no_action_brings_is_refused(wanted: ModelInput, sentence: str) -> None:
    with pytest.raises(ModelRefused) as refusal:
        check_sources(a_manifest(inputs=(wanted,)))
    assert str(refusal.value).startswith(f"model `buys@1`: {sentence}")


def test_on_the_command_line_a_folder_without_a_manifest_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StreamhouseError, match=r"manifest `.*manifest.yaml`: expected this file, found none; `./streamhouse train` writes"):
        CliRunner().invoke(app, ["publish", str(tmp_path)], catch_exceptions=False)
