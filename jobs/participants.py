"""Every participant that can be started here, by name: the shop's and the bank's."""

from __future__ import annotations

from infra.config import Settings
from infra.errors import StreamhouseError
from jobs.bank.account import ACCOUNT
from jobs.patterns.aggregate import Aggregate
from jobs.patterns.participant import Participant
from jobs.shop.order import Patience
from jobs.shop.saga import participants as shop


def participants(settings: Settings) -> dict[str, Participant]:
    """All of them, with the deadlines of the settings."""
    waits = settings.shop
    patience = Patience(1000 * waits.payment_seconds, 1000 * waits.inventory_seconds, 1000 * waits.shipping_seconds)
    return {**shop(patience, waits.carrier_leaves_percent), "account": Participant("account", ACCOUNT)}


def participant(settings: Settings, name: str) -> Participant:
    """One of them.

    Raises:
        StreamhouseError: none is called so.

    """
    known = participants(settings)
    if name not in known:
        message = f"participant {name!r}: expected one of {', '.join(sorted(known))}"
        raise StreamhouseError(message)
    return known[name]


def aggregates(settings: Settings) -> dict[str, Aggregate]:
    """Every kind of aggregate, by its name."""
    return {one.aggregate.name: one.aggregate for one in participants(settings).values() if one.aggregate is not None}
