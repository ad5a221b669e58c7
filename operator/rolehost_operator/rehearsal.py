"""What would be observed after a plan was carried out, were nobody else in the cluster.

`rolehost plan` rehearses with it what applying a Role would make, also where an earlier
manifest of it serves already; tests hold with it that a plan that was carried out plans nothing.
"""

import copy
import hashlib
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from rolehost_api.link.messages import Probe
from rolehost_api.names import LINK_SECRET, PLATFORM_KEYS, SANDBOX_BUDGET, SANDBOX_POLICY, SANDBOX_SERVICE_ACCOUNT
from rolehost_api.observed import HostFacts, PodReport
from rolehost_operator.objects import KubeObject
from rolehost_operator.observed import Observed, read_deployment, read_revision, read_role
from rolehost_operator.plan import Plan
from rolehost_operator.reconcile import reconcile

MOST_STEPS = 8


def carried_out(observed: Observed, plan: Plan) -> Observed:
    """`observed` with the plan's objects in it, or out of it, and its status on the Role."""
    seen = replace(observed, memory=plan.memory)
    for wanted in plan.apply:
        seen = _with(seen, _born(wanted))
    gone = {prune.uid for prune in plan.prune}
    seen = replace(
        seen,
        revisions=tuple(one for one in seen.revisions if one.meta.uid not in gone),
        deployments=tuple(one for one in seen.deployments if one.meta.uid not in gone),
    )
    if plan.status is not None:
        seen = replace(seen, role=read_role({**seen.role.raw, "status": msgspec.to_builtins(plan.status)}))
    return seen


def rehearse(observed: Observed, now: datetime) -> list[KubeObject]:
    """All objects that would be applied, one step after the other until nothing more is."""
    applied: list[KubeObject] = []
    for _ in range(MOST_STEPS):
        plan = reconcile(observed, now)
        if not plan.apply:
            break
        applied += plan.apply
        observed = carried_out(observed, plan)
    return applied


def served(observed: Observed, now: datetime) -> Observed:
    """Once all that is declared was made, its pods are Ready, and what needs nobody's word or evidence has happened."""
    for _ in range(2 * MOST_STEPS):
        plan = reconcile(observed, now)
        if not plan.writes:
            break
        observed = _running(carried_out(observed, plan))
    return observed


def _running(observed: Observed) -> Observed:
    """The parts of the deployment controller, the kubelet and the gateways."""
    deployments = tuple(
        read_deployment({**seen.raw, "status": {"readyReplicas": seen.replicas}}) for seen in observed.deployments
    )
    probe = Probe(gvisor=True, token=False, tried=observed.platform.gateway_targets)
    pods = tuple(
        PodReport(
            uid=seen.meta.uid,
            name=f"{seen.meta.name}-0",
            namespace=seen.meta.namespace,
            role=observed.role.meta.name,
            revision=seen.revision,
            host=HostFacts(runtime=True, account=True, image=True, apart=True, owned=True),
            probe=probe,
            loaded=True,
        )
        for seen in deployments
    )
    gateway: Any = {"gateways": 1, "expected": 1, "listening": True, "warmed": warmed(observed)}
    return replace(observed, deployments=deployments, pods=pods, **gateway)


def warmed(observed: Observed) -> dict[str, int]:
    """What one gateway says that did what the status asks of it."""
    rollout = observed.role.status.rollout
    return {rollout.id: 1} if rollout and rollout.warming_since else {}


def _born(wanted: KubeObject) -> KubeObject:
    """As the apiserver would store it, with a UID that only its address decides."""
    made = copy.deepcopy(wanted)
    address = "/".join((made["kind"], made["metadata"]["namespace"], made["metadata"]["name"]))
    made["metadata"] |= {"uid": hashlib.sha256(address.encode()).hexdigest()[:32], "resourceVersion": "1"}
    return made


def _with(seen: Observed, made: KubeObject) -> Observed:
    kind, name = made["kind"], made["metadata"]["name"]
    if kind == "NetworkPolicy" and name == SANDBOX_POLICY:
        return replace(seen, network_policy=made)
    if kind == "ServiceAccount" and name == SANDBOX_SERVICE_ACCOUNT:
        return replace(seen, service_account=made)
    if kind == "Secret" and name == LINK_SECRET:
        return replace(seen, link_secret=made)
    if kind == "ConfigMap" and name == PLATFORM_KEYS:
        return replace(seen, platform_keys=made)
    if kind == "PodDisruptionBudget" and name == SANDBOX_BUDGET:
        return replace(seen, disruption_budget=made)
    if kind == "RoleRevision":
        revision = read_revision(made)
        others = tuple(one for one in seen.revisions if one.meta.name != name)
        return replace(seen, revisions=(*others, revision)) if revision else seen
    if kind == "Deployment":
        others_running = tuple(one for one in seen.deployments if one.meta.name != name)
        return replace(seen, deployments=(*others_running, read_deployment(made)))
    raise ValueError(f"a plan applied a {kind}, which nobody observes")
