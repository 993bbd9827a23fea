"""The declared Iceberg tables, under contracts that may not be those that this process began with."""

from __future__ import annotations

from collections.abc import Mapping

from infra.contracts.actions import TOPIC
from infra.contracts.contract import Contracts
from lakehouse.archives import of_actions
from lakehouse.tables import TABLES, USER_ACTIONS, Table


def tables_under(contracts: Contracts) -> Mapping[str, Table]:
    """By name; the columns of the archive of actions are the fields of their contract."""
    topic = contracts.topics.get(TOPIC)
    if topic is None or any(event not in contracts.schemas for event in topic.events):
        return TABLES
    return {**TABLES, USER_ACTIONS.name: of_actions(contracts)}
