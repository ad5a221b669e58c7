"""What the cluster has to bring or to hold: its version, our kinds, gVisor's class, the rules at the door, tenants. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rolehost.cli.doctor.finding import Finding, Seen, fail, ok, skipped, unseen, warn
from rolehost.cli.tenants import OPERATOR
from rolehost_api.crd.kinds import CONTRACT_NUMBER
from rolehost_api.names import BACKENDS, CONTRACT, GROUP, OPERATOR_WRITER, REVISIONS, ROLES, RUNTIME_CLASS

OLDEST_MINOR = 30
KINDS = tuple(f"{plural}.{GROUP}" for plural in (ROLES, REVISIONS, BACKENDS))
POLICIES = (
    "rolehost-guards",
    "rolehost-revisions",
    "rolehost-sandbox-deployments",
    "rolehost-sandbox-pods",
    "rolehost-sandbox-replicasets",
    "rolehost-sandbox-walls",
)
"""Without these a tenant can make something that looks like a sandbox of ours, or take down what walls it in."""
SHOWN = 5
"""At most so many names in a sentence."""
RESTRICTED = "pod-security.kubernetes.io/enforce"


def upgrade(platform: str, *settings: str) -> str:
    """
    >>> upgrade("rolehost-system", "runtimeClass.create=true")
    'helm upgrade rolehost charts/rolehost -n rolehost-system --reuse-values --set runtimeClass.create=true'
    """
    given = "".join(f" --set {setting}" for setting in settings)
    return f"helm upgrade rolehost charts/rolehost -n {platform} --reuse-values{given}"


def kubernetes(version: Seen, nodes: Seen) -> Finding:
    """`version` as /version answers, `nodes` a NodeList."""
    if version.refused:
        return fail("kubernetes", f"the cluster does not answer: {version.refused}", "kubectl cluster-info")
    said = str(version.value.get("gitVersion", "?"))
    if minor(said) < OLDEST_MINOR:
        return fail("kubernetes", f"{said} is older than 1.{OLDEST_MINOR}", "Upgrade the cluster")
    items = (nodes.value or {}).get("items", [])
    names = [node["metadata"]["name"] for node in items if not _true(node, "Ready")]
    if names:
        return warn("kubernetes", f"{said}; not Ready: {some(names)}", f"kubectl describe node {names[0]}")
    runtimes = sorted({node["status"]["nodeInfo"]["containerRuntimeVersion"] for node in items})
    return ok("kubernetes", f"{said}" + (f", {len(items)} node(s) Ready, {', '.join(runtimes)}" if items else ""))


def minor(version: str) -> int:
    """
    >>> minor("v1.34.4"), minor("v1.30.1-gke.100"), minor("v2.0.0"), minor("?")
    (34, 30, 1000, -1)
    """
    found = re.match(r"v(\d+)\.(\d+)", version)
    if found is None:
        return -1
    return int(found.group(2)) if found.group(1) == "1" else 1000 * (int(found.group(1)) - 1) + int(found.group(2))


def crds(seen: Mapping[str, Seen], platform: str) -> Finding:
    """`seen` holds each of KINDS' CustomResourceDefinition."""
    blind = next((one for one in seen.values() if one.refused), None)
    if blind is not None:
        return unseen("crds", blind)
    missing = [name for name, one in seen.items() if one.value is None]
    if missing:
        return fail("crds", f"not there: {some(missing)}", upgrade(platform, "crds.enabled=true"))
    slow = [name for name, one in seen.items() if not _true(one.value, "Established")]
    if slow:
        return fail("crds", f"not served: {some(slow)}", f"kubectl describe crd {slow[0]}")
    numbers = {name: contract(one.value) for name, one in seen.items()}
    old = [name for name, number in numbers.items() if number < CONTRACT_NUMBER]
    if old:
        return fail(
            "crds",
            f"older than this command (contract {CONTRACT_NUMBER}): {some(old)}",
            upgrade(platform, "crds.enabled=true") + "; where others install CRDs: kubectl apply --server-side",
        )
    newest = max(numbers.values())
    if newest > CONTRACT_NUMBER:
        return warn(
            "crds", f"contract {newest}; this command speaks {CONTRACT_NUMBER}", "pip install --upgrade rolehost"
        )
    return ok("crds", f"{len(numbers)} kinds, contract {newest}")


