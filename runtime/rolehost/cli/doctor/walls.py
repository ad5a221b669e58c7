"""The walls around a sandbox, judged by what pods of our own found when they tried them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolehost.cli.doctor.finding import Finding, fail, ok, skipped, warn, without_rights
from rolehost.cli.doctor.objects import BOTH, NO_EGRESS, NO_INGRESS

GVISOR = "https://gvisor.dev/docs/user_guide/containerd/quick_start"
ENFORCE = "Run a network plugin that enforces NetworkPolicy (Calico, Cilium, kube-router; kind 0.24 and newer)"


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one pod of ours."""

    said: Mapping[str, Any] | None = None
    """What it printed; None where it did not come to it."""
    pod: Mapping[str, Any] | None = None
    """The pod as it was seen last; None where it was never made."""
    refused: str = ""
    """Why it could not be made."""
    forbidden: bool = False
    warning: str = ""
    """The newest warning event about it."""


def gvisor(trial: Trial) -> Finding:
    """Whether a pod of RuntimeClass gvisor found gVisor's kernel under it."""
    if trial.said is None:
        return _not_run("gvisor", trial)
    kernel = str(trial.said.get("kernel", ""))[:80]
    if trial.said.get("gvisor") is not True:
        return fail(
            "gvisor",
            f"a pod of RuntimeClass gvisor runs on another kernel: {kernel}",
            f"Its handler must be runsc in the nodes' containerd: {GVISOR}",
        )
    return ok("gvisor", f"a pod's kernel log says so ({kernel}; runsc's own version is not told inside)")


def network(server: Trial, client: Trial) -> Finding:
    """Whether NetworkPolicy is enforced, outward and inward, from a pod's first moment.

    The client tried a port that policies allow (the control) and two that they forbid, again and again.

    >>> def tried(*rounds):
    ...     return Trial(said={"rounds": [dict(zip(("7001", "7002", "7003"), r)) for r in rounds]})
    >>> network(Trial(said={}), tried((True, False, False), (True, False, False))).what
    'enforced outward and inward; the way that is allowed was open'
    >>> network(Trial(said={}), tried((True, True, False), (True, True, False))).what
    'not enforced outward: a pod reached what its policy forbids'
    >>> network(Trial(said={}), tried((False, False, False))).state
    <State.FAIL: 'FAIL'>
    """
    if client.said is None:
        # Without the server there is no client: whatever kept the first from running is the reason.
        return _not_run("network", client if client.pod is not None or client.refused else server)
    rounds: Sequence[Mapping[str, bool]] = client.said.get("rounds") or ()
    if not any(one.get(str(BOTH)) for one in rounds):
        return fail(
            "network",
            f"nothing is proved: what the policies allow was not reached either, in {len(rounds)} tries",
            "See whether pods reach each other at all, and the network plugin's log: kubectl -n kube-system get pods",
        )
    ways = {NO_EGRESS: "outward", NO_INGRESS: "inward"}
    open_now = [way for port, way in ways.items() if rounds[-1].get(str(port))]
    if open_now:
        return fail("network", f"not enforced {' and '.join(open_now)}: a pod reached what its policy forbids", ENFORCE)
    early = sum(any(one.get(str(port)) for port in ways) for one in rounds)
    if early:
        return warn("network", f"enforced late: {early} of {len(rounds)} tries got through before it was", ENFORCE)
    return ok("network", "enforced outward and inward; the way that is allowed was open")


def _not_run(check: str, trial: Trial) -> Finding:
    if trial.forbidden:
        return skipped(check, without_rights(trial.refused))
    if trial.pod is None:
        return fail(
            check,
            f"the pod that tries it was refused: {trial.refused or 'no answer'}",
            "See quota and admission of that namespace, or try another: --probe-namespace",
        )
    what, fix = why_not(trial.pod, trial.warning)
    return fail(check, f"the pod that tries it told nothing: {what}", fix)


def why_not(pod: Mapping[str, Any], warning: str) -> tuple[str, str]:
    """Why a pod has not done its work in its time, and what to do.

    >>> why_not({"metadata": {"namespace": "plat"}, "spec": {}, "status": {"phase": "Pending"}}, "")[0]
    'nothing has scheduled it'
    >>> ended = {"containerStatuses": [{"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}
    >>> why_not({"spec": {"nodeName": "n1"}, "status": ended}, "")[0]
    'it ran, but what it said cannot be read'
    """
    status, node = pod.get("status") or {}, (pod.get("spec") or {}).get("nodeName")
    if not node:
        scheduled = [one for one in status.get("conditions") or () if one["type"] == "PodScheduled"]
        if scheduled and scheduled[0].get("message"):
            return (
                f"not scheduled: {scheduled[0]['message']}",
                "Make room or labels on the nodes: kubectl describe nodes",
            )
        return (
            "nothing has scheduled it",
            "Is kube-scheduler running, and is there a node? kubectl get nodes; kubectl -n kube-system get pods",
        )
    describe = f"kubectl describe node {node}"
    for one in status.get("containerStatuses") or ():
        state = one.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated")
        reason = str(waiting.get("reason") or "")
        if "Image" in reason:
            return (
                f"{reason}: {one.get('image', '')}",
                "Push the sandbox image to where the nodes pull from: images.sandbox in the values",
            )
        if reason and reason not in ("ContainerCreating", "PodInitializing"):
            return f"{reason}: {str(waiting.get('message') or '')[:300]}", describe
        if ended and not ended.get("exitCode"):
            return "it ran, but what it said cannot be read", f"Do logs of pods on node {node} work? {describe}"
        if ended:
            return f"it ended with {ended.get('exitCode')} {ended.get('reason', '')}".rstrip(), describe
    if any(word in warning.lower() for word in ("runtime", "runsc", "sandbox")):
        return warning[:300], f"Install runsc and its shim on node {node}, and restart containerd: {GVISOR}"
    if warning:
        return warning[:300], describe
    return f"{status.get('phase') or 'Pending'} on node {node} for as long as could be waited", describe
