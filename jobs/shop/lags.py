"""How far the shop's read models are behind their topics, for `status`."""

from __future__ import annotations

from confluent_kafka import KafkaException
from sqlalchemy.exc import DBAPIError

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.patterns.database import open_database
from jobs.patterns.lag import Lag, lags
from jobs.patterns.patience import why
from jobs.shop.project import PROJECTIONS


def read_model_lags(settings: Settings) -> tuple[list[Lag], str]:
    """Each version of each read model in the database, none where nobody made one; and why that cannot be told, empty where it can."""
    if not settings.read_models.url and not settings.read_models.file.exists():
        return [], ""
    try:
        database = open_database(settings)
    except StreamhouseError as error:
        return [], str(error)
    try:
        return [lag for projection in PROJECTIONS for lag in lags(settings, database, projection.name)], ""
    except KafkaException as error:
        return [], f"read models: {why(error)}"
    except DBAPIError as error:
        return [], f"read models: {why(error)}; see read_models.url in the settings"
    finally:
        database.dispose()
