"""Make a model from the tables alone, and publish it as a new version.

Features as the stream knew them before each action (feature_log), the action itself (user_actions), the user's profile
as known at its time (user_profiles); the label from later actions. Nothing here computes a feature again.

Example:
    python -m jobs.train_model --name purchase_30m

"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table

from features.activity import FEATURES
from features.online_keys import PROFILE_FEATURES
from features.profile import profiles_at
from infra.config import Settings, load_settings
from infra.contracts.events import SHAPE
from infra.errors import StreamhouseError
from jobs.folded_archive import profiles_in
from jobs.lineage.data import model, table, tables
from jobs.lineage.run import running
from lakehouse.held_columns import columns_called
from lakehouse.read import log_ends, read, snapshot
from models.inputs import Column
from models.manifest import PUBLISHED, Manifest, check_id
from models.outcome import HORIZON, outcomes
from models.publishing import next_version, publish
from models.training import USUAL, Frame, Recipe, train

LOG = ["topic_partition", "topic_offset"]
COLUMNS = {
    "feature_log": [*LOG, "user_id", "event_time", "created", *FEATURES],
    "user_actions": LOG,  # and IN_ACTION
    "user_profiles": ["user_id", "channel", "cohort", "known_from", "created"],
}
IN_ACTION = ("action", "platform", "lifecycle")
IN_PROFILE = PROFILE_FEATURES


class TablesDisagree(StreamhouseError):
    """feature_log and user_actions hold no actions in common, or one action twice."""

    def __init__(self, feature_log: int, user_actions: int, got: str) -> None:
        super().__init__(
            f"tables feature_log ({feature_log} rows) and user_actions ({user_actions} rows): expected to share "
            f"actions by (topic_partition, topic_offset), each once, got {got}; run jobs/rebuild_features.py first"
        )


def main(settings: Settings, name: str, version: str | None = None, root: Path = PUBLISHED, recipe: Recipe = USUAL) -> Manifest:
    """Train on the tables' present snapshots, try the model in a child process, and publish it into `root/name/version`.

    Without a version, the next one. Raises what `models.training.train` and `models.publishing.publish` raise.

    Raises:
        ModelRefused: a name or version that no folder may have; nothing was read or written.

    """
    check_id(name, version or "1")
    with running(settings, "train", [table(settings, of) for of in COLUMNS]) as run:
        frame, snapshots = read_frame(settings)
        run.reads(*tables(settings, snapshots))
        trained = train(frame, name, version or next_version(root, name), snapshots, recipe)
        publish(root, trained)
        run.writes(model(root, name, trained.manifest.version))
    return trained.manifest


def read_frame(settings: Settings) -> tuple[Frame, dict[str, int]]:
    """The training frame of the tables' present snapshots, and the ids of these.

    Raises:
        TablesDisagree: as `training_frame`.
        LakehouseError: a table is not there.

    """
    # the snapshot first, then the rows of that snapshot: the card names exactly what was read
    snapshots = {table: snapshot(settings, table) for table in COLUMNS}
    called = columns_called(settings, "user_actions", SHAPE, IN_ACTION)
    tables = {
        table: read(settings, table, [*columns, *called.values()] if columns is LOG else columns, snapshot_id=snapshots[table])
        for table, columns in COLUMNS.items()
    }
    actions = tables["user_actions"].select([*LOG, *called.values()]).rename_columns([*LOG, *called])
    frame = training_frame(tables["feature_log"], actions, tables["user_profiles"])
    return frame, {table: number for table, number in snapshots.items() if number is not None}


def training_frame(feature_log: pa.Table, user_actions: pa.Table, user_profiles: pa.Table) -> Frame:
    """One row per action with features, oldest first; the order does not depend on the order of the tables' rows.

    An action that was refused has no features and is neither a row nor a label. A purchase is labelled by later
    purchases only. The last 30 minutes of the data are left out: their labels are not known yet. A label was known when the log
    brought the purchase, or when the 30 minutes were over without one; rows that do not say when they became known did at their time.

    Raises:
        TablesDisagree: no action has features, or an action has them twice.

    """
    try:
        rows = _frame(feature_log, ["event_time", "created"]).merge(_frame(user_actions, []), on=LOG, validate="one_to_one")
    except pd.errors.MergeError as error:
        raise TablesDisagree(len(feature_log), len(user_actions), "one twice") from error
    if rows.empty:
        raise TablesDisagree(len(feature_log), len(user_actions), "none")
    rows = rows.sort_values(["event_time", "user_id", *LOG], ignore_index=True)
    rows["created"] = rows["created"].fillna(rows["event_time"]).astype(np.int64)

    user, time = pd.factorize(rows["user_id"])[0].astype(np.int64), rows["event_time"].to_numpy(np.int64)
    rows["label"], rows["known"] = outcomes(user, time, (rows["action"] == "purchase").to_numpy(), rows["created"].to_numpy(np.int64))
    then = profiles_in(user_profiles).known_then(rows["user_id"].tolist(), time)
    for field, values in profiles_at(then.known, then.columns, np.arange(len(rows)), time).columns.items():
        rows[field] = values
    rows = rows[rows["event_time"] <= rows["event_time"].max() - HORIZON]

    columns: dict[str, Column] = {f"user_activity:{f}": rows[f].to_numpy(np.float64, na_value=np.nan) for f in FEATURES}
    columns |= {f"action:{field}": _texts(rows[field]) for field in IN_ACTION}
    columns |= {f"user_profile:{field}": _texts(rows[field]) for field in IN_PROFILE}
    return Frame(columns, rows["event_time"].to_numpy(np.int64), rows["label"].to_numpy(bool), rows["known"].to_numpy(np.int64))


def _frame(table: pa.Table, times: list[str]) -> pd.DataFrame:
    """Arrow -> pandas with the columns `times` as whole milliseconds since 1970 UTC."""
    for name in times:
        moments = table[name].cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64())
        table = table.set_column(table.column_names.index(name), name, moments)
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _texts(column: pd.Series[str]) -> list[str | None]:
    return [value if isinstance(value, str) else None for value in column]


def report(manifest: Manifest) -> Table:
    """The metrics beside the baseline's, for the terminal."""
    first, last = manifest.training.split["test"]
    table = Table(title=f"{manifest.id} on {manifest.training.rows['test']:,} actions, {first} to {last}")
    table.add_column("")
    for heading in ("AUC", "average precision", "log loss"):
        table.add_column(heading, justify="right")
    for row, scores in (("model", manifest.metrics.model), ("baseline", manifest.metrics.baseline)):
        table.add_row(row, f"{scores.auc:.4f}", f"{scores.average_precision:.4f}", f"{scores.log_loss:.4f}")
    table.caption = f"baseline: {manifest.metrics.baseline_is}"
    return table


