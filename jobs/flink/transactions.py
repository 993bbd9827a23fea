"""Kafka transactions that a job left open, by the broker's own list: only its administration interface in Java has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyflink.java_gateway import get_gateway

from infra.config import Settings


def abort_lingering(settings: Settings, prefixes: Sequence[str]) -> list[str]:
    """Abort what is open under ids that begin so, and shut out whoever still writes under one; answers those that were open.

    Afterwards nothing that an earlier run wrote becomes visible any more, so what is committed then is all there is.

    Raises:
        py4j.protocol.Py4JJavaError: the broker does not answer.

    """
    java: Any = get_gateway().jvm
    properties = java.java.util.Properties()
    for name, value in settings.kafka.java_client().items():
        properties.setProperty(name, value)
    admin = java.org.apache.flink.kafka.shaded.org.apache.kafka.clients.admin.Admin.create(properties)
    try:
        listed = [(str(one.transactionalId()), str(one.state())) for one in admin.listTransactions().all().get()]
        ours = [(name, state) for name, state in listed if any(name.startswith(f"{prefix}-") for prefix in prefixes)]
        if ours:
            names = java.java.util.ArrayList()
            for name, _ in ours:
                names.add(name)
            admin.fenceProducers(names).all().get()
        return sorted(name for name, state in ours if not state.startswith(("Complete", "Empty", "Dead")))
    finally:
        admin.close()
