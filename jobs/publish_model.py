"""Publish a model that was made elsewhere, with any framework on any machine: a folder with an ONNX file and its manifest.

Everything is checked, and a child process tries the model, before one file lies under models/published. Golden rows that the folder
does not bring are recorded: of real actions where the tables hold some.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from features.activity import FEATURES
from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.lineage.data import file
from jobs.lineage.data import model as published_model
from jobs.lineage.run import running
from jobs.train_model import IN_ACTION, IN_PROFILE, read_frame
from models.golden import Golden, as_lists, spread
from models.inputs import Column
from models.manifest import PUBLISHED, Manifest, ModelRefused
from models.publishing import is_published, publish_new, read_folder
from models.trial_rows import LARGE, ROWS, plausible_columns

NUMBERS = frozenset(f"user_activity:{name}" for name in FEATURES)
TEXTS = frozenset([f"action:{name}" for name in IN_ACTION] + [f"user_profile:{name}" for name in IN_PROFILE])


@dataclass(frozen=True)
class Outcome:
    """What was published, whether it is new, and where its golden rows came from."""

    manifest: Manifest
    new: bool
    golden: str


def main(settings: Settings, folder: Path, root: Path = PUBLISHED) -> Outcome:
    """Publish the model of `folder` into `root/NAME/VERSION`, as its manifest names it, whole or not at all.

    Raises:
        ModelRefused: a fault in it, in one sentence; `root` is as it was.

    """
    with running(settings, "publish", [file(folder, "A model that was made elsewhere.")]) as run:
        outcome = _published(settings, folder, root)
        run.writes(published_model(root, outcome.manifest.name, outcome.manifest.version))
    return outcome


def _published(settings: Settings, folder: Path, root: Path) -> Outcome:
    model = read_folder(folder)
    card = model.manifest
    check_sources(card)
    golden = "as the folder brought them"
    if not model.golden.scores and not is_published(root, model):
        columns, places, golden = _rows(settings, card)
        model = replace(model, golden=Golden(as_lists(columns, places), []))
    new = publish_new(root, model)  # what lies there already is tried once more
    return Outcome(card, new=new, golden=golden if new else "as they were")


def check_sources(card: Manifest) -> None:
    """Refuse a model that asks for what the scoring path does not hand over.

    Raises:
        ModelRefused: an unknown source, a category without a vocabulary, or a number with one.

    """
    for wanted in card.inputs:
        if wanted.source not in NUMBERS | TEXTS:
            fault = f"input `{wanted.name}` must come from what each action is scored with, got `{wanted.source}`"
            raise ModelRefused(card.thing, fault, f"take one of {', '.join(sorted(NUMBERS | TEXTS))}")
        if (wanted.vocabulary is not None) != (wanted.source in TEXTS):
            kind, got = (
                ("a `vocabulary`, for it is a text", "none") if wanted.source in TEXTS else ("no `vocabulary`, for it is a number", "one")
            )
            raise ModelRefused(card.thing, f"input `{wanted.name}` must have {kind}, got {got}", "correct it in the manifest")


def publish_and_tell(settings: Settings, folder: Path, root: Path = PUBLISHED) -> list[str]:
    """Publish, and the sentences about it."""
    outcome = main(settings, folder, root)
    card = outcome.manifest
    batches = f"in batches of 1 to {max(LARGE)}"
    promise = f"the same to the bit {batches}" if card.tolerance is None else f"within {card.tolerance} {batches}"
    return [
        f"published {card.id}" if outcome.new else f"{card.id} is published already with the same content; nothing was changed",
        f"golden rows: {outcome.golden}; on {ROWS} rows of a trial each score is a probability, and {promise}",
        f"score with it: STREAMHOUSE_SCORE_EVENTS_MODEL={card.id} ./streamhouse submit score_events",
    ]


def _rows(settings: Settings, card: Manifest) -> tuple[dict[str, Column], list[int], str]:
    """Columns, which of their rows are to be golden, and what they are: actions from first to last, or rows of the trial."""
    wanted = {column.source for column in card.inputs}
    try:
        frame, _ = read_frame(settings)
    except StreamhouseError as error:
        return plausible_columns(card), spread(ROWS), f"recorded on rows drawn from a seed, as the tables give none ({error})"
    if not len(frame.time):
        return plausible_columns(card), spread(ROWS), "recorded on rows drawn from a seed, as the tables reach over no half hour"
    columns = {source: column for source, column in frame.columns.items() if source in wanted}
    return columns, spread(len(frame.time)), "recorded on actions of the tables"