def contract(crd: Mapping[str, Any]) -> int:
    """The number that a CRD was rendered from; 0 where it carries none, as before there were numbers.

    >>> contract({"metadata": {"annotations": {"rolehost.io/contract": "2"}}}), contract({"metadata": {}})
    (2, 0)
    """
    said = str((crd["metadata"].get("annotations") or {}).get(CONTRACT, ""))
    return int(said) if said.isascii() and said.isdigit() and len(said) < 9 else 0


def runtime_class(seen: Seen, platform: str) -> Finding:
    if seen.refused:
        return unseen("runtimeclass", seen)
    if seen.value is None:
        return fail(
            "runtimeclass",
            f"there is no RuntimeClass {RUNTIME_CLASS}: no Role can run (SandboxUnavailable)",
            "Install gVisor on the nodes (https://gvisor.dev/docs/user_guide/install), then: "
            + upgrade(platform, "runtimeClass.create=true"),
        )
    return ok("runtimeclass", f"{RUNTIME_CLASS}, handler {seen.value.get('handler', '?')}")


def admission(policies: Seen, bindings: Seen, platform: str) -> Finding:
    """Lists of the chart's ValidatingAdmissionPolicies and of their bindings."""
    for seen in (policies, bindings):
        if seen.refused:
            return unseen("admission", seen)
    fix = upgrade(platform, "admission.enabled=true")
    found = {one["metadata"]["name"]: one["spec"] for one in (policies.value or {}).get("items", [])}
    missing = [name for name in POLICIES if name not in found]
    if missing:
        return fail(
            "admission",
            f"who may make pods in a tenant's namespace can make a sandbox of ours: no {some(missing)}",
            fix,
        )
    denying = {
        one["spec"]["policyName"]
        for one in (bindings.value or {}).get("items", [])
        if "Deny" in one["spec"].get("validationActions", ())
    }
    loose = sorted(name for name, spec in found.items() if name not in denying or spec.get("failurePolicy") == "Ignore")
    if loose:
        return fail("admission", f"present, but nothing is denied by {some(loose)}", fix)
    return ok("admission", f"{len(found)} policies, all of them deny")


def tenants(namespaces: Seen, bindings: Seen, writer: Seen, platform: str) -> Finding:
    """Lists of the labelled namespaces and of the RoleBindings named OPERATOR_WRITER; the ClusterRole of that name."""
    for seen in (namespaces, bindings, writer):
        if seen.refused:
            return unseen("tenants", seen)
    if writer.value is None:
        return fail(
            "tenants", f"ClusterRole {OPERATOR_WRITER} is not there: the operator may write nowhere", upgrade(platform)
        )
    items = living(namespaces)
    if not items:
        return skipped("tenants", "there is none yet; the first one: rolehost tenants add NAME")
    bound = {one["metadata"]["namespace"] for one in bindings.value["items"] if complete(one, platform)}
    named = [one["metadata"]["name"] for one in items]
    without = [name for name in named if name not in bound]
    if without:
        return fail("tenants", f"the operator has no rights in {some(without)}", f"rolehost tenants add {without[0]}")
    loose = [one["metadata"]["name"] for one in items if one["metadata"]["labels"].get(RESTRICTED) != "restricted"]
    if loose:
        return warn(
            "tenants", f"pods that are not restricted are let into {some(loose)}", f"rolehost tenants add {loose[0]}"
        )
    return ok("tenants", f"{len(named)}, all of them bound")


def living(namespaces: Seen) -> list[Mapping[str, Any]]:
    """Those that are not on their way out, where things go missing one after another."""
    items = (namespaces.value or {}).get("items", [])
    return [one for one in items if "deletionTimestamp" not in one["metadata"]]


def complete(binding: Mapping[str, Any], platform: str) -> bool:
    """Whether a tenant's RoleBinding gives the operator of that namespace what it needs.

    >>> complete({"roleRef": {"kind": "ClusterRole", "name": "rolehost-operator-tenant"}, "subjects": None}, "plat")
    False
    """
    operator = {"kind": "ServiceAccount", "name": OPERATOR, "namespace": platform}
    role = binding["roleRef"]
    return (role["kind"], role["name"]) == ("ClusterRole", OPERATOR_WRITER) and any(
        operator.items() <= subject.items() for subject in binding.get("subjects") or ()
    )


def some(names: Sequence[str]) -> str:
    """
    >>> some(["a", "b"]), some(list("abcdefg"))
    ('a, b', 'a, b, c, d, e and 2 more')
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _true(item: Mapping[str, Any], kind: str) -> bool:
    conditions = (item.get("status") or {}).get("conditions") or ()
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)
