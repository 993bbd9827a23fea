"""How long a training set takes: a million label rows with 30 features by Feast's get_historical_features, beside a DuckDB ASOF join.

    .streamhouse/env/bin/python -m tests.benchmarks.training_set [--labels N] [--rows N] [--users N] [--rounds R] [--json FILE]

A lake of its own, no services: a feature log of skewed users, a twentieth of it late. Each side runs in a process of its own, which first
imports what it needs; from then on its seconds and the peak of its resident memory are taken, and with the latter all that it was before.
DuckDB gets the same rows as Arrow tables in memory, with its nested-loop join turned off, which it would otherwise take for tables of
unknown size; reading them from Iceberg is told apart. It looks for the last row that became valid, which is less than is asked of ours.
The exit status is 1 where a value leaked, the sides know of different numbers of rows, or ours needs more than 60 s or 4 GiB.
"""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer

from infra.config import ROOT, Settings, load_settings

_STATE = ROOT / ".streamhouse" / "training-set-benchmark"
_START, _DAY = 1_700_000_000_000_000, 86_400_000_000  # microseconds
_DAYS = 90
_FEATURES = [f"feature_{i:02}" for i in range(30)]
_UTC = pa.timestamp("us", "UTC")
_SECONDS, _GIBIBYTES = 60, 4


def main(
    labels: Annotated[int, typer.Option(min=1, help="entity rows")] = 1_000_000,
    rows: Annotated[int, typer.Option(min=1, help="rows of the feature log")] = 2_000_000,
    users: Annotated[int, typer.Option(min=1)] = 50_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    file: Annotated[Path | None, typer.Option("--json", help="where to write the numbers")] = None,
) -> None:
    """Fill a lake, then make the training set by turns."""
    shutil.rmtree(_STATE, ignore_errors=True)
    measured: list[tuple[dict[str, Any], dict[str, Any]]] = []
    try:
        print(f"hottest user: {_apart(_fill, labels, rows, users):,} of {rows:,} rows", flush=True)
        for _ in range(rounds):
            ours, theirs = _apart(_ours), _apart(_duckdb)
            print(f"ours    {_told(ours)}", flush=True)
            print(f"duckdb  {_told(theirs)}  ours/duckdb {ours['seconds'] / (theirs['seconds'] + theirs['read_seconds']):.2f}", flush=True)
            measured.append((ours, theirs))
    finally:
        shutil.rmtree(_STATE, ignore_errors=True)
    ratio = statistics.median(ours["seconds"] / (theirs["seconds"] + theirs["read_seconds"]) for ours, theirs in measured)
    print(f"median of seconds, ours to duckdb with its reading: {ratio:.2f}")
    if file is not None:
        sides = [{"ours": ours, "duckdb": theirs} for ours, theirs in measured]
        file.write_bytes(orjson.dumps({"labels": labels, "rows": rows, "users": users, "rounds": sides}, option=orjson.OPT_INDENT_2))
    good = all(
        ours["leaked"] == 0
        and ours["known"] == theirs["known"]
        and ours["seconds"] < _SECONDS
        and ours["peak_megabytes"] < _GIBIBYTES * 1024
        and ours["sha256"] == measured[0][0]["sha256"]
        for ours, theirs in measured
    )
    raise typer.Exit(0 if good else 1)


def _apart(what: Callable[..., Any], *arguments: int) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(what, *arguments).result()


def _told(numbers: dict[str, Any]) -> str:
    return "  ".join(f"{name} {value if isinstance(value, str) else f'{value:,}'}" for name, value in numbers.items() if name != "sha256")


def _settings() -> Settings:
    return load_settings({"STREAMHOUSE_STATE": str(_STATE)})


