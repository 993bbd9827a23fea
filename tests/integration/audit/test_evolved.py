"""Tables that another code than this one has evolved: its contract files may be newer than this code's, or older, and nobody waits."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from infra.clock import system_clock
from infra.config import Settings
from infra.contracts.changes import announce
from infra.contracts.contract import Contracts
from infra.contracts.in_effect import described
from jobs import contract_history
from jobs.audit.run import audit
from lakehouse import migrate
from lakehouse.archives import of_actions
from lakehouse.read import read
from lakehouse.tables import TABLES
from tests.audited import Archive, Scorer, Sent, Writer, action, audited_anew
from tests.evolved import TEXT, own, with_field, with_version
from tests.integration.audit.reports import found, kinds, with_value
from tests.integration.audit.test_tables import change
from tests.lake import rewrite_records

ACTIONS = 60
PRICE = {"type": ["integer", "null"], "minimum": 0, "maximum": 10**12, "description": "What it costs.", "unit": "cents"}


def newer() -> Contracts:
    """With three optional fields more."""
    return with_field(with_field(with_field(own(), "referrer"), "productId"), "priceCents", PRICE)


def longer() -> Contracts:
    """With a limit that was loosened, and a field that has another name."""
    contracts = copy.deepcopy(newer())
    contracts.schemas["UserAction", 1].document["properties"]["data"]["properties"]["lifecycle"]["maxLength"] = 200
    return with_version(contracts, {"platform": "device"}, {"country": TEXT}, {"country": "CH"})


@pytest.fixture
def evolved(broker: Settings, tmp_path: Path) -> Settings:
    """Topics and tables to which `newer` was applied, by code that is not this one: every second row has the new columns filled."""
    settings = audited_anew(broker, tmp_path / "state")
    contract_history.apply(settings, newer())
    with pytest.MonkeyPatch.context() as other_code:
        other_code.setitem(TABLES, "user_actions", of_actions(newer()))
        migrate.apply(settings, {"user_actions": TABLES["user_actions"]})
        records = [with_data(action(f"user_{n % 7}", n), priceCents=n, productId=f"p{n}", platform="tv") for n in range(ACTIONS)]
        Writer(settings, "shop").send([("user-actions", one) for one in records])
        Scorer(settings).answer()
        Archive(settings, step=25).follow_all()
        rewrite_records(settings, "user_actions", written_by_a_newer_archiver)
    return settings


def with_data(sent: Sent, **data: object) -> Sent:
    event = orjson.loads(sent.value or b"")
    return replace(sent, value=orjson.dumps(event | {"data": event["data"] | data}))


def written_by_a_newer_archiver(rows: pa.Table) -> pa.Table:
    data = [orjson.loads(value)["data"] if at % 2 else {} for at, value in enumerate(rows["value"].to_pylist())]
    assert [one for one in data if one]
    for column, name in (("price_cents", "priceCents"), ("product_id", "productId")):
        values = pa.array([one.get(name) for one in data], rows.schema.field(column).type)
        rows = rows.set_column(rows.column_names.index(column), column, values)
    return rows


def as_of(code: pytest.MonkeyPatch, contracts: Contracts) -> None:
    """Let this code declare the table as these files would."""
    code.setitem(TABLES, "user_actions", of_actions(contracts))


FILES: Sequence[Contracts] = (own(), newer(), longer())


@pytest.mark.parametrize("files", FILES, ids=["older", "same", "newer"])
def test_tables_are_audited_whatever_files_this_code_has(evolved: Settings, monkeypatch: pytest.MonkeyPatch, files: Contracts) -> None:
    as_of(monkeypatch, files)
    assert "price_cents" in read(evolved, "user_actions").column_names
    report = audit(evolved, settled=True, processes=0)
    assert kinds(report) == {}
    assert report.counts.actions == ACTIONS


def test_a_changed_column_is_found_by_files_that_do_not_name_it(evolved: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as other_code:  # which can write the column
        as_of(other_code, newer())
        place = change(evolved, "user_actions", lambda rows, at: with_value(rows, "price_cents", at, 10**6))
    report = audit(evolved, settled=True, processes=0)
    (finding,) = found(report, "user_actions", "changed_price_cents")
    assert (finding.partition, finding.offset) == place
    assert report.findings.total == 1


def test_rows_of_a_version_that_ended_are_compared_as_they_were_written(evolved: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract on record does not name their version any more; the table keeps how its columns are read."""
    second = longer()
    topic = second.topics["user-actions"]
    after = replace(
        second,
        topics=dict(second.topics) | {"user-actions": replace(topic, events=topic.events[1:], upcasts={}, deprecations={})},
        schemas={event: schema for event, schema in second.schemas.items() if event != ("UserAction", 1)},
    )
    with monkeypatch.context() as other_code:
        for number, contracts in enumerate((second, after)):
            as_of(other_code, contracts)
            migrate.apply(evolved, {"user_actions": TABLES["user_actions"]})
            announce(evolved, described(contracts), first=False, change_id=f"change-{number}", now_ms=system_clock())
        before = kinds(audit(evolved, settled=True, processes=0))
        rewrite_records(evolved, "user_actions")  # upkeep: a snapshot with the columns of now
    assert before == {}
    for files in (own(), after):
        as_of(monkeypatch, files)
        assert kinds(audit(evolved, settled=True, processes=0)) == {}


