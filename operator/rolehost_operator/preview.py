"""What manifests would make of a cluster where all is well: `rolehost plan`."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.errors import Finding, InvalidManifest
from rolehost_api.names import ACCEPTED, API_VERSION
from rolehost_operator.objects import KubeObject
from rolehost_operator.observed import Memory, Namespace, Observed, RoleSeen, read_config_map, read_role
from rolehost_operator.platform import Platform
from rolehost_operator.reconcile import PATIENCE, reconcile
from rolehost_operator.rehearsal import rehearse

SECRET = "<made of the platform's root secret>"

PLACEHOLDER = Platform(
    namespace="rolehost-system",
    sandbox_image="<the platform's sandbox image>",
    gateway_url="ws://<gateway>",
    public_keys=("<the gateways' public keys>",),
    probe_targets=("<what a sandbox must not reach>",),
    gateway_targets=("<the gateways' Service>",),
)


def preview(documents: Sequence[KubeObject], namespace: str) -> list[KubeObject]:
    """The objects that applying `documents` would make, in order. Raises InvalidManifest."""
    placed = [{**one, "metadata": {"namespace": namespace, **one.get("metadata", {})}} for one in documents]
    roles = [one for one in placed if one.get("apiVersion") == API_VERSION and one.get("kind") == "Role"]
    if not roles:
        raise InvalidManifest(
            "the input", [Finding("kind", "no Role in it", f"A Role is apiVersion: {API_VERSION}, kind: Role")]
        )
    made: list[KubeObject] = []
    for role in roles:
        for wanted in _of(role, placed):
            if wanted not in made:  # what a namespace holds once is made once
                made.append(wanted)
    return made


def _of(role: KubeObject, placed: list[KubeObject]) -> Iterator[KubeObject]:
    raw = {**role, "metadata": {**role["metadata"], "uid": "<uid>", "generation": 1}}
    seen, now = read_role(raw), datetime.now(UTC)
    where = seen.meta.namespace
    observed = Observed(
        role=seen,
        namespace=Namespace(where, "<uid>", tenant=True),
        platform=PLACEHOLDER,
        runtime_class=True,
        config_maps={
            one["metadata"]["name"]: read_config_map(one)
            for one in placed
            if one.get("kind") == "ConfigMap" and one["metadata"]["namespace"] == where
        },
        backends=_backends(seen, placed),
        memory=Memory(waiting_since=now - PATIENCE),  # what leads nowhere is told without waiting
    )
    status = reconcile(observed, now).status
    for condition in status.conditions if status else ():
        if condition.type == ACCEPTED and condition.status == "False":
            raise InvalidManifest(f"Role {seen.meta.name}", [Finding("spec", condition.message)])
    for wanted in rehearse(observed, now):
        secret = wanted["kind"] == "Secret"
        yield {**wanted, "data": dict.fromkeys(wanted["data"], SECRET)} if secret else wanted


def _backends(role: RoleSeen, placed: list[KubeObject]) -> dict[str, BackendSpec]:
    """Those in the manifests; and one that a Role names and nobody gives is taken as there."""
    given: dict[str, Any] = {
        one["metadata"]["name"]: one.get("spec") for one in placed if one.get("kind") == "ModelBackend"
    }
    if role.spec:
        given.setdefault(role.spec.template.model.backend, {"type": "Scripted"})
    return {name: msgspec.convert(spec, BackendSpec) for name, spec in given.items()}
