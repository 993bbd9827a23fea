"""Which contracts the records of user-actions were sent under, for who reads them again; and the next one announced.

The topic contract-changes decides. Where no broker answers, the table says the same: `apply` notes there what it is about to announce,
and afterwards from when it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import uuid4

from infra.clock import Clock, system_clock
from infra.config import Settings
from infra.contracts import changes
from infra.contracts.actions import TOPIC
from infra.contracts.change import Change
from infra.contracts.changes import Changes
from infra.contracts.compare import Finding, compare
from infra.contracts.contract import Contracts
from infra.contracts.in_effect import BEGINNING, ActionContract, InEffect, Revision, described, of_files
from infra.contracts.load import load_contracts
from infra.stack import health
from jobs.asking import asking
from lakehouse import contract_changes
from lakehouse.contract_changes import ANNOUNCED, INTENDED, WITHDRAWN

_KIND = "contract"


def in_effect(settings: Settings) -> InEffect:
    """What holds for each record that can be read now; this code's own files while nothing was announced.

    Raises:
        StreamhouseError: a contract on record is not to be read by this code, or an `apply` was interrupted and no broker can tell.

    """
    revisions: list[Revision] | tuple[Revision, ...]
    if health.answers(settings, "broker"):
        with asking("which contracts were announced"):
            revisions = announced(settings)
    else:
        revisions = contract_changes.on_record(settings)
    return InEffect(revisions) if revisions else of_files()


def announced(settings: Settings) -> list[Revision]:
    """All that the topic holds.

    Raises:
        KafkaException: the broker does not answer.

    """
    reader = Changes(settings)
    try:
        return reader.refresh()
    finally:
        reader.close()


def plan(settings: Settings, contracts: Contracts | None = None, clock: Clock = system_clock) -> list[Change]:
    """What `apply` would do: announce the contract files of this code where they say something else than what was announced last.

    What breaks somebody who keeps to the one announced last is refused.
    """
    with asking("which contracts were announced"):
        held = announced(settings)
    table = contract_changes.noted(settings)
    if len(held) < len(table.revisions):
        lost = (
            f"topic {changes.CHANGES} holds {len(held)} contracts and table contract_changes {len(table.revisions)}: it was made"
            " anew, and only the table knows by what older actions are decoded; bring it back, or begin anew with `./streamhouse reset`"
        )
        return [Change(_KIND, TOPIC, "refuse", lost)]
    if not held:
        return [Change(_KIND, TOPIC, "create", "it holds for all records")]
    if held[-1].document != described(contracts or load_contracts()):
        today = datetime.fromtimestamp(clock() / 1000, UTC).date()
        if broken := _breaking(InEffect(held[-1:]).newest, contracts or load_contracts(), today):
            return [Change(_KIND, TOPIC, "refuse", "; ".join(broken))]
        return [Change(_KIND, TOPIC, "update", f"it holds {changes.AHEAD_MS // 1000} s after it is announced; no job restarts")]
    if table.half_done or len(table.revisions) < len(held):
        return [Change(_KIND, TOPIC, "update", "note in table contract_changes what was announced")]
    return [Change(_KIND, TOPIC, "keep")]


def apply(
    settings: Settings,
    contracts: Contracts | None = None,
    *,
    clock: Clock = system_clock,
    new_id: Callable[[], str] = lambda: str(uuid4()),
) -> list[Change]:
    """Carry the plan out; interrupted anywhere and done again, each contract is announced once and noted.

    Raises:
        StreamhouseError: the broker does not answer.

    """
    document = described(contracts or load_contracts())
    with asking("the announcement of a contract"):
        held = announced(settings)
        _complete(settings, held, clock)
        if held and held[-1].document == document:
            return [Change(_KIND, TOPIC, "keep")]
        change_id = new_id()
        contract_changes.note(settings, INTENDED, Revision(BEGINNING, document, change_id), clock())
        revision = changes.announce(settings, document, first=not held, change_id=change_id, now_ms=clock())
    contract_changes.note(settings, ANNOUNCED, revision, clock())
    if not held:
        return [Change(_KIND, TOPIC, "create", "it holds for all records")]
    holds = datetime.fromtimestamp(revision.from_ms / 1000, UTC)
    return [Change(_KIND, TOPIC, "update", f"it holds from {holds:%H:%M:%S} UTC on; no job restarts")]


def _breaking(held: ActionContract, contracts: Contracts, today: date) -> list[str]:
    return [str(finding) for finding in findings(as_announced(held, contracts), contracts, today) if not finding.safe]


def as_announced(held: ActionContract, contracts: Contracts) -> Contracts:
    """User-actions alone as a contract on record says it; of what that one does not say, as these contracts do."""
    topic = replace(
        contracts.topics[TOPIC],
        events=held.topic.events,
        event_time=held.topic.event_time,
        upcasts=held.topic.upcasts,
        deprecations=held.topic.deprecations,
    )
    return Contracts(contracts.folder, {TOPIC: topic}, held.schemas, frozenset())


def findings(before: Contracts, after: Contracts, today: date) -> list[Finding]:
    """What the gate says of the way from user-actions as it was announced to these contracts."""
    return compare(before, replace(after, topics={TOPIC: after.topics[TOPIC]}), today)


def _complete(settings: Settings, held: list[Revision], clock: Clock) -> None:
    """Note what an `apply` that was interrupted left out: contracts that were announced, and those that never were."""
    table = contract_changes.noted(settings)
    known = {revision.change_id for revision in table.revisions}
    for revision in held:
        if revision.change_id not in known:
            contract_changes.note(settings, ANNOUNCED, revision, clock())
    there = {revision.change_id for revision in held}
    for change_id in table.half_done:
        if change_id not in there:
            contract_changes.note(settings, WITHDRAWN, Revision(BEGINNING, "", change_id), clock())
