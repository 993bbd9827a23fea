from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from models.manifest import FILE, ModelRefused, dump_manifest, list_published, load_manifest, published
from tests.unit.models.builders import a_folder, a_manifest


def written(folder: Path, content: dict[str, Any]) -> Path:
    (folder / FILE).write_text(yaml.safe_dump(content), "utf-8")
    return folder


@pytest.fixture
def card() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(dump_manifest(a_manifest()))
    return content


def test_what_is_written_is_read_back_equal(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(dump_manifest(a_manifest()), "utf-8")
    assert load_manifest(tmp_path) == a_manifest()


def test_words_that_yaml_takes_for_something_else_stay_words(tmp_path: Path) -> None:
    words = ("no", "null", "2024-01-01", "1", "~", "a: b")
    inputs = (
        a_manifest().inputs[0],
        *(column.__class__(**{**_fields(column), "vocabulary": words}) for column in a_manifest().inputs[1:]),
    )
    (tmp_path / FILE).write_text(dump_manifest(a_manifest(inputs=inputs)), "utf-8")
    assert load_manifest(tmp_path).inputs[1].vocabulary == words


def _fields(column: Any) -> dict[str, Any]:
    return {name: getattr(column, name) for name in column.__struct_fields__}


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (["surprise"], 1, "unknown field `surprise`"),
        (["inputs", 0, "unit"], "s", "unknown field `unit`"),
        (["metrics", "f1"], 1.0, "unknown field `f1`"),
        (["threshold"], "0.5", "Expected `float`, got `str` - at `threshold`"),
        (["threshold"], 1.5, "`threshold` must lie between 0 and 1, got 1.5"),
        (["threshold"], float("nan"), "`threshold` must lie between 0 and 1, got nan"),
        (["version"], 1, "Expected `str`, got `int` - at `version`"),
        (["version"], "01", "at `version`"),
        (["name"], "../x", "at `name`"),
        (["file"], "../other.onnx", "at `file`"),
        (["sha256"], "ab", "at `sha256`"),
        (["batch_invariant"], False, "at `batch_invariant`"),
        (["opset"], {"com.vendor": 1}, "Invalid enum value 'com.vendor'"),
        (["inputs"], [], "expected at least one input, got none"),
        (["inputs", 0, "dtype"], "float64", "Invalid enum value 'float64'"),
        (["inputs", 0, "source"], "elsewhere:x", "at `inputs[0].source`"),
        (["inputs", 0, "default"], float("inf"), "input `actions_10m`: `default` must be a finite number, got inf"),
        (["inputs", 0, "name"], "action", "input `action` stands there twice"),
        (["inputs", 1, "vocabulary"], ["cart", "cart"], "input `action`: `vocabulary` must name each category once"),
        (["inputs", 1, "vocabulary"], [], "input `action`: `vocabulary` must name each category once"),
        (["output", "shape"], ["n", "n"], "`output.shape` must be [n] or [n, 1], got ['n', 'n']"),
        (["training", "rows"], {"train": 1}, "`training.rows` must name train, validation and test"),
        (["training", "snapshot_ids"], {"user_actions": "1"}, "Expected `int`, got `str`"),
    ],
)
def test_a_manifest_with_a_wrong_value_is_refused(
    tmp_path: Path, card: dict[str, Any], path: list[Any], value: object, sentence: str
) -> None:
    place: Any = card
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ModelRefused) as refusal:
        load_manifest(written(tmp_path, card))
    assert sentence in str(refusal.value)
    assert str(tmp_path / FILE) in str(refusal.value)
    assert "; correct the file or train the model again" in str(refusal.value)


@pytest.mark.parametrize("key", list(a_manifest().__struct_fields__))
def test_a_manifest_without_one_of_its_keys_is_refused(tmp_path: Path, card: dict[str, Any], key: str) -> None:
    del card[key]
    with pytest.raises(ModelRefused, match=f"missing required field `{key}`"):
        load_manifest(written(tmp_path, card))


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe", b"- 1", b""])
def test_a_manifest_that_is_no_mapping_in_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ModelRefused, match=r"(?i)expected .* got .*; correct the file"):
        load_manifest(tmp_path)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"expected this file, found none; `python -m jobs.train_model` writes one"):
        load_manifest(tmp_path)


def test_a_published_model_is_found_by_name_and_version(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "buys" / "1")
    assert published(tmp_path, "buys@1") == folder


def test_versions_are_listed_by_number_and_not_by_letter(tmp_path: Path) -> None:
    for version in ("10", "9", "1"):
        a_folder(tmp_path / "buys" / version, version=version)
    assert list_published(tmp_path) == ["buys@1", "buys@9", "buys@10"]


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("buys@2", "model `buys@2`: there is none of that name and version in"),
        ("other@1", "model `other@1`: there is none of that name and version in"),
        ("buys", "model `buys`: expected `name@version`"),
        ("../buys@1", "model `../buys@1`: expected `name@version`"),
    ],
)
def test_a_model_that_is_not_published_is_refused_with_those_that_are(tmp_path: Path, model: str, sentence: str) -> None:
    a_folder(tmp_path / "buys" / "1")
    with pytest.raises(ModelRefused) as refusal:
        published(tmp_path, model)
    assert str(refusal.value).startswith(sentence)
    assert str(refusal.value).endswith("; published are: `buys@1`")


def test_an_empty_root_says_that_nothing_is_published(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="published are: none"):
        published(tmp_path / "nowhere", "buys@1")


def test_a_folder_that_holds_another_model_is_refused(tmp_path: Path) -> None:
    a_folder(tmp_path / "buys" / "2", version="1")
    with pytest.raises(ModelRefused, match="the manifest in its folder is that of `buys@1`"):
        published(tmp_path, "buys@2")
