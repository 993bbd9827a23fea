from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import msgspec
import numpy as np
import pytest

from infra.config import ROOT
from models import golden, manifest, publishing
from models.golden import Golden
from models.manifest import ModelRefused, load_manifest, published
from models.publishing import Trained, is_published, next_version, publish, publish_new, read_folder
from models.scorer import load_scorer
from models.training import train
from models.trial import Limits, try_model
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
    assert list(tmp_path.iterdir()) == []


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
    assert list((tmp_path / "published").iterdir()) == []


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


def while_it_is_tried(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """Let something happen once the next draft has stood its trial, and before it is brought to its place."""

    def tried(folder: Path, limits: Limits) -> None:
        try_model(folder, limits)
        monkeypatch.setattr(publishing, "try_model", try_model)
        meanwhile()

    monkeypatch.setattr(publishing, "try_model", tried)


def test_another_model_that_is_published_meanwhile_is_left_alone(tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Trained(msgspec.structs.replace(trained.manifest, threshold=0.9), trained.onnx, trained.golden)
    while_it_is_tried(monkeypatch, lambda: publish(tmp_path, other))
    with pytest.raises(ModelRefused, match=r"holds another model already, and a published version never changes; publish it as version 2"):
        publish(tmp_path, trained)
    assert load_manifest(tmp_path / "buys" / "1") == other.manifest
    assert [path.name for path in (tmp_path / "buys").iterdir()] == ["1"]


def test_the_same_model_that_is_published_meanwhile_is_no_error_also_with_other_golden_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read_folder(a_folder(tmp_path / "made"))
    unscored = replace(model, golden=Golden({name: column[1:] for name, column in model.golden.columns.items()}, []))
    while_it_is_tried(monkeypatch, lambda: publish(tmp_path / "root", model))
    assert not publish_new(tmp_path / "root", unscored)
    assert json.loads((tmp_path / "root" / "buys" / "1" / golden.FILE).read_bytes())["scores"] == model.golden.scores
    assert [path.name for path in (tmp_path / "root" / "buys").iterdir()] == ["1"]


def test_of_many_that_publish_the_same_at_once_one_writes_it(tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    all_tried = Barrier(3)

    def tried(folder: Path, limits: Limits) -> None:
        try_model(folder, limits)
        all_tried.wait(60)

    monkeypatch.setattr(publishing, "try_model", tried)
    with ThreadPoolExecutor(3) as rivals:
        wrote = list(rivals.map(lambda _: publish_new(tmp_path, trained), range(3)))
    assert sorted(wrote) == [False, False, True]
    assert [path.name for path in (tmp_path / "buys").iterdir()] == ["1"]
    load_scorer(published(tmp_path, "buys@1"))


def test_drafts_that_are_made_and_cleared_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    def write(_: int) -> None:
        with publishing._draft(tmp_path) as draft:
            (draft / manifest.FILE).write_text("x", "utf-8")
            publishing._clear(tmp_path, "buys")
            assert (draft / manifest.FILE).read_text("utf-8") == "x"

    with ThreadPoolExecutor(8) as rivals:
        list(rivals.map(write, range(400)))
    assert list(tmp_path.iterdir()) == []


def test_a_draft_is_cleared_once_its_writer_was_killed_and_not_before(tmp_path: Path, trained: Trained) -> None:
    program = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from models.publishing import _draft
with _draft(Path({str(tmp_path)!r})) as draft:
    (draft / "manifest.yaml").write_text("half a")
    print(draft.name, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        draft = tmp_path / writer.stdout.readline().strip()
        try:
            publish(tmp_path, trained)
            assert (draft / manifest.FILE).read_text("utf-8") == "half a"
        finally:
            writer.kill()
    assert draft.is_dir()
    (tmp_path / "buys" / ".draft-old").mkdir()
    publish(tmp_path, trained)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.glob("**/")] == [".", "buys", "buys/1"]


def test_a_place_that_is_taken_by_something_else_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "published"
    (root / "buys").mkdir(parents=True)
    (root / "buys" / "1").symlink_to("nowhere")
    with pytest.raises(ModelRefused, match=r"holds another model already"):
        publish(root, read_folder(a_folder(tmp_path / "made")))
