"""What tests of the audit share: what a report says, and lakes of their own."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from infra.config import Settings, load_settings
from jobs.audit.run import Report
from jobs.findings import Finding
from lakehouse import migrate
from tests.audited import Archive

USERS = 40


def kinds(report: Report) -> dict[tuple[str, str], int]:
    return dict(report.findings.counts)


def found(report: Report, where: str, kind: str) -> list[Finding]:
    return [finding for finding in report.findings.kept if (finding.where, finding.kind) == (where, kind)]


def archived_apart(settings: Settings, state: Path, step: int = 100_000) -> Settings:
    own = load_settings({"STREAMHOUSE_STATE": str(state), "STREAMHOUSE_KAFKA_PORT": str(settings.kafka.port)})
    migrate.apply(own)
    Archive(own, step).follow_all()
    return own


def with_value(rows: pa.Table, column: str, at: int, value: object) -> pa.Table:
    values = rows[column].to_pylist()
    values[at] = value
    return rows.set_column(rows.column_names.index(column), column, pa.array(values, rows[column].type))
