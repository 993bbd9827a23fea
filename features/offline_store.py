"""Feast's offline store over our Iceberg tables: training sets in which each row holds what was known at its own time.

feature_store.yaml names it, so plain Feast code uses it. It differs from Feast's DuckDB store, whose reading for `materialize` it keeps:

- one snapshot per table, the newest or the one that a tag names, for the whole call;
- a feature row that became known after an entity row's time is not used for it, unless `created_cutoff` is turned off;
- no entity row is dropped, doubled or moved; rows of equal times are told apart by what they hold, never by the order of files;
- the answer's Arrow schema says of which snapshots it was made and what its hash is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import ibis
import pandas as pd
import pyarrow as pa
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig, _write_data_source
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from feast.saved_dataset import SavedDatasetStorage
from pydantic import StrictBool, StrictStr

from features.dataset import stamped
from features.entity_rows import EntityRows, entity_rows, moment
from features.pinned import Pinned, TrainingSetRefused, pin
from features.point_in_time import View, features_at

_MICROSECOND = timedelta(microseconds=1)


class StreamhouseOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """`tag`: the Iceberg tag that names each table's snapshot; none: the newest. `created_cutoff`: leave out what was known only later."""

    type: StrictStr = "features.offline_store.StreamhouseOfflineStore"
    tag: StrictStr | None = None
    created_cutoff: StrictBool = True


class StreamhouseOfflineStore(DuckDBOfflineStore):
    """See the module."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,  # Feast passes these two where it has no entity rows, which is refused
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Pin the tables and answer a job that reads them; see Feast for the arguments. `entity_df` may be an Arrow table.

        Raises:
            TrainingSetRefused: entity rows, features, tables or a tag that cannot be used; nothing was read but metadata.

        """
        rows = entity_rows(entity_df)
        pins: dict[str, Pinned] = {}
        cutoff = config.offline_store.created_cutoff or filter_by_created_timestamp
        views = [_view(view, feature_refs, rows, pins, config.offline_store.tag, full_feature_names) for view in feature_views]
        if cutoff and (undated := [view.pinned.name for view in views if view.created is None]):
            message = (
                f"table `{undated[0]}`: expected its source to name the column that tells when a row became known, got none; run"
                " `./streamhouse apply`, set created_timestamp_column, or set offline_store.created_cutoff to false and count by event time"
            )
            raise TrainingSetRefused(message)
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        _check_names(rows, views, on_demand, feature_refs, full_feature_names)

        def retrieve() -> pa.Table:
            table = rows.table
            for view in views:
                for name, column in features_at(view, rows, created_cutoff=cutoff).items():
                    table = table.append_column(name, column)
            return table

        between = rows.between
        return StreamhouseRetrievalJob(
            retrieve,
            {pinned.name: pinned.snapshot_id for pinned in pins.values()},
            on_demand,
            RetrievalMetadata(
                features=feature_refs,
                keys=[name for name in rows.table.column_names if name != rows.time_column],
                min_event_timestamp=between and moment(between[0]),
                max_event_timestamp=between and moment(between[1]),
            ),
            full_feature_names=full_feature_names,
            repo_path=str(config.repo_path),
        )


class StreamhouseRetrievalJob(RetrievalJob):
    """A training set that is read when it is asked for, each time from the same snapshots."""

    def __init__(
        self,
        retrieve: Callable[[], pa.Table],
        snapshots: Mapping[str, int | None],
        on_demand_feature_views: list[OnDemandFeatureView],
        metadata: RetrievalMetadata,
        *,
        full_feature_names: bool,
        repo_path: str,
    ) -> None:
        self._retrieve, self._snapshots, self._on_demand, self._metadata = retrieve, snapshots, on_demand_feature_views, metadata
        self._full_feature_names, self._repo_path = full_feature_names, repo_path

    def to_arrow(self, validation_reference: Any = None, timeout: int | None = None) -> pa.Table:  # noqa: ANN401 - Feast's
        """The entity rows with their features; integers stay integers. Hash and snapshots stand in the schema's metadata."""
        return stamped(super().to_arrow(validation_reference=validation_reference, timeout=timeout), self._snapshots)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._retrieve()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return frame

    @property
    def full_feature_names(self) -> bool:
        """Whether features are called view__feature."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """What Feast counts out of the answer."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata:
        """Features, entity columns, first and last time."""
        return self._metadata

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the training set, on-demand features too, to where Feast's DuckDB store writes."""
        table = ibis.memtable(self.to_arrow(timeout=timeout))
        _write_data_source(table, storage.to_data_source(), self._repo_path, "overwrite", allow_overwrite)


def _view(
    view: FeatureView, feature_refs: list[str], rows: EntityRows, pins: dict[str, Pinned], tag: str | None, full_feature_names: bool
) -> View:
    source = view.batch_source
    if source is None or not view.entity_columns:
        message = f"feature view {view.name}: expected a batch source and an entity; declare them in features/definitions.py"
        raise TrainingSetRefused(message)
    held_as = {new: old for old, new in source.field_mapping.items()}
    keys = {e.name: view.projection.join_key_map.get(e.name, e.name) for e in view.entity_columns}
    if missing := [name for name in keys.values() if name not in rows.table.column_names]:
        message = f"entity_df: expected column {missing[0]!r} for view {view.name}, got {', '.join(rows.table.column_names)}; add it"
        raise TrainingSetRefused(message)
    asked = _asked(view, feature_refs)
    called = f"{view.projection.name_alias or view.name}__" if full_feature_names else ""
    if source.name not in pins:
        pins[source.name] = pin(source, tag)
    created = source.created_timestamp_column or None
    return View(
        pinned=pins[source.name],
        join_keys={held_as.get(key, key): column for key, column in keys.items()},
        event_time=held_as.get(source.timestamp_field, source.timestamp_field),
        created=created and held_as.get(created, created),
        time_to_live=(view.ttl or timedelta(0)) // _MICROSECOND,
        features={f"{called}{name}": held_as.get(name, name) for name in asked},
        values=tuple(held_as.get(field.name, field.name) for field in view.features),
    )


def _asked(view: FeatureView | OnDemandFeatureView, feature_refs: list[str]) -> list[str]:
    """The features of this view among those that are asked for."""
    prefix = f"{view.projection.name_to_use()}:"  # type: ignore[no-untyped-call]
    return list(dict.fromkeys(ref.split(":")[1] for ref in feature_refs if ref.startswith(prefix)))


def _check_names(
    rows: EntityRows, views: list[View], on_demand: list[OnDemandFeatureView], feature_refs: list[str], full_feature_names: bool
) -> None:
    """Refuse an answer with two columns of one name: whoever asks it for that name would get either."""
    called = [name for view in views for name in view.features]
    for counted in on_demand:
        prefix = f"{counted.projection.name_to_use()}__" if full_feature_names else ""  # type: ignore[no-untyped-call]
        called += [f"{prefix}{name}" for name in _asked(counted, feature_refs)]
    otherwise = "" if full_feature_names else ", or pass full_feature_names=True"
    if given := [name for name in called if name in rows.table.column_names]:
        message = f"entity_df: expected no column named as a feature that is asked for, got {given[0]!r}; rename or drop it{otherwise}"
        raise TrainingSetRefused(message)
    if twice := [name for name, n in Counter(called).items() if n > 1]:
        message = f"features: expected each name once, got {twice[0]!r} of two views; give one view another name{otherwise}"
        raise TrainingSetRefused(message)