@pytest.mark.parametrize("renamed", [{"userId": "actorId"}, {"action": "kind"}], ids=["user", "action"])
def test_a_field_that_this_code_reads_may_have_another_name(
    evolved: Settings, monkeypatch: pytest.MonkeyPatch, renamed: dict[str, str]
) -> None:
    contracts = with_version(newer(), renamed, {}, {})
    as_of(monkeypatch, contracts)
    planned = [change.detail for change in migrate.apply(evolved, {"user_actions": TABLES["user_actions"]})]
    assert [detail for detail in planned if detail.startswith("rename column")]
    announce(evolved, described(contracts), first=False, change_id="change", now_ms=system_clock())
    assert kinds(audit(evolved, settled=True, processes=0)) == {}
    rewrite_records(evolved, "user_actions")  # upkeep: a snapshot with the columns of now
    assert kinds(audit(evolved, settled=True, processes=0)) == {}


def test_a_part_that_an_archiver_did_not_know_is_no_finding(broker: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = audited_anew(broker, tmp_path / "state")
    place = {"type": "object", "description": "Where.", "unit": "object"}
    small, large = ({**place, "properties": dict.fromkeys(parts, TEXT)} for parts in (["city"], ["city", "zip"]))
    with monkeypatch.context() as other_code:
        as_of(other_code, with_field(own(), "place", small))
        migrate.apply(settings, {"user_actions": TABLES["user_actions"]})
        records = [with_data(action(f"user_{n}", n), place={"city": f"c{n}", "zip": "3000"}) for n in range(9)]
        Writer(settings, "shop").send([("user-actions", one) for one in records])
        Scorer(settings).answer()
        Archive(settings).follow_all()

        def with_place(rows: pa.Table) -> pa.Table:
            cities = [orjson.loads(value)["data"]["place"]["city"] for value in rows["value"].to_pylist()]
            places = pa.array([f'{{"city":"{city}"}}' for city in cities], pa.string())
            return rows.set_column(rows.column_names.index("place"), "place", places)

        rewrite_records(settings, "user_actions", with_place)
        as_of(other_code, with_field(own(), "place", large))
        migrate.apply(settings, {"user_actions": TABLES["user_actions"]})
    assert kinds(audit(settings, settled=True, processes=0)) == {}


def test_parts_that_are_described_in_another_order_are_no_finding(
    broker: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"type": "object", "description": "Where.", "unit": "object"}
    first, second = (with_field(own(), "place", {**place, "properties": dict.fromkeys(parts, TEXT)}) for parts in ("ab", "ba"))
    with monkeypatch.context() as other_code:
        as_of(other_code, first)
        settings = audited_anew(broker, tmp_path / "state")  # the column is there from the beginning
        records = [with_data(action(f"user_{n}", n), place={"a": f"a{n}", "b": "b"}) for n in range(9)]
        Writer(settings, "shop").send([("user-actions", one) for one in records])
        Scorer(settings).answer()
        Archive(settings).follow_all()

        def with_place(rows: pa.Table) -> pa.Table:
            places = [orjson.dumps(orjson.loads(value)["data"]["place"]).decode() for value in rows["value"].to_pylist()]
            return rows.set_column(rows.column_names.index("place"), "place", pa.array(places, pa.string()))

        rewrite_records(settings, "user_actions", with_place)
        as_of(other_code, with_field(second, "referrer"))
        planned = [change.detail for change in migrate.apply(settings, {"user_actions": TABLES["user_actions"]})]
        assert not [detail for detail in planned if "place" in detail]
        assert kinds(audit(settings, settled=True, processes=0)) == {}
        change(settings, "user_actions", lambda rows, at: with_value(rows, "place", at, '{"b":"b"}'))
    assert kinds(audit(settings, settled=True, processes=0)) == {("user_actions", "changed_place"): 1}
