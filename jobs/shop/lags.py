"""How far the shop's read models are behind their topics, for `status`."""

from __future__ import annotations

from confluent_kafka import KafkaException
from sqlalchemy.exc import DBAPIError

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.patterns.database import open_database
from jobs.patterns.lag import Lag, lags
from jobs.shop.project import PROJECTIONS


def read_model_lags(settings: Settings) -> list[Lag]:
    """Each version of each read model in the database; none where broker or database do not answer, or nobody made one."""
    if not settings.read_models.url and not settings.read_models.file.exists():
        return []
    try:
        database = open_database(settings)
    except StreamhouseError:
        return []
    try:
        return [lag for projection in PROJECTIONS for lag in lags(settings, database, projection.name)]
    except (KafkaException, DBAPIError):
        return []
    finally:
        database.dispose()
