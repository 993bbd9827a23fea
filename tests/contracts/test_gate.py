"""Our own contracts pass the gate: against the state of the files that this clone was made of."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from infra.config import load_settings
from infra.contracts.compare import compare
from infra.contracts.load import load_contracts
from jobs.gate.reference import NoReference, chosen, contracts_at


def test_what_changed_since_the_reference_breaks_nobody() -> None:
    root = load_settings({}).root
    try:
        reference = chosen(root)
    except NoReference as error:  # a shallow clone, or files without a clone: there is nothing to compare with
        pytest.skip(str(error))
    with contracts_at(root, reference) as before:
        findings = compare(before, load_contracts(), datetime.now(UTC).date())
    assert [str(finding) for finding in findings if not finding.safe] == [], f"compared with {reference.said}"
