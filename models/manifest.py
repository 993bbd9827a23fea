"""A model's card: what it eats, in which order, what it answers, how it was made and how good it was.

`manifest.yaml` beside the model file is read strictly: a misspelt key is a refusal, never a silent default.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml

from infra.errors import StreamhouseError

PUBLISHED = Path(__file__).resolve().parent / "published"
FILE = "manifest.yaml"

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]
Version = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,8}\Z")]
Domain = Literal["ai.onnx", "ai.onnx.ml"]
Period = Literal["train", "validation", "test"]
Sentence = Annotated[str, msgspec.Meta(min_length=1)]


class ModelRefused(StreamhouseError):
    """A model that must not be used as it lies there: which one, why, and what to do."""

    def __init__(self, thing: str, fault: str, remedy: str) -> None:
        super().__init__(f"{thing}: {fault}; {remedy}")


class ModelInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One column of the tensor. `source` is `view:field`.

    A number goes in as it is; a category as its place in `vocabulary`, counted from 0. `default` stands for null and,
    with a vocabulary, for any category that is not in it.
    """

    name: Name
    source: Annotated[str, msgspec.Meta(pattern=r"^(action|user_activity|user_profile):[a-z][a-z0-9_]*\Z")]
    dtype: Literal["float32"]
    default: float
    vocabulary: tuple[str, ...] | None = None


class ModelOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The tensor that is fetched. `shape` is `[n]` or `[n, 1]`."""

    name: Name
    shape: Annotated[tuple[Literal["n", 1], ...], msgspec.Meta(min_length=1, max_length=2)]
    dtype: Literal["float32"]
    meaning: Sentence


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What made it: the Iceberg snapshot of each table, the label, first and last action of each period, and rows.

    `threshold` says how it was chosen; `largest_difference` is that between the score and LightGBM's probability.
    """

    snapshot_ids: dict[str, int]
    label: Sentence
    split: dict[Period, tuple[str, str]]
    rows: dict[Period, int]
    threshold: Sentence
    largest_difference: float


class Scores(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How well scores order and fit what happened."""

    auc: float
    average_precision: float
    log_loss: float


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Measured on the test period alone."""

    model: Scores
    baseline: Scores
    baseline_is: Sentence


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`threshold`: the decision is score >= threshold.

    `batch_invariant`: a row's score does not depend, to the bit, on the rows beside it.
    """

    name: Name
    version: Version
    description: Sentence
    owner: Sentence
    feature_service: Name
    file: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.onnx\Z")]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    opset: dict[Domain, int]
    batch_invariant: Literal[True]
    threshold: float
    inputs: tuple[ModelInput, ...]
    output: ModelOutput
    training: Training
    metrics: Metrics

    @property
    def id(self) -> str:
        """`name@version`, as people and settings write it."""
        return f"{self.name}@{self.version}"

    @property
    def thing(self) -> str:
        """What a message calls it."""
        return f"model `{self.id}`"


def check_id(name: str, version: str) -> None:
    """Refuse what may not name a model's folder.

    Raises:
        ModelRefused: the name or the version has another form.

    """
    for kind, form, text, remedy in (
        ("name", Name, name, "small letters, digits and _, a letter first, as in `purchase_30m`"),
        ("version", Version, version, "a whole number from 1"),
    ):
        try:
            msgspec.convert(text, form)
        except msgspec.ValidationError as error:
            fault = f"{text!r} is no {kind} of a model"
            thing = f"model `{name}@{version}`"
            raise ModelRefused(thing, fault, f"expected {remedy}") from error


def load_manifest(folder: Path) -> Manifest:
    """Read `folder/manifest.yaml`.

    Raises:
        ModelRefused: no such file, no YAML, an unknown or missing key, a wrong type, a name twice.

    """
    path = folder / FILE
    thing, remedy = f"manifest `{path}`", "correct the file or train the model again"
    try:
        manifest = msgspec.convert(yaml.safe_load(path.read_text("utf-8")), Manifest)
    except FileNotFoundError as error:
        raise ModelRefused(thing, "expected this file, found none", "`python -m jobs.train_model` writes one") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelRefused(thing, f"expected YAML in UTF-8, got {_one_line(error)}", remedy) from error
    except msgspec.ValidationError as error:
        raise ModelRefused(thing, _one_line(error).replace("$.", ""), remedy) from error
    if fault := _fault(manifest):
        raise ModelRefused(thing, fault, remedy)
    return manifest


def dump_manifest(manifest: Manifest) -> str:
    """The YAML that `load_manifest` reads back to an equal value."""
    return yaml.safe_dump(msgspec.to_builtins(manifest), sort_keys=False, width=120, allow_unicode=True)


def published(root: Path, model: str) -> Path:
    """The folder of `name@version` under `root`.

    Raises:
        ModelRefused: the text is no `name@version`, there is no such model, or its manifest says it is another.

    """
    there = "published are: " + (", ".join(f"`{name}`" for name in list_published(root)) or "none")
    thing = f"model `{model}`"
    match = re.fullmatch(r"([a-z][a-z0-9_]{0,63})@([1-9][0-9]{0,8})", model)
    if not match:
        raise ModelRefused(thing, "expected `name@version`, for example `purchase_30m@1`", there)
    folder = root / match[1] / match[2]
    if not (folder / FILE).is_file():
        raise ModelRefused(thing, f"there is none of that name and version in `{root}`", there)
    manifest = load_manifest(folder)
    if manifest.id != model:
        raise ModelRefused(thing, f"the manifest in its folder is that of `{manifest.id}`", "publish it under its own name")
    return folder


def list_published(root: Path) -> list[str]:
    """Every `name@version` under `root`, by name, then oldest version first."""
    found = [(path.parent.parent.name, path.parent.name) for path in root.glob(f"*/*/{FILE}")]
    return [f"{name}@{version}" for name, version in sorted(found, key=lambda pair: (pair[0], len(pair[1]), pair[1]))]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _fault(manifest: Manifest) -> str | None:
    if not manifest.inputs:
        return "expected at least one input, got none"
    names = [column.name for column in manifest.inputs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        return f"input `{twice[0]}` stands there twice"
    if not 0 <= manifest.threshold <= 1:
        return f"`threshold` must lie between 0 and 1, got {manifest.threshold}"
    for column in manifest.inputs:
        if not math.isfinite(column.default):
            return f"input `{column.name}`: `default` must be a finite number, got {column.default}"
        words = column.vocabulary
        if words is not None and (not words or len(set(words)) != len(words)):
            return f"input `{column.name}`: `vocabulary` must name each category once"
    if manifest.output.shape not in (("n",), ("n", 1)):
        return f"`output.shape` must be [n] or [n, 1], got {list(manifest.output.shape)}"
    for field in ("split", "rows"):
        if len(getattr(manifest.training, field)) != 3:
            return f"`training.{field}` must name train, validation and test"
    return None
