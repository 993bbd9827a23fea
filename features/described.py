"""The feature definitions as plain values, for those who show them and do not work with Feast."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from infra.config import Settings


@dataclass(frozen=True)
class DescribedFeature:
    """A feature of a view. `type`: by Feast's name."""

    name: str
    type: str
    unit: str
    description: str


@dataclass(frozen=True)
class DescribedView:
    """A feature view. `table`: from which its history is read; `services`: those that hold features of it; `ttl` zero: without end."""

    name: str
    owner: str
    description: str
    entity: str
    freshness: str
    ttl: timedelta
    table: str
    features: tuple[DescribedFeature, ...]
    services: tuple[str, ...]


def described(settings: Settings) -> tuple[DescribedView, ...]:
    """Every view that `apply` registers. The first call imports Feast, which takes seconds."""
    from feast import FeatureService, FeatureView

    from features.definitions import definitions

    known = definitions(settings)
    services = [one for one in known if isinstance(one, FeatureService)]
    return tuple(
        DescribedView(
            name=view.name,
            owner=view.owner,
            description=view.description,
            entity=", ".join(view.entities),
            freshness=view.tags.get("freshness", ""),
            ttl=view.ttl or timedelta(0),
            table="" if view.batch_source is None else view.batch_source.name,
            features=tuple(
                DescribedFeature(field.name, str(field.dtype), field.tags.get("unit", ""), field.description) for field in view.features
            ),
            services=tuple(service.name for service in services if view.name in {part.name for part in service.feature_view_projections}),
        )
        for view in known
        if isinstance(view, FeatureView)
    )
