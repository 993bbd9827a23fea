"""What was applied, as far as a running broker tells: beside it the gate says what `apply` would refuse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from infra.config import Settings
from infra.contracts.actions import TOPIC
from infra.contracts.compare import Finding, topic_removed
from infra.contracts.contract import Contracts
from infra.contracts.in_effect import InEffect
from infra.stack import health
from jobs import applied_contracts, contract_history
from jobs.asking import asking

APPLIED = "what was applied"


def applied(settings: Settings, contracts: Contracts) -> Mapping[str, Contracts] | None:
    """By topic, it alone as it was applied last, of these contracts where nothing else is known; None: no broker answers."""
    if not health.answers(settings, "broker"):
        return None
    found = dict(applied_contracts.applied(settings, contracts))
    with asking("which contracts were announced"):
        announced = contract_history.announced(settings)
    if announced:
        found[TOPIC] = contract_history.as_announced(InEffect(announced[-1:]).newest, contracts)
    return found


def applied_findings(before: Mapping[str, Contracts], after: Contracts, today: date) -> Iterator[Finding]:
    """What changed since. Fields of other topics than user-actions are compared with the registry, which holds them."""
    for name, held in before.items():
        if name not in after.topics:
            yield topic_removed(name)
        elif name == TOPIC:
            yield from contract_history.findings(held, after, today)
        else:
            yield from applied_contracts.findings(held, after, name, today)
