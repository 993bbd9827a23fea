"""The command: try the model, fill its table with a progress bar, tell, and answer an exit status."""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

from confluent_kafka import KafkaException

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.backfill.run import Outcome, backfill
from jobs.lineage.data import model as of_model
from jobs.lineage.data import table, tables, topic
from jobs.lineage.run import running
from jobs.published_models import published_model
from jobs.scoring_parts import SOURCE_TOPIC, models_folder
from jobs.speaking import bar
from lakehouse.read import snapshot
from lakehouse.tables import scores_table
from models.manifest import published
from models.trial import try_model

DONE, COULD_NOT = 0, 2


def main(settings: Settings, model: str, *, rows: int, as_json: bool, own_name: str) -> int:
    """Print the outcome to standard output, progress and what went wrong to standard error. `own_name`: of the history while it is read."""
    try:
        try_model(published(models_folder(settings), model))
        chosen = published_model(models_folder(settings), model)
        reads = [topic(settings, SOURCE_TOPIC), of_model(models_folder(settings), chosen.name, chosen.version)]
        scores = scores_table(chosen.name, chosen.version).name
        with running(settings, "backfill", reads, [table(settings, scores)]) as run, bar("scoring") as (tell, _):
            outcome = backfill(settings, chosen, own_name, rows=rows, progress=tell)
            run.reads(*tables(settings, outcome.history.snapshots))
            run.writes(table(settings, scores, snapshot(settings, scores)))
    except KafkaException as error:
        print(f"error: topic {SOURCE_TOPIC}: expected its records, got {error.args[0].str()}; see `./streamhouse status`", file=sys.stderr)
        return COULD_NOT
    except (StreamhouseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return COULD_NOT
    except Exception:  # a mistake of ours is no outcome
        traceback.print_exc()
        return COULD_NOT
    if as_json:
        print(json.dumps(as_dict(outcome)))
    else:
        for sentence in sentences(outcome):
            print(sentence)
    return DONE


def as_dict(outcome: Outcome) -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        "model": outcome.model,
        "sha256": outcome.sha256,
        "table": outcome.table,
        "rows": outcome.rows,
        "snapshots": outcome.snapshots,
        "refused": outcome.refused,
        "not_finite": outcome.not_finite,
        "partitions": {
            str(partition): {
                "first": seam.first,
                "seam": seam.seam,
                "end": seam.end,
                "filled_before": outcome.before.get(partition, 0),
                "filled": outcome.after.get(partition, 0),
                "folded": partition in outcome.folded,
            }
            for partition, seam in sorted(outcome.seams.items())
        },
        "read": dict(outcome.history.snapshots),
        "seconds": round(outcome.seconds, 3),
    }


def sentences(outcome: Outcome) -> list[str]:
    """The same for people."""
    ends = ", ".join(f"{partition}:{seam.seam}" for partition, seam in sorted(outcome.seams.items()))
    if not outcome.snapshots:
        return [f"nothing is new: {outcome.table} holds what {outcome.model} gives for every accepted action of user-actions"]
    return [
        f"{outcome.rows:,} rows of {outcome.model} are added to {outcome.table}, snapshots: {outcome.snapshots:,}",
        f"records without a row: {outcome.refused:,} refused by the contract, {outcome.not_finite:,} without a finite score",
        f"the archive was read up to offset (partition:offset) {ends}; the topic from there to its end",
    ]
