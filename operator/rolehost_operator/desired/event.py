"""A note about a Role as a Kubernetes Event."""

from datetime import datetime

from rolehost_api.crd.common import ObjectMeta
from rolehost_api.names import API_VERSION
from rolehost_operator.objects import KubeObject
from rolehost_operator.plan import Note

MAX_MESSAGE = 1024
"""What the apiserver takes."""


def event(meta: ObjectMeta, note: Note, reporter: str, now: datetime) -> KubeObject:
    """About the Role of this metadata, said by the operator's process `reporter`."""
    at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {"apiVersion": API_VERSION, "kind": "Role", "name": meta.name, "namespace": meta.namespace, "uid": meta.uid}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{meta.name}.", "namespace": meta.namespace},
        "involvedObject": about,
        "type": note.type,
        "reason": note.reason,
        "message": note.message[:MAX_MESSAGE],
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        "source": {"component": "rolehost-operator"},
        "reportingComponent": "rolehost-operator",
        "reportingInstance": reporter,
    }
