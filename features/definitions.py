"""What Feast knows: the entity, the two views, the feature service. `apply` registers exactly the list at the end."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, PushSource, ValueType
from feast.data_source import DataSource
from feast.infra.data_sources.contrib.iceberg_catalog.iceberg_source import IcebergSource
from feast.types import Bytes, Float64, Int64, String

from features import made_from
from features.activity import COUNTED, FEATURES, SECONDS, WINDOWS
from features.online_keys import ACTIVITY, JOIN_KEY, PROFILE, PROFILE_FEATURES
from features.profile import TIME_TO_LIVE
from infra.config import Settings

OWNER = "shop-analytics"
FRESHNESS = "within the batch that holds the action: milliseconds after it is read, before it is scored"
Definition = Entity | FeatureView | FeatureService | PushSource | DataSource

_WHAT = {
    "actions": "actions of any kind",
    "product_views": "product pages seen",
    "cart_adds": "products put into the cart",
    "errors": "error pages, payment errors and checkout bugs met",
    "purchases": "purchases",
}
_PROFILE_TEXT = {
    "channel": "the channel that brought the user to the shop",
    "cohort": "the month of the user's first visit",
}


def definitions(settings: Settings) -> list[Definition]:
    """Everything that is registered, for the lake that the settings name."""
    user = Entity(name="user", join_keys=[JOIN_KEY], value_type=ValueType.STRING, description="a user of the shop", owner=OWNER)
    feature_log = _iceberg(settings, "feature_log", timestamp_field="event_time", created_timestamp_column="created")
    activity = FeatureView(
        name=ACTIVITY,
        entities=[user],
        ttl=timedelta(0),
        schema=[_activity_field(name) for name in FEATURES]
        + [
            Field(
                name="history",
                dtype=Bytes,
                description="the state of the fold, from which the others are counted; not for models",
                tags={"unit": "bytes", "owner": OWNER, "freshness": FRESHNESS},
            )
        ],
        source=PushSource(name="user_actions_fold", batch_source=feature_log, description="written by the enrich step of score_events"),
        description="what a user did lately, folded from his actions in log order",
        owner=OWNER,
        tags={"freshness": FRESHNESS, "time": "event time; windows are aligned to buckets, see the fields"},
    )
    profile = FeatureView(
        name=PROFILE,
        entities=[user],
        ttl=timedelta(milliseconds=TIME_TO_LIVE),
        schema=[
            Field(
                name=name,
                dtype=String,
                description=_PROFILE_TEXT[name],
                tags={
                    "unit": "name",
                    "owner": OWNER,
                    "freshness": "as of the last materialize",
                    "made_from": made_from.tag(PROFILE, name),
                },
            )
            for name in PROFILE_FEATURES
        ],
        source=_iceberg(settings, "user_profiles", timestamp_field="known_from", created_timestamp_column="created"),
        description="what the shop knows of a user beside his actions",
        owner=OWNER,
        tags={"freshness": "as of the last materialize"},
    )
    service = FeatureService(
        name="purchase_30m",
        features=[activity[list(FEATURES)], profile],
        description="inputs of the models that tell whether a user purchases within 30 minutes",
        owner=OWNER,
    )
    for definition in (activity, profile, service):
        spec = definition.to_proto().spec
        _forget_times(spec)
        definition.tags["definition"] = hashlib.sha256(spec.SerializeToString(deterministic=True)).hexdigest()
    return [user, activity, profile, service]


def _forget_times(message: Any) -> None:  # noqa: ANN401 - any protobuf message
    """Clear every timestamp in a message: Feast writes the time of making into sources and projections."""
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if field.message_type.full_name == "google.protobuf.Timestamp":
            message.ClearField(field.name)
        else:
            for part in [value] if hasattr(value, "ListFields") else value:
                _forget_times(part)


def _activity_field(name: str) -> Field:
    kept = {"owner": OWNER, "freshness": FRESHNESS, "made_from": made_from.tag(ACTIVITY, name)}
    if name in SECONDS:
        what = name.removeprefix("seconds_since_")
        text = f"seconds from the user's latest earlier {what} to the action; null: none yet; 0 for a late action"
        return Field(name=name, dtype=Float64, description=text, tags={"unit": "seconds", **kept})
    what, _, length = name.rpartition("_")
    window = next(window for window in WINDOWS if window.name == length)
    counted = _WHAT[what] if what in COUNTED else "visits begun"
    tags = {
        "unit": "count",
        **kept,
        "window_seconds": str(window.length // 1000),
        "alignment_seconds": str(window.grain // 1000),
    }
    text = f"{counted} in the last {length}, in whole buckets of {window.grain // 1000} s up to and with the current one"
    return Field(name=name, dtype=Int64, description=text, tags=tags)


def _iceberg(settings: Settings, table: str, timestamp_field: str, created_timestamp_column: str | None = None) -> IcebergSource:
    lake = settings.lake
    return IcebergSource(
        name=table,
        catalog_type="rest" if lake.rest_uri else "sql",
        catalog_name=lake.catalog,
        warehouse=lake.warehouse,
        namespace=lake.namespace,
        table=table,
        endpoint=lake.rest_uri,
        catalog_properties={} if lake.rest_uri else {"uri": f"sqlite:///{lake.database}"},
        timestamp_field=timestamp_field,
        created_timestamp_column=created_timestamp_column,
        description=f"Iceberg table {table}",
        owner=OWNER,
    )
