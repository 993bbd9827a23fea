"""The gate: the contract files beside what was applied, what is registered and a commit of git, and what each change hits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from infra.config import Settings
from infra.contracts import registry
from infra.contracts.actions import TOPIC
from infra.contracts.compare import Finding, compare, events
from infra.contracts.contract import Contracts, Deprecation
from infra.contracts.load import FOLDER, read_contracts, take_own_unheld
from infra.contracts.registry import RegistryUnreachable
from infra.contracts.rules import broken_rules, events_have_schemas, schemas_can_be_read
from infra.portal import things
from infra.portal.graph import DATA, Graph, Hit, Node, hit_by
from infra.portal.release import Step, release
from jobs.gate.reference import NoReference, chosen, contracts_at

REGISTRY = "the registry"
_TEXTS = ("described anew", "examples changed", "domain changed", "owner changed", "description changed", "producers changed")
UNFELT = frozenset({*_TEXTS, "consumers changed"})
"""Changes of words, which hit nothing."""


@dataclass(frozen=True)
class Judged:
    """A change, beside which states of the contracts it is one, and what it hits."""

    finding: Finding
    against: tuple[str, ...]
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class Report:
    """What came out. `compared`: with what; `not_compared`: why not with the rest; `broken`: rules that the files break.

    `is_missed`: the commit that was asked for is among the rest.
    """

    compared: tuple[str, ...]
    not_compared: tuple[str, ...]
    broken: tuple[str, ...]
    judged: tuple[Judged, ...]
    steps: tuple[Step, ...]
    is_missed: bool = False

    @property
    def status(self) -> int:
        """0: safe; 1: something breaks; 2: nothing could be compared, or not with the commit that was asked for."""
        if self.broken or any(not one.finding.safe for one in self.judged):
            return 1
        return 0 if self.compared and not self.is_missed else 2


def check(settings: Settings, ref: str | None, today: date, folder: Path = FOLDER) -> Report:
    """Compare the contract files in `folder` with what was applied, the registry and a commit of git; what does not answer is passed over.

    A registry or a commit that is not there is said; a broker is away wherever nothing runs.

    Raises:
        ContractError: a contract file cannot be read.

    """
    after = read_contracts(folder)
    if unread := tuple(schemas_can_be_read(after)):
        return Report((), ("anything: schemas cannot be read",), unread, (), ())
    broken = tuple(broken_rules(after))
    if any(events_have_schemas(after)):
        return Report((), ("anything: schemas are missing",), broken, (), ())
    if TOPIC not in after.topics:  # of which the programs are made that would say what is hit
        gone = f"{folder / 'topics'}: expected {TOPIC}.yaml, got {len(after.topics)} others; put it back"
        return Report((), (f"anything: {TOPIC} has no contract",), (*broken, gone), (), ())
    if folder == FOLDER:
        take_own_unheld()  # what is imported next derives tables from them
    from jobs.gate.applied import APPLIED, applied, applied_findings
    from jobs.portal.dependencies import gather

    compared, missing, is_missed = list[str](), list[str](), False
    found: dict[Finding, list[str]] = {}
    graphs = [gather(settings, after)]
    known: dict[tuple[str, str, int], Deprecation] = {}
    try:
        reference = chosen(settings.root, ref)
        with contracts_at(settings.root, reference) as before:
            known |= _promised(before)
            graphs.append(gather(settings, before))
            for finding in compare(before, after, today):
                found.setdefault(finding, []).append(reference.said)
        compared.append(reference.said)
    except NoReference as error:
        missing.append(str(error))
        is_missed = ref is not None
    if (held := applied(settings, after)) is not None:
        for state in held.values():
            known |= _promised(state)
        for finding in applied_findings(held, after, today):
            found.setdefault(finding, []).append(APPLIED)
        compared.insert(0, APPLIED)
        graphs.append(gather(settings, _as_in(after, held.values())))
    try:
        registered = registry.registered(settings, after)
        for finding in registered_findings(registered, after, known, today):
            found.setdefault(finding, []).append(REGISTRY)
        compared.insert(0, REGISTRY)
        graphs.append(gather(settings, _as_in(after, registered.values())))
    except RegistryUnreachable as error:
        missing.append(str(error))
    graph = Graph(list(dict.fromkeys(edge for one in graphs for edge in one.edges)))
    judged = [Judged(finding, tuple(against), tuple(hits(graph, finding))) for finding, against in found.items()]
    judged.sort(key=lambda one: (one.finding.safe, one.finding.place, one.finding.what))
    return Report(tuple(compared), tuple(missing), broken, tuple(judged), tuple(release(found, graph)), is_missed)


def _promised(contracts: Contracts) -> dict[tuple[str, str, int], Deprecation]:
    """By topic, event type and version, how its end was announced."""
    return {(topic.name, *event): end for topic in contracts.topics.values() for event, end in topic.deprecations.items()}


def _as_in(after: Contracts, states: Iterable[Contracts]) -> Contracts:
    """These contracts with the events and schemas of an earlier state, which may be gone or have had other fields."""
    schemas, topics = dict(after.schemas), dict(after.topics)
    for state in states:
        schemas |= state.schemas
        for name in state.topics.keys() & topics.keys():
            gone = tuple(event for event in state.topics[name].events if event in state.schemas and event not in topics[name].events)
            topics[name] = replace(topics[name], events=(*topics[name].events, *gone))
    return replace(after, schemas=schemas, topics=topics)


def registered_findings(
    registered: Mapping[str, Contracts], after: Contracts, known: Mapping[tuple[str, str, int], Deprecation], today: date
) -> Sequence[Finding]:
    """What changed since the schemas were registered; of versions that were taken away since, `known` tells until when they were to live.

    The registry keeps what was registered once, so a version that nobody knows any more is no finding.
    """
    found = list[Finding]()
    for name, before in registered.items():
        topic = before.topics[name]
        ends = {event: known[name, *event] for event in topic.events if (name, *event) in known}
        kept = tuple(event for event in topic.events if event in after.topics[name].events or event in ends)
        # what is deprecated now is no finding: the registry does not hold it
        deprecations = ends | dict(after.topics[name].deprecations)
        held = replace(before, topics={name: replace(topic, events=kept, deprecations=deprecations)})
        found += events(held, after, name, today)
    return found


def hits(graph: Graph, finding: Finding) -> list[Hit]:
    """All that reads what changes, or is made from it."""
    if finding.what in UNFELT:
        return []
    return hit_by(graph, [_start(finding)], DATA)


def _start(finding: Finding) -> Node:
    topic, kind, version, field = finding.topic, finding.event_type, finding.version, finding.field
    if kind is None:
        return things.topic(topic)
    if version is None:
        return things.event(topic, kind)
    return things.version(topic, kind, version) if field is None else things.field(topic, kind, version, field)