def _peak_megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _fill(labels: int, rows: int, users: int) -> int:
    """Table `wide` and the label rows; answers how many rows the hottest user has."""
    from lakehouse.catalog import open_catalog
    from lakehouse.iceberg import arrow_schema
    from lakehouse.migrate import apply
    from lakehouse.tables import Column, Table

    settings = _settings()
    kinds = {"topic_partition": "int", "topic_offset": "long", "user_id": "string", "event_time": "timestamptz", "created": "timestamptz"}
    kinds |= {name: "double" if i % 3 == 2 else "long" for i, name in enumerate(_FEATURES)}
    wide = Table("wide", "A feature log.", "benchmarks", "none", tuple(Column(name, kind, name, "-") for name, kind in kinds.items()))
    apply(settings, {"wide": wide})
    random, count = np.random.default_rng(0), np.zeros(users, np.int64)
    step = 1_000_000
    with open_catalog(settings) as catalog:
        held = catalog.load_table((settings.lake.namespace, "wide"))
        for first in range(0, rows, step):
            n = min(step, rows - first)
            user = _skewed(random, users, n)
            count += np.bincount(user, minlength=users)
            created = _START + np.arange(first, first + n) * (_DAYS * _DAY // rows)
            late = np.where(random.random(n) < 0.05, random.integers(0, _DAY, n), 0)
            columns: dict[str, Any] = {
                "topic_partition": user % 4,
                "topic_offset": np.arange(first, first + n),
                "user_id": _names(user),
                "event_time": pa.array(created - late, _UTC),
                "created": pa.array(created, _UTC),
            }
            columns |= {
                name: pa.array(random.random(n), mask=random.random(n) < 0.1) if kinds[name] == "double" else random.integers(0, 1000, n)
                for name in _FEATURES
            }
            columns[_FEATURES[0]] = created  # what is retrieved tells when it became known
            held.append(pa.table(columns).cast(arrow_schema(wide)))
    at = np.sort(_START + random.integers(0, _DAYS * _DAY, labels))
    pq.write_table(pa.table({"user_id": _names(_skewed(random, users, labels)), "event_timestamp": pa.array(at, _UTC)}), _labels())
    return int(count.max())


def _skewed(random: np.random.Generator, users: int, n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return (users * random.random(n) ** 3).astype(np.int64)


def _names(user: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Array:
    return pc.binary_join_element_wise("user_", pa.array(user).cast(pa.string()), "")


def _labels() -> Path:
    return _STATE / "labels.parquet"


def _ours() -> dict[str, Any]:
    from datetime import timedelta

    from feast import Entity, FeatureView, Field, ValueType
    from feast.infra.data_sources.contrib.iceberg_catalog.iceberg_source import IcebergSource
    from feast.types import Float64, Int64

    from features.apply import feature_store

    settings = _settings()
    lake = settings.lake
    source = IcebergSource(
        name="wide",
        catalog_type="sql",
        catalog_name=lake.catalog,
        warehouse=lake.warehouse,
        namespace=lake.namespace,
        table="wide",
        catalog_properties={"uri": f"sqlite:///{lake.database}"},
        timestamp_field="event_time",
        created_timestamp_column="created",
    )
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    fields = [Field(name=name, dtype=Float64 if i % 3 == 2 else Int64) for i, name in enumerate(_FEATURES)]
    view = FeatureView(name="wide", entities=[user], ttl=timedelta(0), schema=fields, source=source)
    store = feature_store(settings)
    store.apply([user, view])
    labels = pq.read_table(_labels()).to_pandas()
    began = time.monotonic()
    made = store.get_historical_features(labels, [f"wide:{name}" for name in _FEATURES]).to_arrow()
    seconds, peak = time.monotonic() - began, _peak_megabytes()
    created = made[_FEATURES[0]]
    return {
        "seconds": round(seconds, 2),
        "peak_megabytes": peak,
        "known": len(created) - created.null_count,
        "leaked": int(pc.sum(pc.greater(created, made["event_timestamp"].cast(pa.int64()))).as_py() or 0),
        "sha256": made.schema.metadata[b"streamhouse.sha256"].decode(),
    }


def _duckdb() -> dict[str, Any]:
    import duckdb

    from lakehouse.catalog import open_catalog

    settings = _settings()
    labels = pq.read_table(_labels())
    began = time.monotonic()
    with open_catalog(settings) as catalog:
        wide = catalog.load_table((settings.lake.namespace, "wide")).scan().to_arrow()
    read = time.monotonic() - began
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET asof_loop_join_threshold = 0")
        connection.register("labels", labels)
        connection.register("wide", wide)
        began = time.monotonic()
        made = connection.execute(
            f"""SELECT labels.*, {", ".join(_FEATURES)} FROM labels ASOF LEFT JOIN
                (SELECT *, greatest(event_time, created) AS valid_from FROM wide) AS rows
                ON labels.user_id = rows.user_id AND labels.event_timestamp >= rows.valid_from"""
        ).to_arrow_table()
        seconds = time.monotonic() - began
    return {
        "seconds": round(seconds, 2),
        "read_seconds": round(read, 2),
        "peak_megabytes": _peak_megabytes(),
        "known": len(made) - made[_FEATURES[0]].null_count,
    }


if __name__ == "__main__":
    typer.run(main)
