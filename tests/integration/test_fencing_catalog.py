"""A zombie of Flink's sink adds no file twice: the project's catalog refuses its commit, before a sqlite file and a REST catalog alike."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from py4j.java_gateway import CallbackServerParameters, JavaGateway
from py4j.protocol import Py4JJavaError
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import CommitTableRequest

from infra.config import Settings, load_settings
from jobs.flink.tables import iceberg_catalog
from lakehouse import migrate
from lakehouse.catalog import load_table, open_catalog
from lakehouse.tables import TABLES
from tests.flinks_java import flinks_java

TABLE = "user_actions"


@pytest.fixture(scope="module")
def java() -> Iterator[JavaGateway]:
    """A Java with what Flink has in its lib folder, which calls back."""
    with flinks_java() as (parameters, _):
        gateway = JavaGateway(gateway_parameters=parameters, callback_server_parameters=CallbackServerParameters(port=0))
        callbacks = gateway.get_callback_server()
        address = gateway.jvm.java.net.InetAddress.getByName(callbacks.get_listening_address())
        gateway.java_gateway_server.resetCallbackClient(address, callbacks.get_listening_port())
        yield gateway
        gateway.shutdown()


@pytest.fixture(params=["sqlite", "rest"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """A lake with one table; how Flink shall reach it."""
    held = load_settings({"STREAMHOUSE_STATE": str(tmp_path)})
    migrate.apply(held, {TABLE: TABLES[TABLE]})
    if request.param == "sqlite":
        yield held
        return
    with rest_catalog(held) as uri:
        yield load_settings({"STREAMHOUSE_STATE": str(tmp_path), "STREAMHOUSE_LAKE_REST_URI": uri})


@contextmanager
def rest_catalog(held: Settings) -> Iterator[str]:
    """As much of a REST catalog before a sqlite one as a sink needs: what a table is, and a commit with its requirements."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/v1/config"):
                self.answer(200, {"defaults": {}, "overrides": {}})
            else:
                with open_catalog(held) as catalog:
                    table = load_table(catalog, held, TABLE)
                self.answer(200, {"metadata-location": table.metadata_location, "metadata": json.loads(table.metadata.model_dump_json())})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/metrics"):
                self.answer(200, {})
                return
            body["identifier"] = {"namespace": [held.lake.namespace], "name": TABLE}  # Java leaves it to the path
            request = CommitTableRequest.model_validate(body)
            try:
                with open_catalog(held) as catalog:
                    done = catalog.commit_table(load_table(catalog, held, TABLE), request.requirements, request.updates)
            except CommitFailedException as error:
                self.answer(409, {"error": {"message": str(error), "type": "CommitFailedException", "code": 409}})
            else:
                self.answer(200, {"metadata-location": done.metadata_location, "metadata": json.loads(done.metadata.model_dump_json())})

        def answer(self, status: int, what: object) -> None:
            body = json.dumps(what).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Committer:
    """The table as one committer of the sink has loaded it: by the catalog that Flink's SQL describes."""

    def __init__(self, java: JavaGateway, settings: Settings) -> None:
        self.java = java.jvm
        options = dict(re.findall(r"'(.*)' = '(.*)'", iceberg_catalog(settings)))
        properties = self.java.java.util.HashMap()
        for name, value in options.items():
            properties.put(name, value)
        iceberg = self.java.org.apache.iceberg
        loader = iceberg.flink.CatalogLoader.custom(
            settings.lake.catalog, properties, self.java.org.apache.hadoop.conf.Configuration(), options["catalog-impl"]
        )
        tables = iceberg.flink.TableLoader.fromCatalog(loader, iceberg.catalog.TableIdentifier.parse(f"{settings.lake.namespace}.{TABLE}"))
        tables.open()
        self.table: Any = tables.loadTable()

    def append(self, *files: str, checkpoint: int, job: str = "job", operator: str = "operator") -> Any:
        """What it will commit of a checkpoint, with the summary that the sink gives it."""
        append = self.table.newAppend()
        for file in files:
            builder = self.java.org.apache.iceberg.DataFiles.builder(self.table.spec())
            builder = builder.withPath(f"{self.table.location()}/data/{file}.parquet").withFileSizeInBytes(100).withRecordCount(1)
            append.appendFile(builder.withPartitionPath("topic_partition=0/event_time_day=2024-01-01").build())
        append.set("flink.job-id", job).set("flink.operator-id", operator).set("flink.max-committed-checkpoint-id", str(checkpoint))
        return append.toBranch("main")


