"""What a person would write to score history again without this project: DuckDB's ASOF join over the tables' files, then onnxruntime.

    .streamhouse/env/bin/python -m tests.benchmarks.by_hand        prints one line of JSON; tests.benchmarks.replay runs it

It takes typed columns on trust, joins features by user and time, and knows neither log order nor two actions of one moment; so it also
tells how many scores it gets wrong.
"""

from __future__ import annotations

import time

import duckdb
import numpy as np
import onnxruntime
import orjson
import pyarrow as pa

from features.activity import FEATURES
from infra.config import Settings, load_settings
from lakehouse.catalog import load_table, open_catalog
from models.inputs import build
from models.manifest import PUBLISHED, Manifest, load_manifest, published

_BATCH = 20_000
_SQL = """
SELECT p.score, p.model_version, a.action, a.platform, a.lifecycle, u.channel, u.cohort, {features}
FROM user_actions a
ASOF LEFT JOIN feature_log f ON f.user_id = a.user_id AND f.event_time <= a.event_time
LEFT JOIN user_profiles u ON u.user_id = a.user_id AND u.known_from <= a.event_time
JOIN predictions p ON p.action_partition = a.topic_partition AND p.action_offset = a.topic_offset
"""


def main() -> None:
    """Score everything again, and say how long it took."""
    settings = load_settings()
    began = time.perf_counter()
    cards = {card.version: card for card in (load_manifest(published(PUBLISHED, f"purchase_30m@{v}")) for v in ("1", "2"))}
    sessions = {version: onnxruntime.InferenceSession(str(PUBLISHED / card.name / version / card.file)) for version, card in cards.items()}
    rows = wrong = 0
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET asof_loop_join_threshold = 0")  # this version plans a nested loop otherwise
        for table in ("user_actions", "feature_log", "user_profiles", "predictions"):
            connection.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet({_files(settings, table)!r})")
        found = connection.execute(_SQL.format(features=", ".join(f"f.{name}" for name in FEATURES)))
        for batch in found.to_arrow_reader(_BATCH):
            rows += len(batch)
            wrong += sum(_wrong(cards[version], sessions[version], part) for version, part in _by_version(batch))
    print(orjson.dumps({"rows": rows, "wrong": wrong, "seconds": time.perf_counter() - began}).decode())


def _files(settings: Settings, table: str) -> list[str]:
    with open_catalog(settings) as catalog:
        return [task.file.file_path.removeprefix("file://") for task in load_table(catalog, settings, table).scan().plan_files()]


def _by_version(batch: pa.RecordBatch) -> list[tuple[str, pa.RecordBatch]]:
    versions = batch.column("model_version")
    return [(version, batch.filter(pa.compute.equal(versions, version))) for version in versions.unique().to_pylist()]


def _wrong(card: Manifest, session: onnxruntime.InferenceSession, rows: pa.RecordBatch) -> int:
    columns = {f"user_activity:{name}": rows.column(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in FEATURES}
    columns |= {f"action:{name}": rows.column(name).to_pylist() for name in ("action", "platform", "lifecycle")}
    columns |= {f"user_profile:{name}": rows.column(name).to_pylist() for name in ("channel", "cohort")}
    scores = session.run([card.output.name], {"features": build(card, columns, len(rows))})[0].reshape(-1)
    return int((scores != rows.column("score").to_numpy(zero_copy_only=False)).sum())


if __name__ == "__main__":
    main()
