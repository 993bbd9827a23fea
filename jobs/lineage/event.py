"""One event of OpenLineage, from plain values to what its client sends. Imported where events leave, since the client imports long."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from openlineage.client import event_v2, facet_v2
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.generated.symlinks_dataset import Identifier

from infra.contracts.codec import rfc3339
from jobs.lineage.data import Data
from jobs.lineage.told import Told

PRODUCER = "urn:streamhouse"
"""Who says all this, in each event and facet."""


def run_event(told: Told) -> RunEvent:
    """The event that tells it."""
    event_v2.set_producer(PRODUCER)
    engine, number = ("Flink", version("apache-flink")) if told.is_stream else ("Python", platform.python_version())
    facets: dict[str, Any] = {"processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet(version=number, name=engine)}
    if told.error:
        facets["errorMessage"] = facet_v2.error_message_run.ErrorMessageRunFacet(message=told.error, programmingLanguage="Python")
    kind = facet_v2.job_type_job.JobTypeJobFacet(
        processingType="STREAMING" if told.is_stream else "BATCH", integration="STREAMHOUSE", jobType="JOB" if told.is_stream else "COMMAND"
    )
    return RunEvent(
        eventTime=rfc3339(told.at_ms),
        producer=PRODUCER,
        run=Run(told.run_id, facets),
        job=Job(told.namespace, told.job, {"jobType": kind}),
        eventType=RunState[told.state],
        inputs=[InputDataset(data.namespace, data.name, facets=_facets(data)) for data in _once(told.reads)],
        outputs=[OutputDataset(data.namespace, data.name, facets=_facets(data)) for data in _once(told.writes)],
    )


def _once(several: Sequence[Data]) -> list[Data]:
    """Each dataset once, as it was told last: a state that was read is known better than a name."""
    return list({(data.namespace, data.name): data for data in several}.values())


def _facets(data: Data) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if data.fields:
        kind = facet_v2.schema_dataset.SchemaDatasetFacetFields
        fields = [kind(name=field.name, type=field.type or None, description=field.description or None) for field in data.fields]
        facets["schema"] = facet_v2.schema_dataset.SchemaDatasetFacet(fields=fields)
    if data.version is not None:
        facets["version"] = facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=data.version)
    if data.owner:
        owner = facet_v2.ownership_dataset.Owner(name=f"team:{data.owner}", type="OWNER")
        facets["ownership"] = facet_v2.ownership_dataset.OwnershipDatasetFacet(owners=[owner])
    if data.description:
        facets["documentation"] = facet_v2.documentation_dataset.DocumentationDatasetFacet(description=data.description)
    if data.storage:
        facets["storage"] = facet_v2.storage_dataset.StorageDatasetFacet(storageLayer=data.storage, fileFormat="parquet")
    if data.also is not None:
        known = Identifier(namespace=data.also[0], name=data.also[1], type="TABLE")
        facets["symlinks"] = facet_v2.symlinks_dataset.SymlinksDatasetFacet(identifiers=[known])
    return facets