@contextmanager
def refused(checkpoint: int, by: int) -> Iterator[None]:
    """Refused at once, in words that tell what happened."""
    with pytest.raises(Py4JJavaError) as raised:
        yield
    error = raised.value.java_exception
    assert error.getClass().getName() == "org.apache.iceberg.exceptions.ValidationException"
    assert re.search(
        rf"\.{TABLE}: checkpoint {checkpoint} of operator operator of job job is refused: since (?s:.*) another one has committed"
        rf" checkpoint {by} of the same operator \(snapshot \d+\)",
        error.getMessage(),
    )


def files(settings: Settings) -> Counter[str]:
    """The data files that the table lists, and how often each; read through its manifests, so that none of them is gone."""
    with open_catalog(settings) as catalog:
        return Counter(Path(task.file.file_path).stem for task in load_table(catalog, settings, TABLE).scan().plan_files())


def manifests(settings: Settings) -> set[str]:
    """The manifests and their lists that lie in the table's folder."""
    return {file.name for file in settings.state.rglob("*.avro")}


@pytest.mark.parametrize("checkpoint", [6, 7])
def test_what_the_successor_has_committed_is_refused(java: JavaGateway, settings: Settings, checkpoint: int) -> None:
    zombie, successor = Committer(java, settings), Committer(java, settings)
    late = zombie.append("a", checkpoint=checkpoint)
    successor.append("a", checkpoint=7).commit()
    left = manifests(settings)
    with refused(checkpoint, by=7):
        late.commit()
    assert files(settings) == {"a": 1}
    assert manifests(settings) == left


def test_a_successor_that_a_zombie_overtook_is_refused_until_it_has_looked_again(java: JavaGateway, settings: Settings) -> None:
    zombie, successor = Committer(java, settings), Committer(java, settings)
    zombie.append("a", checkpoint=7).commit()
    with refused(8, by=7):
        successor.append("a", "b", checkpoint=8).commit()  # both, since by the table as it was loaded neither is committed
    Committer(java, settings).append("b", checkpoint=8).commit()
    assert files(settings) == {"a": 1, "b": 1}


def test_the_one_that_is_slower_within_its_commit_is_refused(java: JavaGateway, settings: Settings) -> None:
    zombie, successor = Committer(java, settings), Committer(java, settings)
    late = zombie.append("a", checkpoint=7)
    tried = []

    class SuccessorCommits:
        """Between the zombie's look at the newest metadata and its swap."""

        def validate(self, snapshots: object) -> bool:
            tried.append(snapshots)
            if len(tried) == 1:
                successor.append("a", checkpoint=7).commit()
            return True

        def errorMessage(self) -> str:  # noqa: N802
            return "it is asked for in any case"

        class Java:
            implements = ("org.apache.iceberg.SnapshotAncestryValidator",)

    late.validateWith(SuccessorCommits())
    with refused(7, by=7):
        late.commit()
    assert len(tried) == 2, "the first attempt lost the swap, the second was refused"
    assert files(settings) == {"a": 1}


def test_upkeep_in_between_hides_nothing(java: JavaGateway, settings: Settings) -> None:
    zombie, successor = Committer(java, settings), Committer(java, settings)
    late = zombie.append("a", checkpoint=7)
    successor.append("a", checkpoint=7).commit()
    with open_catalog(settings) as catalog, load_table(catalog, settings, TABLE).transaction() as transaction:
        transaction.update_snapshot(snapshot_properties={"by": "upkeep"}).fast_append().commit()
    with refused(7, by=7):
        late.commit()
    assert files(settings) == {"a": 1}


def test_the_commits_of_one_follow_each_other_past_those_of_others(java: JavaGateway, settings: Settings) -> None:
    committer, other = Committer(java, settings), Committer(java, settings)
    committer.append("a", checkpoint=1).commit()
    other.append("b", checkpoint=9, job="another").commit()
    other.append("c", checkpoint=9, operator="another").commit()
    with open_catalog(settings) as catalog, load_table(catalog, settings, TABLE).transaction() as transaction:
        transaction.update_snapshot(snapshot_properties={"by": "upkeep"}).fast_append().commit()
    committer.append("d", checkpoint=2).commit()
    committer.append("e", checkpoint=3).commit()
    assert files(settings) == {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}
