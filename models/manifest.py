"""A model's card: what it eats, in which order, what it answers, how it was made and how good it was.

`manifest.yaml` beside the model file is read strictly: a misspelt key is a refusal, never a silent default.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import yaml
from numpy.typing import NDArray

from infra.errors import StreamhouseError

PUBLISHED = Path(__file__).resolve().parent / "published"
FILE = "manifest.yaml"
LARGEST = 1024 * 1024
"""Bytes in a manifest."""

_LONGEST_FAULT = 2000  # letters

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]
Version = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,8}\Z")]
Domain = Literal["ai.onnx", "ai.onnx.ml"]
Period = Literal["train", "validation", "test"]
Sentence = Annotated[str, msgspec.Meta(min_length=1)]


class ModelRefused(StreamhouseError):
    """A model that must not be used as it lies there: which one, why, and what to do.

    Names inside a model file are a stranger's: what a terminal could take for a command is a `?` in the fault, and a long one is cut.
    """

    def __init__(self, thing: str, fault: str, remedy: str) -> None:
        fault = "".join(letter if letter.isprintable() else "?" for letter in fault[:_LONGEST_FAULT])
        super().__init__(f"{thing}: {fault}; {remedy}")
        self.parts = (thing, fault, remedy)


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


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What made it: the Iceberg snapshot of each table, the label, first and last action of each period, and rows.

    `threshold` says how it was chosen; `largest_difference` is that between the score and what the program that trained it gives.
    `parameters` are what was chosen for the training, by name; those that are not named are the code's.
    """

    snapshot_ids: dict[str, int]
    label: Sentence
    split: dict[Period, tuple[str, str]]
    rows: dict[Period, int]
    threshold: Sentence
    largest_difference: float
    parameters: dict[str, bool | int | float | str] = {}


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


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """`threshold`: the decision is score >= threshold.

    `batch_invariant`: a row's score does not depend, to the bit, on the rows beside it. A model that cannot promise it says false, and
    in `tolerance` how far two scores of one row may lie apart.
    """

    name: Name
    version: Version
    description: Sentence
    owner: Sentence
    feature_service: Name
    file: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.onnx\Z")]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    opset: dict[Domain, int]
    batch_invariant: bool
    tolerance: float | None = None
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

    def agrees(self, a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Whether two scores of the same row are what one model may give, element by element. NaN agrees with nothing.

        To the bit where the model is batch invariant, and within its tolerance otherwise. One side may be float32 and the other
        the same number as float64.
        """
        if self.tolerance is None:
            return np.asarray((a == b) & (np.signbit(a) == np.signbit(b)))  # == alone would take 0.0 for -0.0
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)) <= self.tolerance)


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


class _WithoutAliases(yaml.SafeLoader):
    """A few lines of aliases of aliases would otherwise become gigabytes of values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            message = "an alias (*), which no manifest needs"
            raise yaml.YAMLError(message)
        return super().compose_node(parent, index)


def load_manifest(folder: Path) -> Manifest:
    """Read `folder/manifest.yaml`.

    Raises:
        ModelRefused: no such file, too large, no YAML, an unknown or missing key, a wrong type, a name twice.

    """
    path = folder / FILE
    thing, remedy = f"manifest `{path}`", "correct the file or train the model again"
    if not path.is_file():
        raise ModelRefused(
            thing, "expected this file, found none", "`./streamhouse train` writes one; a model made elsewhere needs its own"
        )
    with path.open("rb") as file:
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise ModelRefused(thing, f"expected at most {LARGEST} bytes, got more", remedy)
    try:
        manifest = msgspec.convert(yaml.load(text.decode("utf-8"), _WithoutAliases), Manifest)  # a SafeLoader
    except msgspec.ValidationError as error:
        raise ModelRefused(thing, _one_line(error).replace("$.", ""), remedy) from error
    except RecursionError as error:
        raise ModelRefused(thing, "expected a mapping of a few levels, got one without end", remedy) from error
    except (yaml.YAMLError, ValueError) as error:  # a date that no calendar has is a ValueError
        raise ModelRefused(thing, f"expected YAML in UTF-8, got {_one_line(error)}", remedy) from error
    except Exception as error:  # whatever PyYAML raises for what a tag does not fit: KeyError, IndexError, AttributeError, ...
        got = f"a value that is not what its tag (!!) or its form says ({type(error).__name__}: {_one_line(error)})"
        raise ModelRefused(thing, f"expected YAML in UTF-8, got {got}", remedy) from error
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
    found = [(path.parent.parent.name, path.parent.name) for path in root.glob(f"*/[1-9]*/{FILE}")]  # no drafts
    return [f"{name}@{version}" for name, version in sorted(found, key=lambda pair: (pair[0], len(pair[1]), pair[1]))]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _fault(manifest: Manifest) -> str | None:
    if not manifest.inputs:
        return "expected at least one input, got none"
    names = Counter(column.name for column in manifest.inputs)
    if twice := sorted(name for name, n in names.items() if n > 1):
        return f"input `{twice[0]}` stands there twice"
    if not 0 <= manifest.threshold <= 1:
        return f"`threshold` must lie between 0 and 1, got {manifest.threshold}"
    if fault := _tolerance_fault(manifest):
        return fault
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


def _tolerance_fault(manifest: Manifest) -> str | None:
    tolerance = manifest.tolerance
    if manifest.batch_invariant:
        return None if tolerance is None else f"`tolerance` must be left out where `batch_invariant` is true, got {tolerance}"
    if tolerance is None:
        return "`tolerance` must say how far scores may lie apart where `batch_invariant` is false, got none"
    return None if 0 < tolerance < 1 else f"`tolerance` must lie between 0 and 1, got {tolerance}"
