from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models import golden, manifest
from models.golden import Golden
from models.manifest import ModelRefused, published
from models.publishing import Trained, is_published, next_version, publish, read_folder
from models.scorer import load_scorer
from models.training import train
from models.trial import Limits
from tests.unit.models.builders import a_folder, a_frame, a_manifest


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(a_frame(), "buys", "1", {})


def test_a_published_model_loads_and_scores(tmp_path: Path, trained: Trained) -> None:
    publish(tmp_path, trained)
    scorer = load_scorer(published(tmp_path, "buys@1"))
    assert scorer.manifest == trained.manifest
    assert scorer.score(np.zeros((2, 3), np.float32)).shape == (2,)


def test_the_same_again_changes_nothing(tmp_path: Path, trained: Trained) -> None:
    folder = publish(tmp_path, trained)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert publish(tmp_path, trained) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_published_version_is_not_overwritten(tmp_path: Path, trained: Trained) -> None:
    folder = publish(tmp_path, trained)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = msgspec.structs.replace(trained.manifest, threshold=0.9)
    with pytest.raises(
        ModelRefused,
        match=r"holds another model already, and a published version never changes; publish it as version 2",
    ):
        publish(tmp_path, Trained(other, trained.onnx, trained.golden))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_model_that_does_not_load_leaves_nothing_behind(tmp_path: Path, trained: Trained) -> None:
    with pytest.raises(ModelRefused, match="must have sha256"):
        publish(tmp_path, Trained(trained.manifest, trained.onnx + b"\x00", trained.golden))
    assert list((tmp_path / "buys").iterdir()) == []


def test_the_next_version_is_one_more_than_the_highest(tmp_path: Path, trained: Trained) -> None:
    assert next_version(tmp_path, "buys") == "1"
    for version in ("9", "10"):
        publish(tmp_path, Trained(msgspec.structs.replace(trained.manifest, version=version), trained.onnx, trained.golden))
    assert next_version(tmp_path, "buys") == "11"
    assert next_version(tmp_path, "other") == "1"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_made_elsewhere_is_published_with_its_own_golden_rows(tmp_path: Path) -> None:
    made = a_folder(tmp_path / "made")
    (made / "notes.txt").write_text("stays where it is", "utf-8")
    folder = publish(tmp_path / "published", read_folder(made))
    assert sorted(contents(folder)) == ["golden.json", "manifest.yaml", "model.onnx"]
    assert msgspec.json.decode((folder / golden.FILE).read_bytes()) == msgspec.json.decode((made / golden.FILE).read_bytes())
    assert folder.stat().st_mode & 0o777 == 0o755


def test_golden_rows_without_scores_are_scored_when_it_is_published(tmp_path: Path) -> None:
    made = a_folder(tmp_path / "made")
    expected = json.loads((made / golden.FILE).read_bytes())
    (made / golden.FILE).unlink()
    model = read_folder(made)
    assert model.golden == Golden({}, [])
    folder = publish(tmp_path / "published", replace(model, golden=Golden(expected["columns"], [])))
    assert json.loads((folder / golden.FILE).read_bytes()) == expected
    before = contents(tmp_path / "published")
    assert is_published(tmp_path / "published", model)
    assert publish(tmp_path / "published", model) == folder
    assert contents(tmp_path / "published") == before


@pytest.mark.parametrize(
    "columns", [{}, {"user_activity:actions_10m": [1.0]}, {"user_activity:actions_10m": ["x"], "action:action": ["cart"]}]
)
def test_rows_that_do_not_fit_the_model_cannot_become_golden(tmp_path: Path, columns: dict[str, list[float | str | None]]) -> None:
    model = replace(read_folder(a_folder(tmp_path / "made")), golden=Golden(columns, []))
    with pytest.raises(ModelRefused, match=r"golden.json does not fit the manifest"):
        publish(tmp_path / "published", model)
    assert contents(tmp_path / "published") == {}


def test_golden_rows_without_scores_are_not_taken_from_a_folder(tmp_path: Path) -> None:
    made = a_folder(tmp_path / "made")
    (made / golden.FILE).write_bytes(b'{"columns": {}, "scores": []}')
    with pytest.raises(ModelRefused, match=r"golden.json holds no scores; remove it, and golden rows are recorded"):
        read_folder(made)


def test_golden_rows_that_are_too_many_are_not_read_on(tmp_path: Path) -> None:
    made = a_folder(tmp_path / "made")
    with (made / golden.FILE).open("r+b") as file:
        file.truncate(golden.LARGEST + 1)
    with pytest.raises(ModelRefused, match=r"golden.json is larger than 16777216 bytes; bring fewer golden rows"):
        read_folder(made)


def test_a_refused_model_leaves_all_that_is_published_byte_identical(tmp_path: Path) -> None:
    root = tmp_path / "published"
    publish(root, read_folder(a_folder(tmp_path / "made")))
    before = contents(root)
    for limits, inputs in ((Limits(seconds=0.01), a_manifest().inputs), (Limits(), a_manifest().inputs[::-1])):
        with pytest.raises(ModelRefused):
            publish(root, read_folder(a_folder(tmp_path / "next", version="2", inputs=inputs)), limits)
        assert contents(root) == before
        assert sorted(path.name for path in (root / "buys").iterdir()) == ["1"]


def test_the_same_again_is_refused_where_what_is_published_was_damaged(tmp_path: Path) -> None:
    root, made = tmp_path / "published", a_folder(tmp_path / "made")
    folder = publish(root, read_folder(made))
    (made / golden.FILE).unlink()
    (folder / golden.FILE).write_bytes(b"{")
    with pytest.raises(ModelRefused, match=r"golden.json is not readable"):
        publish(root, read_folder(made))


def test_a_version_that_another_process_publishes_meanwhile_is_left_alone(tmp_path: Path, trained: Trained) -> None:
    from models import publishing

    folder, draft = tmp_path / "buys" / "1", tmp_path / "buys" / ".draft-1"
    for place in (folder, draft):
        place.mkdir(parents=True)
        (place / manifest.FILE).write_text(place.name, "utf-8")
    with pytest.raises(ModelRefused, match=r"was published by someone else at the same time; publish it again"):
        publishing._rename(draft, folder, trained.manifest)
    assert (folder / manifest.FILE).read_text("utf-8") == "1"


def test_a_place_that_is_taken_by_something_else_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "published"
    (root / "buys").mkdir(parents=True)
    (root / "buys" / "1").symlink_to("nowhere")
    with pytest.raises(ModelRefused, match=r"holds another model already"):
        publish(root, read_folder(a_folder(tmp_path / "made")))
