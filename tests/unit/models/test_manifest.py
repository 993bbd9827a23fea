from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

from models.manifest import FILE, LARGEST, Manifest, ModelRefused, dump_manifest, list_published, load_manifest, published
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
        (["batch_invariant"], "yes", "Expected `bool`, got `str` - at `batch_invariant`"),
        (["batch_invariant"], False, "`tolerance` must say how far scores may lie apart where `batch_invariant` is false, got none"),
        (["tolerance"], 0.1, "`tolerance` must be left out where `batch_invariant` is true, got 0.1"),
        (["training", "parameters"], {"trees": [1]}, "at `training.parameters"),
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


@pytest.mark.parametrize("tolerance", [0.0, -0.1, 1.0, float("nan"), float("inf")])
def test_a_tolerance_that_allows_nothing_or_everything_is_refused(tmp_path: Path, card: dict[str, Any], tolerance: float) -> None:
    card |= {"batch_invariant": False, "tolerance": tolerance}
    with pytest.raises(ModelRefused, match=r"`tolerance` must lie between 0 and 1, got "):
        load_manifest(written(tmp_path, card))


def test_a_tolerance_and_parameters_are_read_back_and_left_out_where_there_are_none(tmp_path: Path) -> None:
    training = msgspec.structs.replace(a_manifest().training, parameters={"trees": 7, "rate": 0.5, "kind": "forest", "shuffled": True})
    for card in (a_manifest(batch_invariant=False, tolerance=1e-6), a_manifest(training=training)):
        (tmp_path / FILE).write_text(dump_manifest(card), "utf-8")
        assert load_manifest(tmp_path) == card
    assert "tolerance" not in dump_manifest(a_manifest())
    assert "parameters" not in dump_manifest(a_manifest())


def test_scores_agree_to_the_bit_or_within_the_tolerance_and_nan_never_does() -> None:
    a = np.array([0.25, 0.25, 0.0, np.nan, np.nan, 1.0], np.float32)
    b = np.array([0.25, np.nextafter(np.float32(0.25), np.float32(1)), -0.0, np.nan, 0.5, 0.9], np.float32)
    exact, loose = a_manifest(), a_manifest(batch_invariant=False, tolerance=1e-3)
    assert exact.agrees(a, b).tolist() == [True, False, False, False, False, False]
    assert exact.agrees(a, b.astype(np.float64)).tolist() == exact.agrees(a, b).tolist()
    assert loose.agrees(a, b).tolist() == [True, True, True, False, False, False]
    assert not loose.agrees(np.array([np.inf]), np.array([np.inf])).any()


@pytest.mark.parametrize("key", [field.name for field in msgspec.structs.fields(Manifest) if field.required])
def test_a_manifest_without_one_of_its_keys_is_refused(tmp_path: Path, card: dict[str, Any], key: str) -> None:
    del card[key]
    with pytest.raises(ModelRefused, match=f"missing required field `{key}`"):
        load_manifest(written(tmp_path, card))


@pytest.mark.parametrize(
    "content",
    [
        *(b"a: [", b"\xff\xfe", b"- 1", b"", b"a: 2024-99-99", b"a: &a 1\nb: *a", b"[" * 100_000),
        *(b"!!bool x", b"!!float ''", b"!!int ''", b"!!int x", b"!!timestamp x", b"a: !!bool x", b"!!binary x"),
        b"a: 1" + b":59" * 1000 + b".5",  # a number to the base of 60, larger than any float
    ],
)
def test_a_manifest_that_is_no_mapping_in_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ModelRefused, match=r"(?i)expected .* got .*; correct the file"):
        load_manifest(tmp_path)


def test_a_manifest_that_is_too_large_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(ModelRefused, match=r"expected at most 1048576 bytes, got more; correct the file"):
        load_manifest(tmp_path)


def test_a_draft_that_a_killed_process_left_is_no_published_model(tmp_path: Path) -> None:
    a_folder(tmp_path / "buys" / "1")
    for draft in (tmp_path / ".draft-0", tmp_path / "buys" / ".draft-0"):
        a_folder(draft, version="2")
    assert list_published(tmp_path) == ["buys@1"]


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"expected this file, found none; `./streamhouse train` writes one"):
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
