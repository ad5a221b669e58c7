"""What manifests would make of a cluster where all is well: `rolehost plan`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
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
from rolehost_operator.rehearsal import rehearse, served
from rolehost_operator.rollout.table import Stage

SECRET = "<made of the platform's root secret>"

PLACEHOLDER = Platform(
    namespace="rolehost-system",
    sandbox_image="<the platform's sandbox image>",
    gateway_url="ws://<gateway>",
    public_keys=("<the gateways' public keys>",),
    probe_targets=("<what a sandbox must not reach>",),
    gateway_targets=("<the gateways' Service>",),
)


def preview(documents: Sequence[KubeObject], namespace: str, before: Sequence[KubeObject] = ()) -> list[KubeObject]:
    """The objects that applying `documents` would make, in order, where those of `before` serve. Raises InvalidManifest."""
    placed, roles = _placed(documents, namespace)
    if not roles:
        raise InvalidManifest(
            "the input", [Finding("kind", "no Role in it", f"A Role is apiVersion: {API_VERSION}, kind: Role")]
        )
    made: list[KubeObject] = []
    for role in roles:
        for wanted in _of(role, placed, _earlier(role, before, namespace)):
            if wanted not in made:  # what a namespace holds once is made once
                made.append(wanted)
    return made


def courses(documents: Sequence[KubeObject], namespace: str, before: Sequence[KubeObject]) -> list[str]:
    """A line for each Role of which an earlier manifest serves: how it goes on to the new one."""
    placed, roles = _placed(documents, namespace)
    return [_course(role, placed, found) for role in roles if (found := _earlier(role, before, namespace))]


def _course(role: KubeObject, placed: list[KubeObject], before: KubeObject) -> str:
    now = datetime.now(UTC)
    first = served(_observed(before, placed, now), now)
    seen = served(_edited(first, role), now)
    status, name = seen.role.status, seen.role.meta.name
    stable, rollout = status.stable_revision, status.rollout
    if stable != first.role.status.stable_revision:
        return f"{name}: {stable} takes all new sessions as soon as it is Ready"
    if rollout is None or not rollout.stage or seen.role.spec is None:
        return f"{name}: {stable} goes on as it is"
    if rollout.variants:
        told = ", ".join(f"{one.revision} {one.percent} %" for one in rollout.variants)
        return f"{name}: an experiment: {told}, the others {stable}"
    steps = seen.role.spec.rollout.ladder
    if rollout.stage == Stage.PREPARING.value:
        waits = f", once this is so: {rollout.last_decision.message}" if rollout.last_decision else ""
        return f"{name}: {rollout.revision} begins beside {stable}{waits}"
    percents = ", ".join(f"{one.percent} %" for one in steps)
    return f"{name}: {rollout.revision} begins as a canary beside {stable}: {percents} of new sessions, then all"


def _placed(documents: Sequence[KubeObject], namespace: str) -> tuple[list[KubeObject], list[KubeObject]]:
    """All of them in a namespace, and the Roles among them."""
    placed = [{**one, "metadata": {"namespace": namespace, **one.get("metadata", {})}} for one in documents]
    return placed, [one for one in placed if one.get("apiVersion") == API_VERSION and one.get("kind") == "Role"]


def _earlier(role: KubeObject, before: Sequence[KubeObject], namespace: str) -> KubeObject | None:
    names = ("namespace", "name")
    _, roles = _placed(before, namespace)
    return next((one for one in roles if all(one["metadata"][key] == role["metadata"][key] for key in names)), None)


def _of(role: KubeObject, placed: list[KubeObject], before: KubeObject | None) -> Iterator[KubeObject]:
    now = datetime.now(UTC)
    observed = _observed(before or role, placed, now)
    if before is not None:
        observed = _edited(served(observed, now), role)
    status = reconcile(observed, now).status
    for condition in status.conditions if status else ():
        if condition.type == ACCEPTED and condition.status == "False":
            raise InvalidManifest(f"Role {observed.role.meta.name}", [Finding("spec", condition.message)])
    for wanted in rehearse(observed, now):
        secret = wanted["kind"] == "Secret"
        yield {**wanted, "data": dict.fromkeys(wanted["data"], SECRET)} if secret else wanted


def _observed(role: KubeObject, placed: list[KubeObject], now: datetime) -> Observed:
    """In a cluster where all is well, and nothing was made of it yet."""
    seen = read_role({**role, "metadata": {**role["metadata"], "uid": "<uid>", "generation": 1}})
    where = seen.meta.namespace
    return Observed(
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


def _edited(observed: Observed, role: KubeObject) -> Observed:
    """The Role as it is applied now, with the status that it has."""
    raw = observed.role.raw
    metadata = {**role["metadata"], "uid": raw["metadata"]["uid"], "generation": raw["metadata"]["generation"] + 1}
    seen = read_role({**role, "metadata": metadata, "status": raw.get("status", {})})
    return replace(observed, role=seen, memory=Memory(waiting_since=observed.memory.waiting_since))


def _backends(role: RoleSeen, placed: list[KubeObject]) -> dict[str, BackendSpec]:
    """Those in the manifests; and one that a Role names and nobody gives is taken as there."""
    given: dict[str, Any] = {
        one["metadata"]["name"]: one.get("spec") for one in placed if one.get("kind") == "ModelBackend"
    }
    if role.spec:
        given.setdefault(role.spec.template.model.backend, {"type": "Scripted"})
    return {name: msgspec.convert(spec, BackendSpec) for name, spec in given.items()}
