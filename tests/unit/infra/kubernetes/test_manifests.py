"""infra/kubernetes describes the jobs of the embedded stack, on the operator's Flink clusters.

No cluster is here to try it: form is checked by schemas, and each value that it shares with the embedded stack is compared with its source.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.config import ROOT, load_settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.stack.services import flink_configuration, services
from jobs import archive_shop, archive_topics, score_events
from jobs.flink.tables import iceberg_catalog, source
from jobs.submit import ALL_JOBS
from lakehouse.catalog import rest_properties
from tests.unit.infra.kubernetes.checks import ADDED, LEFT_TO_KUBERNETES, OTHERWISE, known_to_flink, problems, violations
from tests.unit.infra.kubernetes.rendering import FOLDER, OVERLAYS, Document, kustomization, rendered, replace

SETTINGS = load_settings({})


def one(documents: list[Document], kind: str, name: str) -> Document:
    (found,) = [document for document in documents if (document["kind"], document["metadata"]["name"]) == (kind, name)]
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_well(overlay: str) -> None:
    assert problems(rendered(FOLDER / overlay)) == []


FLINK = "FlinkDeployment/score-events/spec"
MAIN = f"{FLINK}/podTemplate/spec/containers/0"
DATA = "ConfigMap/streamhouse-settings/data"
OPTIONS = f"{FLINK}/flinkConfiguration"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (f"{FLINK}/flinkVerson", "v2_2", "'flinkVerson' was unexpected"),
        (f"{FLINK}/flinkVersion", "v2_1", "requirements.txt pins"),
        (f"{FLINK}/flinkVersion", "2.2", "is not one of"),
        (f"{FLINK}/image", "flink:2.2.1", "expected streamhouse-flink"),
        (f"{FLINK}/image", "registry.example.com/streamhouse-flink:latest", "expected streamhouse-flink"),
        (f"{FLINK}/job/upgradeMode", "last-state", "refuses to start from a savepoint"),
        (f"{FLINK}/job/upgradeMode", "statefull", "is not one of"),
        (f"{FLINK}/job/jarURI", "local:///opt/flink/opt/flink-python-2.1.0.jar", "Flink's package has no"),
        (f"{FLINK}/job/entryClass", "org.apache.flink.client.python.PythonDiver", "has no class"),
        (f"{FLINK}/job/args/3", "/streamhouse/jobs/score_event.py", "expected the arguments"),
        (f"{FLINK}/job/args/1", "python3", "expected the arguments"),
        (f"{FLINK}/job/parallelism", 2, "expected parallelism 1"),
        (f"{FLINK}/job/allowNonRestoredState", True, "unexpected"),
        (f"{FLINK}/jobManager/resource/memory", "1Gi", "does not match"),
        (f"{FLINK}/taskManager/resource/memory", "4096m", "expected 2048m of memory"),
        (f"{FLINK}/taskManager/replicas", 2, "takes the place of job.parallelism"),
        (f"{FLINK}/logConfiguration/log4j-console.properties", "rootLogger.level = INFO", "not what the embedded stack logs by"),
        ("FlinkDeployment/score-events/metadata/name", "score_events", "does not match"),
        (f"{OPTIONS}/execution.checkpointing.num-retained", "1", "expected 3, got 1"),
        (f"{OPTIONS}/execution.checkpointing.dir", "file:///tmp/checkpoints", "expected s3://streamhouse/flink/checkpoints"),
        (f"{OPTIONS}/execution.checkpointing.num-retainde", "3", "Flink knows none of this name"),
        (f"{OPTIONS}/execution.checkpointing.unaligned.enabled", "true", "no reason is given"),
        (f"{OPTIONS}/web.submit.enable", False, "is not of type 'string'"),
        (f"{OPTIONS}/web.submit.enable", "true", "expected false, got true"),
        (f"{OPTIONS}/rest.port", "8081", "expected 18081"),
        (f"{OPTIONS}/high-availability.type", "zookeeper", "would forget its job"),
        (f"{OPTIONS}/high-availability.storageDir", "file:///ha", "expected s3://streamhouse/flink/ha"),
        (f"{OPTIONS}/kubernetes.entry.pth", "/bin/sh", "Flink knows none of this name"),
        (f"{OPTIONS}/s3.secret-key", "abc", "looks like a secret"),
        (f"{MAIN}/enviroment", [], "unexpected"),
        (f"{MAIN}/env/0/value", "hunter2", "has its value here"),
        (f"{MAIN}/env/0/name", "STREAMHOUSE_KAFKA_PASWORD", "is no secret of the settings"),
        (f"{MAIN}/envFrom/0/configMapRef/name", "settings", "no ConfigMap settings"),
        (f"{MAIN}/volumeMounts/0/mountPath", "/ca", "lies in no volume"),
        (f"{MAIN}/volumeMounts/0/name", "ca", "no volume ca"),
        (f"{FLINK}/podTemplate/spec/enableServiceLinks", True, "enableServiceLinks must be false"),
        (f"{FLINK}/podTemplate/spec/securityContext/runAsNonRoot", False, "runs as root"),
        (f"{DATA}/STREAMHOUSE_KAFKA_PASSWORD", "hunter2", "is a secret"),
        (f"{DATA}/STREAMHOUSE_KAFKA_BOOTSTRAP", "kafka:9093", "infra/settings.toml has no such setting"),
        (f"{DATA}/STREAMHOUSE_REDIS_PORT", "16379", "by default, and said there"),
        (f"{DATA}/STREAMHOUSE_REDIS_PORT", 6379, "is not of type 'string'"),
        (f"{DATA}/STREAMHOUSE_FLINK_SLOTS", "2", "option taskmanager.numberOfTaskSlots: expected 2, got 1"),
        (f"{DATA}/STREAMHOUSE_SCORE_EVENTS_PARALLELISM", "3", "expected parallelism 3"),
        (f"{DATA}/STREAMHOUSE_STACK_START", "all", "an embedded stack in a pod"),
        (f"{DATA}/STREAMHOUSE_FLINK_STORAGE_URI", "/checkpoints", "which all pods reach"),
        (f"{DATA}/STREAMHOUSE_LAKE_REST_URI", "http://me:hunter2@catalog:8181", "an address with a password"),
        (f"{DATA}/AWS_REGIO", "eu", "AWS_REGIO is no setting"),
        ("Job/apply/spec/template/spec/containers/0/image", "streamhouse-flink:0.0.9", "expected streamhouse-flink"),
        ("Job/apply/spec/backoffLimit", "three", "is not of type"),
        ("Job/apply/spec/backoffLimt", 3, "unexpected"),
        ("Job/apply/kind", "Jobb", "Kubernetes knows no such kind"),
    ],
)
def test_a_slip_is_found(path: str, value: object, said: str) -> None:
    documents = rendered(FOLDER / "application")
    kind, name, inside = path.split("/", 2)
    replace(one(documents, kind, name), inside, value)
    assert [text for text in problems(documents) if said in text], problems(documents)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (f"{DATA}/STREAMHOUSE_FLINK_HOST", "session", "is not the Service of this cluster"),
        ("FlinkDeployment/session/spec/flinkConfiguration/slotmanager.number-of-slots.min", "0", "the keeper waits for one"),
        ("FlinkDeployment/session/spec/flinkConfiguration/taskmanager.numberOfTaskSlots", "1", "expected 4, got 1"),
        ("Deployment/keeper/spec/replicas", 2, "never two at a time"),
        ("Deployment/keeper/spec/strategy/type", "RollingUpdate", "never two at a time"),
        ("Deployment/keeper/spec/template/spec/containers/0/volumeMounts/1/mountPath", "/jobs", "would go with its pod"),
        ("Deployment/keeper/spec/template/spec/containers/0/livenessProb", {}, "unexpected"),
        ("Deployment/keeper/spec/template/spec/enableServiceLinks", None, "enableServiceLinks must be false"),
    ],
)
def test_a_slip_in_the_session_is_found(path: str, value: object, said: str) -> None:
    documents = rendered(FOLDER / "session")
    kind, name, inside = path.split("/", 2)
    replace(one(documents, kind, name), inside, value)
    assert [text for text in problems(documents) if said in text], problems(documents)


def test_the_keeper_is_started_as_the_embedded_one() -> None:
    (container,) = one(rendered(FOLDER / "session"), "Deployment", "keeper")["spec"]["template"]["spec"]["containers"]
    (embedded,) = [service.command for service in services(SETTINGS) if service.name == "keeper"]
    assert container["command"][:2] == ["bash", "-c"]
    assert container["command"][2].endswith(f" && exec python {' '.join(embedded[1:])}")
    assert container["livenessProbe"]["exec"]["command"][-1].endswith("assert answers(load_settings(), 'keeper')")


def test_more_workers_than_partitions_are_found() -> None:
    documents = rendered(FOLDER / "larger")
    replace(one(documents, "FlinkDeployment", "score-events"), "spec/job/parallelism", 8)
    assert [text for text in problems(documents) if "has 4 partitions" in text]


def test_a_secret_in_a_file_is_found() -> None:
    documents = rendered(FOLDER / "application")
    documents.append(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "streamhouse-kafka"}, "stringData": {"password": "hunter2"}}
    )
    assert {"a Secret stands in a file", "/4/stringData/password: 'hunter2' looks like a secret"} <= set(problems(documents))


def test_a_variable_that_kubernetes_makes_of_a_service_would_stop_a_pod() -> None:
    """So pods have no such links."""
    with pytest.raises(StreamhouseError, match="no such setting"):
        load_settings({"STREAMHOUSE_REST_SERVICE_HOST": "10.0.0.1"})


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in FOLDER.glob("*/kustomization.yaml")))
def test_a_kustomization_names_what_there_is(folder: str) -> None:
    said = kustomization(FOLDER / folder)
    assert violations(said["kind"], said) == []
    named = [*said.get("resources", []), *said.get("components", []), *(patch["path"] for patch in said.get("patches", []))]
    assert all((FOLDER / folder / name).exists() for name in named)
    files = {path.name for path in (FOLDER / folder).iterdir()} - {"kustomization.yaml"}
    assert files == {name for name in named if not name.startswith("..")}


@pytest.mark.parametrize(
    ("path", "value"),
    [("resource", []), ("patches", ["flink.yaml"]), ("patches", [{"path": "x", "target": {"name": "y"}}]), ("kind", "Kustomisation")],
)
def test_the_check_of_a_kustomization_can_fail(path: str, value: object) -> None:
    assert violations("Kustomization", {**kustomization(FOLDER / "larger"), path: value})


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl, which carries kustomize, is not installed")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_renders_the_same(overlay: str) -> None:
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER / overlay)], capture_output=True, text=True, check=True, timeout=60)

    def by_name(documents: list[Document]) -> dict[str, Any]:
        return {f"{document['kind']} {document['metadata']['name']}": json.loads(json.dumps(document)) for document in documents}

    assert by_name(list(yaml.safe_load_all(done.stdout))) == by_name(rendered(FOLDER / overlay))


def test_every_job_has_a_cluster_of_its_name() -> None:
    documents = rendered(FOLDER / "shop")
    names = [document["metadata"]["name"].replace("-", "_") for document in documents if document["kind"] == "FlinkDeployment"]
    assert sorted(names) == sorted(ALL_JOBS)
    assert one(documents, "Job", "apply")["spec"]["template"]["spec"]["containers"][0]["command"] == ["/streamhouse/streamhouse", "apply"]


def test_the_larger_one_is_larger_and_nothing_else() -> None:
    application, larger = rendered(FOLDER / "application"), rendered(FOLDER / "larger")
    before, after = (one(documents, "FlinkDeployment", "score-events")["spec"] for documents in (application, larger))
    assert {name for name in after if after[name] != before.get(name)} == {
        "image",
        "flinkConfiguration",
        "jobManager",
        "taskManager",
        "job",
    }
    assert after["job"] == {**before["job"], "parallelism": 4}
    assert set(before["flinkConfiguration"]) <= set(after["flinkConfiguration"])


def test_each_difference_is_one() -> None:
    """A reason that is given for nothing is taken away."""
    embedded = flink_configuration(SETTINGS)
    assert set(LEFT_TO_KUBERNETES) | set(OTHERWISE) <= set(embedded)
    assert not set(ADDED) & set(embedded)
    used = {
        name
        for overlay in OVERLAYS
        for document in rendered(FOLDER / overlay)
        if document["kind"] == "FlinkDeployment"
        for name in document["spec"]["flinkConfiguration"]
    }
    assert set(ADDED) <= used


def test_flink_knows_each_option_of_the_embedded_stack_and_its_jobs() -> None:
    jobs = (score_events, archive_topics, archive_shop)
    options = set(flink_configuration(SETTINGS)) | {name for job in jobs for name in job.configuration(SETTINGS)}
    ours = {name for name in options if not name.startswith("table.exec.iceberg.")}
    assert {name for name in ours if not known_to_flink(name)} == set()
    assert not known_to_flink("rest.prt")
    assert not known_to_flink("rest")


def test_flink_and_python_reach_broker_and_catalog_by_the_settings_alone() -> None:
    data = one(rendered(FOLDER / "application"), "ConfigMap", "streamhouse-settings")["data"]
    ours = {name: value for name, value in data.items() if name.startswith("STREAMHOUSE_")}
    settings = load_settings({**ours, "STREAMHOUSE_KAFKA_PASSWORD": "hunter2"})
    assert rest_properties(settings) == {
        "type": "rest",
        "uri": data["STREAMHOUSE_LAKE_REST_URI"],
        "warehouse": "s3://streamhouse/warehouse",
    }
    catalog = iceberg_catalog(settings)
    assert "'fenced-catalog-impl' = 'org.apache.iceberg.rest.RESTCatalog'" in catalog
    assert "'warehouse' = 's3://streamhouse/warehouse'" in catalog
    table = source(settings, "actions", ["user-actions"], group="score_events")
    assert "'properties.security.protocol' = 'SASL_SSL'" in table
    assert "'properties.ssl.truststore.location' = '/kafka-ca/ca.crt'" in table
    assert "scram.ScramLoginModule" in table
    client = settings.kafka.client()
    assert (client["security.protocol"], client["sasl.mechanism"], client["ssl.ca.location"]) == (
        "SASL_SSL",
        "SCRAM-SHA-512",
        "/kafka-ca/ca.crt",
    )


def test_topics_come_from_the_contracts_alone() -> None:
    text = "\n".join(yaml.safe_dump_all(rendered(FOLDER / overlay)) for overlay in OVERLAYS)
    for topic in load_contracts().topics:
        assert not re.search(rf"(?<![\w-]){re.escape(topic)}(?![\w-])", text), topic


def test_what_is_written_names_no_machine() -> None:
    for file in FOLDER.rglob("*"):
        if file.is_file():
            assert str(ROOT) not in file.read_text("utf-8"), file
    assert Path(FOLDER / "Dockerfile").is_file()
