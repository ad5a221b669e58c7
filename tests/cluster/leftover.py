"""What a run that was killed left behind: its tenants' namespaces, under the names that the next run wants."""

import json
from collections.abc import Callable

from tests.cluster.common import ClusterError

MADE_BY = ("made-by", "rolehost-tests")
"""A label: only a namespace that has it is deleted without a question."""
SECONDS = 120
"""For the pods of a tenant to end, and all that is in a namespace to go with it."""


def namespace(name: str) -> dict[str, object]:
    """A tenant's namespace, as tests make it."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict([MADE_BY])}}


def clear(kubectl: Callable[..., str], name: str) -> bool:
    """Delete a namespace of that name, and wait until it is gone; False where there was none.

    Raises ClusterError where no test made it, or where it does not go.
    """
    found = kubectl("get", "namespace", name, "--ignore-not-found", "-o", "json")
    if not found.strip():
        return False
    label, by = MADE_BY
    if json.loads(found)["metadata"].get("labels", {}).get(label) != by:
        raise ClusterError(
            f"namespace {name} is there already, and no test made it (it has no label {label}={by}); if nobody needs it: "
            f"kubectl delete namespace {name}"
        )
    try:
        kubectl("delete", "namespace", name, "--ignore-not-found", f"--timeout={SECONDS}s", timeout=SECONDS + 10)
    except ClusterError as error:
        raise ClusterError(
            f"namespace {name} was left over by a run that was killed, and is not gone after {SECONDS} s; what holds it: "
            f"kubectl get namespace {name} -o jsonpath='{{.status.conditions}}'\n{error}"
        ) from None
    return True
