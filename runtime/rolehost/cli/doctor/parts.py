"""The platform's own parts: do they run, does one operator lead, are they of one version. Pure."""

from collections.abc import Mapping
from typing import Any

from rolehost.cli.doctor.cluster import upgrade
from rolehost.cli.doctor.finding import Finding, Seen, fail, ok, skipped, unseen, warn
from rolehost.cli.tenants import OPERATOR
from rolehost_api.names import LEASE, TRUSTED_IMAGES_ENTRY

GATEWAY = "rolehost-gateway"
UPLOAD = "rolehost-upload"
REDIS = "rolehost-redis"
LATE_SECONDS = 5.0
"""How late the leader's word may be, beyond what it promised, before nobody leads."""


def workload(check: str, kind: str, name: str, seen: Seen, platform: str) -> Finding:
    """Whether a Deployment or StatefulSet has the pods that it should have."""
    if seen.refused:
        return unseen(check, seen)
    if seen.value is None:
        return fail(
            check,
            f"there is no {kind} {name} in {platform}",
            f"helm install rolehost charts/rolehost -n {platform} --create-namespace",
        )
    wanted = int(seen.value["spec"].get("replicas", 1))
    status = seen.value.get("status") or {}
    there = int(status.get("availableReplicas") or 0)
    if wanted == 0:
        return fail(check, f"{name} is scaled to 0", f"kubectl -n {platform} scale {kind.lower()} {name} --replicas=1")
    if there == 0:
        return fail(
            check,
            f"none of {wanted} pod(s) of {name} serves",
            f"kubectl -n {platform} describe {kind.lower()} {name}; kubectl -n {platform} logs {kind.lower()}/{name}",
        )
    if there < wanted:
        return warn(
            check,
            f"{there} of {wanted} pods of {name} serve",
            f"kubectl -n {platform} get pods -l app.kubernetes.io/component={check}",
        )
    return ok(check, f"{there} of {wanted} pod(s) serve, {images(seen.value)}")


def images(workload: Mapping[str, Any]) -> str:
    return ", ".join(one["image"] for one in workload["spec"]["template"]["spec"]["containers"])


def variable(workload: Mapping[str, Any] | None, name: str) -> str:
    """A variable of a workload's first container as it was written there; empty where it is none."""
    if workload is None:
        return ""
    variables = workload["spec"]["template"]["spec"]["containers"][0].get("env") or ()
    return next((str(one.get("value", "")) for one in variables if one["name"] == name), "")


def lease(seen: Seen, age_seconds: float, platform: str) -> Finding:
    """Whether somebody leads. `age_seconds`: since it was renewed, by the apiserver's clock."""
    restart = f"kubectl -n {platform} logs deployment/{OPERATOR}"
    if seen.refused:
        return unseen("lease", seen)
    spec = (seen.value or {}).get("spec") or {}
    holder = str(spec.get("holderIdentity") or "")
    if not holder:
        return fail("lease", f"no operator holds Lease {LEASE}: nothing is reconciled", restart)
    lasts = float(spec.get("leaseDurationSeconds") or 0)
    if age_seconds > lasts + LATE_SECONDS:
        return fail(
            "lease", f"{holder} holds it, but was last heard {age_seconds:.0f} s ago: nothing is reconciled", restart
        )
    return ok("lease", f"{holder} leads")


def versions(
    command: str, gateway: str, deployments: Mapping[str, Mapping[str, Any]], trusted: Seen, platform: str
) -> Finding:
    """This command's version and the gateway's own word (empty: not heard); the Deployments by their names; the
    ConfigMap with the sandbox images that gateways trust."""
    told = sorted({_label(one) for one in deployments.values()} - {""})
    heard = [f"command {command}", *([f"gateway {gateway}"] if gateway else []), *(f"chart {word}" for word in told)]
    if len(told) > 1:
        return fail("versions", f"parts of several releases: {', '.join(heard)}", upgrade(platform))
    sandbox = variable(deployments.get(OPERATOR), "ROLEHOST_SANDBOX_IMAGE")
    images = ((trusted.value or {}).get("data") or {}).get(TRUSTED_IMAGES_ENTRY, "").split(",")
    if sandbox and not trusted.refused and sandbox not in images:
        return fail(
            "versions", f"the operator makes pods of {sandbox}, which the gateway does not trust", upgrade(platform)
        )
    if len({command, gateway or command, *told}) > 1:
        wanted = gateway or told[0]
        return warn(
            "versions", ", ".join(heard), f"pip install rolehost=={wanted}" if wanted != command else upgrade(platform)
        )
    if not gateway and not told:
        return skipped("versions", f"command {command}; nothing of the platform could be seen")
    return ok("versions", ", ".join(heard) + (f"; sandbox image {sandbox}" if sandbox else ""))


def _label(deployment: Mapping[str, Any]) -> str:
    return str((deployment["metadata"].get("labels") or {}).get("app.kubernetes.io/version", ""))
