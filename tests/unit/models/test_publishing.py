from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.manifest import ModelRefused, published
from models.publishing import next_version, publish
from models.scorer import load_scorer
from models.training import Trained, train
from tests.unit.models.builders import a_frame


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
