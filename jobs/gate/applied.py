"""What was applied, as far as a running broker tells: beside it the gate says what `apply` would refuse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date

from infra.config import Settings
from infra.contracts.actions import TOPIC
from infra.contracts.compare import Finding, compare, events, topic_removed
from infra.contracts.contract import Contracts, Deprecation
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
        held = InEffect(announced[-1:]).newest
        topic = replace(
            contracts.topics[TOPIC],
            events=held.topic.events,
            event_time=held.topic.event_time,
            upcasts=held.topic.upcasts,
            deprecations=held.topic.deprecations,
        )
        found[TOPIC] = Contracts(contracts.folder, {TOPIC: topic}, held.schemas, frozenset())
    return found


def applied_findings(before: Mapping[str, Contracts], after: Contracts, today: date) -> Iterator[Finding]:
    """What changed since. Fields of other topics than user-actions are compared with the registry, which holds them."""
    for name, held in before.items():
        if name not in after.topics:
            yield topic_removed(name)
        elif name == TOPIC:
            yield from compare(held, replace(after, topics={TOPIC: after.topics[TOPIC]}), today)
        else:
            yield from (finding for finding in events(held, after, name, today) if finding.field is None)


def promised(before: Mapping[str, Contracts]) -> dict[tuple[str, str, int], Deprecation]:
    """By topic, event type and version, how its end was announced."""
    return {(name, *event): end for name, held in before.items() for event, end in held.topics[name].deprecations.items()}