def train_and_tell(settings: Settings, name: str, version: str | None = None, root: Path = PUBLISHED, recipe: Recipe = USUAL) -> None:
    """Train, publish, and print the metrics beside the baseline's and how to score with the model."""
    console = Console()
    manifest = main(settings, name, version, root, recipe)
    if behind := rows_behind(settings, manifest.training.snapshot_ids):
        lacks = f"feature_log lacks the last {behind:,} offsets of user_actions"
        console.print(f"{lacks}; `./streamhouse rebuild` adds the actions among them, and dead letters have no features")
    console.print(report(manifest))
    console.print(f"published {manifest.id}, decision at {manifest.threshold}")
    console.print(f"score with it: STREAMHOUSE_SCORE_EVENTS_MODEL={manifest.id} ./streamhouse submit score_events", soft_wrap=True)


def rows_behind(settings: Settings, snapshots: Mapping[str, int]) -> int:
    """How many offsets of user_actions lie behind those that feature_log was made from, as of the snapshots."""
    logged, archived = (log_ends(settings, table, snapshots[table]) for table in ("feature_log", "user_actions"))
    return sum(max(0, end - logged.get(partition, (first, first))[1]) for partition, (first, end) in archived.items())


def cli(
    name: Annotated[str, typer.Option(help="The model's name; its feature service has the same.")] = "purchase_30m",
    version: Annotated[str | None, typer.Option(help="A whole number; by default one more than the newest.")] = None,
) -> None:
    """Train a model from the Iceberg tables and publish it into models/published/NAME/VERSION.

    Example: python -m jobs.train_model --name purchase_30m
    """
    try:
        train_and_tell(load_settings(), name, version)
    except StreamhouseError as error:
        Console().print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(cli)
