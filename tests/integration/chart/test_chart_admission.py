"""Who may make what looks like a sandbox, asked of a real apiserver with the chart's policies.

There is no controller-manager here: its controllers, the operator and the tenant are
impersonated. Objects are those that the operator's own code wants, so what it makes is
what is admitted.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.chart.helm import NAMESPACE, Release
from tests.support.acting import MASTERS, Door, Object, Somebody

from rolehost.cli.tenants import onboarding
from rolehost_api import names
from rolehost_api.crd.role import RoleSpec
from rolehost_operator.desired.deployment import deployment
from rolehost_operator.desired.tenancy import network_policy
from rolehost_operator.observed import read_revision
from rolehost_operator.platform import Platform

pytestmark = pytest.mark.timeout(240)

TENANT = "admission"
"""Of these tests alone: what they leave there would be somebody else's Deployment."""
STRANGER = "not-a-tenant"
KUBE = "system:serviceaccount:kube-system"
USERS = {
    "operator": f"system:serviceaccount:{NAMESPACE}:rolehost-operator",
    "deployment controller": f"{KUBE}:deployment-controller",
    "replicaset controller": f"{KUBE}:replicaset-controller",
    "job controller": f"{KUBE}:job-controller",
    "garbage collector": f"{KUBE}:generic-garbage-collector",
    "namespace controller": f"{KUBE}:namespace-controller",
    "controller-manager": "system:kube-controller-manager",
    "kubelet": "system:node:n1",
    "tenant": f"system:serviceaccount:{TENANT}:dev",
    "gateway": f"system:serviceaccount:{NAMESPACE}:rolehost-gateway",
    "platform administrator": "alice",
}
TEMPLATE = {"persona": {"system": "You are a cat."}}
PLATFORM = Platform(NAMESPACE, "rolehost-sandbox:0.1.0", "ws://gateway", probe_targets=("10.96.0.1:443",))
REVISION = "cat-0123456789"
HASH = "abcdef"


def changed(one: Object, *path: str, **keys: Any) -> Object:
    """A copy of `one` with these keys set at a path; None takes a key away."""
    made = copy.deepcopy(one)
    inner = made
    for key in path:
        inner = inner[int(key)] if isinstance(inner, list) else inner.setdefault(key, {})
    for key, value in keys.items():
        if value is None:
            inner.pop(key, None)
        else:
            inner[key] = value
    return made


def owner(kind: str, name: str, api: str = "apps/v1", *, controller: bool = True) -> list[Object]:
    return [{"apiVersion": api, "kind": kind, "name": name, "uid": "1-2-3", "controller": controller}]


def role_revision(namespace: str = TENANT) -> Object:
    spec = {"roleName": "cat", "sequence": 1, "hashVersion": 1, "hash": "01234567" * 8, "template": TEMPLATE}
    meta = {"name": REVISION, "namespace": namespace}
    return {"apiVersion": names.API_VERSION, "kind": "RoleRevision", "metadata": meta, "spec": spec}


def ours_deployment() -> Object:
    raw = role_revision()
    raw["metadata"]["uid"] = "u"
    seen = read_revision(raw)
    assert seen is not None
    return deployment(seen, msgspec.convert({"template": TEMPLATE}, RoleSpec), PLATFORM, replicas=1)


def ours_replica_set(namespace: str = TENANT) -> Object:
    """As the Deployment controller makes it."""
    made = ours_deployment()
    template = changed(made["spec"]["template"], "metadata", "labels", **{"pod-template-hash": HASH})
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{REVISION}-{HASH}",
            "namespace": namespace,
            "labels": template["metadata"]["labels"],
            "ownerReferences": owner("Deployment", REVISION),
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {names.REVISION: REVISION, "pod-template-hash": HASH}},
            "template": template,
        },
    }


def ours_pod(namespace: str = TENANT) -> Object:
    """As the ReplicaSet controller makes it."""
    template = ours_replica_set()["spec"]["template"]
    meta = {
        "name": f"{REVISION}-{HASH}-x",
        "namespace": namespace,
        "labels": template["metadata"]["labels"],
        "ownerReferences": owner("ReplicaSet", f"{REVISION}-{HASH}"),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}


def plain(one: Object, name: str) -> Object:
    """The same without a mark of ours, as a tenant may have it."""
    labels = {"app": "web"}
    made = changed(one, "metadata", name=name, labels=labels, ownerReferences=None)
    if one["kind"] == "Pod":
        return changed(made, "spec", serviceAccountName=None)
    made = changed(made, "spec", selector={"matchLabels": labels})
    made = changed(made, "spec", "template", "metadata", labels=labels)
    return changed(made, "spec", "template", "spec", serviceAccountName=None)


def kept(kind: str, name: str, namespace: str = TENANT, api: str = "v1") -> Object:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}}


POLICY = network_policy(TENANT, PLATFORM)
LINK = kept("Secret", "rolehost-link")
KEYS = kept("ConfigMap", "rolehost-platform-keys")
GUARDS = (POLICY, LINK, KEYS)


@dataclass
class Site:
    release: Release
    door: Door

    def somebody(self, who: str, *, might: bool = False, lasting: bool = False) -> Somebody:
        """With `might`, RBAC refuses nothing, so that what is refused is admission's word."""
        user = USERS.get(who, who)
        groups = ["system:serviceaccounts"] if user.startswith("system:serviceaccount:") else []
        might = might or who in ("platform administrator", "controller-manager")
        return Somebody(self.door, user, (*groups, *([MASTERS] if might else [])), kept=lasting)

    def until(self, refused: bool, ask: Object, who: str = "platform administrator") -> None:
        """The apiserver takes policies up a moment after they are written."""
        deadline = time.monotonic() + 60
        while (answer := self.somebody(who).create(ask)).good is refused:
            assert time.monotonic() < deadline, answer
            time.sleep(0.2)


@pytest.fixture(scope="module")
def site(release: Release) -> Iterator[Site]:
    """The chart with its policies in force; a tenant's ServiceAccount with `admin` and more than a tenant gets of ours."""
    release.upgrade("--set", "runtimeClass.create=true")
    rbac, dev = "rbac.authorization.k8s.io", {"kind": "ServiceAccount", "name": "dev", "namespace": TENANT}
    rule = {"apiGroups": ["rolehost.io"], "resources": ["hostedroles", "hostedrolerevisions"], "verbs": ["*"]}
    release.server.apply(
        *onboarding(TENANT, NAMESPACE),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": STRANGER}},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "all-of-ours"}, "rules": [rule]},
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "other"}, "handler": "runc"},
        *(
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": f"dev.{role}", "namespace": TENANT},
                "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
                "subjects": [dev],
            }
            # What `admin` is made of; the controller that adds them up does not run here.
            for role in (*(f"system:aggregate-to-{role}" for role in ("admin", "edit", "view")), "all-of-ours")
        ),
    )
    door = Door(release.server)
    made = Site(release, door)
    for probe in (ours_pod(), ours_replica_set(), ours_deployment(), role_revision(), *GUARDS):
        made.until(True, probe)
    lasting = {who: made.somebody(who, might=True, lasting=True) for who in USERS}
    for who, one in (
        ("operator", role_revision()),
        ("operator", ours_deployment()),
        *(("operator", guard) for guard in GUARDS),
        ("deployment controller", ours_replica_set()),
        ("replicaset controller", ours_pod()),
        ("tenant", plain(ours_deployment(), "web")),
        ("tenant", plain(ours_replica_set(), "web")),
        ("tenant", plain(ours_pod(), "web")),
    ):
        assert (answer := lasting[who].create(one)).good or answer.code == 409, (who, answer)
    yield made
    door.close()
    release.upgrade()


def again(one: Object) -> Object:
    """Under another name that still belongs to the same owner, for the first one is there."""
    name = f"{one['metadata']['name']}2" if one["kind"] == "Pod" else one["metadata"]["name"]
    return changed(one, "metadata", name=name)


MARKS = ({names.ROLE: "cat"}, {names.REVISION: REVISION}, {names.COMPONENT: "sandbox", "app.kubernetes.io/name": "rolehost-sandbox"})  # fmt: skip
MAKE_A_ROLE = "make a Role, and the operator makes its"
ANYBODY = ("tenant", "platform administrator", "gateway", "kubelet", "job controller", "controller-manager")

# ── making ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("who", [*ANYBODY, "operator", "deployment controller", "garbage collector"])
def test_a_sandbox_pod_is_made_by_the_replicaset_controller_only(site: Site, who: str) -> None:
    refused = site.somebody(who, might=True).create(again(ours_pod()))
    assert refused.code == 403
    assert f"made by the ReplicaSet controller only, not by {USERS[who]}: {MAKE_A_ROLE} pods" in refused.message
    assert ("admission.controllerUsers" in refused.message) is USERS[who].startswith(("system:kube-", KUBE))


def test_the_replicaset_controller_makes_the_operators_pod(site: Site) -> None:
    assert site.somebody("replicaset controller").create(again(ours_pod())).good


@pytest.mark.parametrize("marks", MARKS, ids=lambda marks: "+".join(marks))
@pytest.mark.parametrize("namespace", [TENANT, STRANGER])
def test_each_label_of_ours_is_enough_and_in_every_namespace(site: Site, marks: Object, namespace: str) -> None:
    """A namespace may become a tenant with what is in it."""
    pod = changed(plain(ours_pod(namespace), "forged"), "metadata", labels=marks)
    assert MAKE_A_ROLE in site.somebody("platform administrator").create(pod).message


@pytest.mark.parametrize(
    "owners",
    [
        pytest.param([], id="nobodys"),
        pytest.param(owner("Job", f"{REVISION}-{HASH}", "batch/v1"), id="a-jobs"),
        pytest.param(owner("ReplicaSet", f"other-{HASH}"), id="another-replicaset"),
        pytest.param(owner("ReplicaSet", f"{REVISION}-{HASH}", controller=False), id="not-its-controller"),
        pytest.param(owner("ReplicaSet", f"{REVISION}-{HASH}", "mine/v1"), id="another-group"),
    ],
)
def test_even_the_controller_makes_a_sandbox_pod_for_its_revisions_replicaset_only(
    site: Site, owners: list[Object]
) -> None:
    """Where all controllers share one user, a Job of the tenant's comes from that user too."""
    pod = changed(again(ours_pod()), "metadata", ownerReferences=owners)
    message = site.somebody("replicaset controller").create(pod).message
    assert f"belongs to a ReplicaSet of its revision's Deployment, here {REVISION}-{HASH}" in message


@pytest.mark.parametrize("who", ["tenant", "replicaset controller"])
def test_the_sandboxes_account_is_for_sandboxes(site: Site, who: str) -> None:
    pod = changed(plain(ours_pod(), "web2"), "spec", serviceAccountName=names.SANDBOX_SERVICE_ACCOUNT)
    refused = site.somebody(who, might=True).create(pod)
    assert "ServiceAccount rolehost-sandbox is for the sandbox pods that the operator makes" in refused.message


@pytest.mark.parametrize("who", [*ANYBODY, "operator", "replicaset controller"])
@pytest.mark.parametrize("where", ["own", "template"])
def test_a_replicaset_of_sandboxes_is_made_by_the_deployment_controller_only(site: Site, who: str, where: str) -> None:
    one = ours_replica_set()
    if where == "own":  # marked itself, with pods that are not
        one = changed(plain(one, "web3"), "metadata", labels={names.REVISION: REVISION})
    else:  # without a mark itself: its pods would have them
        one = changed(one, "metadata", name="web4", labels={"app": "web"})
    refused = site.somebody(who, might=True).create(one)
    assert f"made by the Deployment controller only, not by {USERS[who]}: {MAKE_A_ROLE} Deployment" in refused.message


def test_the_deployment_controller_makes_the_operators_replicaset_and_no_other(site: Site) -> None:
    controller = site.somebody("deployment controller")
    other = changed(ours_replica_set(), "metadata", name=f"{REVISION}-other")
    assert controller.create(other).good
    for owners in ([], owner("Deployment", "web"), owner("ReplicaSet", REVISION)):
        refused = controller.create(changed(other, "metadata", ownerReferences=owners))
        assert f"belongs to its revision's Deployment, here {REVISION}" in refused.message


@pytest.mark.parametrize("who", [*ANYBODY, "deployment controller", "replicaset controller", "garbage collector"])
@pytest.mark.parametrize("where", ["own", "template", "both"])
def test_a_deployment_of_sandboxes_is_made_by_the_operator_only(site: Site, who: str, where: str) -> None:
    one = changed(ours_deployment(), "metadata", name="forged")
    if where == "own":
        one = changed(plain(one, "forged"), "metadata", labels={names.ROLE: "cat"})
    elif where == "template":
        one = changed(one, "metadata", labels={"app": "web"})
    refused = site.somebody(who, might=True).create(one)
    assert f"is the operator's, not to be made or edited by {USERS[who]}: make or change the Role" in refused.message


def test_the_operator_makes_and_edits_its_deployment_by_its_own_rights(site: Site) -> None:
    operator = site.somebody("operator")
    assert operator.create(changed(ours_deployment(), "metadata", name="cat-9876543210")).good
    assert operator.patch(ours_deployment(), {"spec": {"replicas": 2}}).good


def test_the_largest_pods_cost_no_more_than_an_expression_may(site: Site) -> None:
    """CEL has a budget, and what exceeds it is refused."""
    pod = again(ours_pod())
    [container] = pod["spec"]["containers"]
    volumes: list[Object] = [{"name": f"v{number}", "emptyDir": {}} for number in range(300)]
    mounts = [{"name": one["name"], "mountPath": f"/{one['name']}"} for one in volumes]
    many = [{**container, "name": f"c{number}", "volumeMounts": mounts, "ports": [], "env": container["env"] * 20} for number in range(60)]  # fmt: skip
    large = changed(pod, "spec", containers=many, volumes=[*pod["spec"]["volumes"], *volumes])
    assert (answer := site.somebody("replicaset controller").create(large)).good, answer.message
    labels = {f"label-{number}": "x" * 63 for number in range(2000)}
    foreign = changed(plain(large, "large"), "metadata", labels=labels)
    assert (answer := site.somebody("tenant").create(foreign)).good, answer.message


def test_what_is_not_ours_is_nobodys_business(site: Site) -> None:
    tenant = site.somebody("tenant")
    for one in (ours_deployment(), ours_replica_set(), ours_pod()):
        assert (answer := tenant.create(plain(one, "free"))).good, answer.message
        assert tenant.patch(plain(one, "web"), {"metadata": {"labels": {"app": "shop"}}}).good
    assert tenant.create(kept("Secret", "mine")).good


FOREIGN = st.one_of(
    st.sampled_from([user for who, user in USERS.items() if who != "replicaset controller"]),
    st.from_regex(r"\A(system:(serviceaccount|node|kube):)?[a-z]{1,12}(:[a-z-]{1,20}){0,2}\Z"),
)
OTHERS = st.dictionaries(
    st.sampled_from(["app", "pod-template-hash", names.COMPONENT, "app.kubernetes.io/name"]),
    st.sampled_from(["web", "sandbox", "rolehost-sandbox", HASH]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(user=FOREIGN, marks=st.sampled_from(MARKS), others=OTHERS, owned=st.booleans(), whole=st.booleans())
def test_no_pod_with_our_labels_is_admitted_for_anybody_but_the_controller(
    site: Site, user: str, marks: Object, others: Object, owned: bool, whole: bool
) -> None:
    pod = again(ours_pod()) if whole else plain(ours_pod(), "forged")
    labels = {**(ours_pod()["metadata"]["labels"] if whole else {}), **others, **marks}
    pod = changed(pod, "metadata", labels=labels, ownerReferences=owner("ReplicaSet", "x") if owned else None)
    answer = Somebody(site.door, user, (MASTERS,)).create(pod)
    if user == USERS["replicaset controller"]:
        return
    assert answer.code == 403
    assert MAKE_A_ROLE in answer.message


# ── adding and changing labels ──────────────────────────────────────────────────────

LATER = {"metadata": {"labels": {names.ROLE: "cat", names.REVISION: REVISION}}}
TEMPLATE_LATER = {"spec": {"template": LATER}}


@pytest.mark.parametrize("who", [*ANYBODY, "operator", "replicaset controller"])
@pytest.mark.parametrize("subresource", ["", "status"])
def test_a_pod_gets_our_labels_at_no_later_time(site: Site, who: str, subresource: str) -> None:
    refused = site.somebody(who, might=True).patch(plain(ours_pod(), "web"), LATER, subresource=subresource)
    assert "no other pod gets them" in refused.message


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({names.COMPONENT: None}, id="out-of-the-network-policy"),
        pytest.param({names.REVISION: "dog-1"}, id="another-revision"),
        pytest.param({names.ROLE: None, names.REVISION: None}, id="out-of-sight"),
        pytest.param({"pod-template-hash": "x"}, id="out-of-its-replicaset"),
    ],
)
@pytest.mark.parametrize("subresource", ["", "status"])
def test_a_sandbox_pod_keeps_the_labels_that_wall_it_in(site: Site, labels: Object, subresource: str) -> None:
    patch = {"metadata": {"labels": labels}}
    refused = site.somebody("tenant", might=True).patch(ours_pod(), patch, subresource=subresource)
    assert "a sandbox pod has its labels from when it is made" in refused.message


def test_a_sandbox_pods_other_labels_and_its_status_are_free(site: Site) -> None:
    assert site.somebody("tenant").patch(ours_pod(), {"metadata": {"labels": {"mine": "yes"}}}).good
    status = {"status": {"phase": "Running", "podIP": "10.0.0.7"}}
    assert site.somebody("kubelet", might=True).patch(ours_pod(), status, subresource="status").good


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet"])
@pytest.mark.parametrize("patch", [LATER, TEMPLATE_LATER], ids=["own", "template"])
def test_a_workload_gets_our_labels_at_no_later_time(site: Site, kind: str, patch: Object) -> None:
    one = plain(ours_deployment() if kind == "Deployment" else ours_replica_set(), "web")
    message = site.somebody("tenant").patch(one, patch).message
    assert (
        "is the operator's, not to be made or edited by" if kind == "Deployment" else "no other ReplicaSet"
    ) in message


IMAGE = {"spec": {"template": {"spec": {"containers": [{"name": "sandbox", "image": "evil"}]}}}}
RESTART = {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}}


@pytest.mark.parametrize("who", ["tenant", "platform administrator", "deployment controller", "replicaset controller"])
@pytest.mark.parametrize("patch", [IMAGE, RESTART], ids=["image", "restart"])
def test_what_sandbox_pods_are_made_from_is_edited_by_nobody(site: Site, who: str, patch: Object) -> None:
    """An edited template would be the tenant's pod, made by the right controller with the right labels."""
    person = site.somebody(who, might=True)
    strategic = "application/strategic-merge-patch+json"
    assert "never change" in person.patch(ours_replica_set(), patch, media=strategic).message
    assert "delete the old ones" in person.patch(ours_deployment(), patch, media=strategic).message


def test_the_controllers_keep_their_books(site: Site) -> None:
    books = {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}}
    controller = site.somebody("deployment controller", might=True)
    assert controller.patch(ours_deployment(), books).good
    assert controller.patch(ours_replica_set(), {**books, "spec": {"replicas": 0}}).good
    counted = {"status": {"replicas": 1}}
    assert (
        site.somebody("replicaset controller", might=True).patch(ours_replica_set(), counted, subresource="status").good
    )
    orphaned = {"metadata": {"ownerReferences": None}}
    collector = site.somebody("garbage collector", might=True)
    assert all(collector.patch(one, orphaned).good for one in (ours_deployment(), ours_replica_set(), ours_pod()))
    assert site.somebody("tenant").delete(ours_pod()).good, "a tenant may have fresh pods"
    scale = {"spec": {"replicas": 3}}
    assert site.somebody("tenant").patch(ours_deployment(), scale, subresource="scale").good, "an autoscaler's way"


# ── what a sandbox pod must be ──────────────────────────────────────────────────────

SECRET = {"name": "s", "secret": {"secretName": "mine"}}
TOKEN = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
HOST = {"name": "h", "hostPath": {"path": "/"}}
SHARED_MEMORY = {"name": "no-shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}


@pytest.mark.parametrize(
    ("path", "keys", "words"),
    [
        pytest.param(("spec",), {"runtimeClassName": None}, "RuntimeClass gvisor", id="runc"),
        pytest.param(("spec",), {"runtimeClassName": "other"}, "RuntimeClass gvisor", id="another-runtime"),
        pytest.param(("spec",), {"automountServiceAccountToken": None}, "automountServiceAccountToken", id="default"),
        pytest.param(("spec",), {"automountServiceAccountToken": True}, "automountServiceAccountToken", id="a-token"),
        pytest.param(("spec",), {"serviceAccountName": "default"}, "ServiceAccount rolehost-sandbox", id="account"),
        pytest.param(("spec",), {"hostNetwork": True}, "nothing of its node", id="the-nodes-network"),
        pytest.param(("spec",), {"hostPID": True}, "nothing of its node", id="the-nodes-processes"),
        pytest.param(("spec",), {"hostIPC": True}, "nothing of its node", id="the-nodes-ipc"),
        pytest.param(("spec", "containers", "0", "ports", "0"), {"hostPort": 80}, "nothing of its node", id="port"),
        pytest.param(("spec", "containers", "0", "securityContext"), {"privileged": True, "allowPrivilegeEscalation": None}, "neither privileged", id="privileged"),
        pytest.param(("spec", "containers", "0", "securityContext"), {"readOnlyRootFilesystem": None}, "readOnlyRoot", id="writable"),
        pytest.param(("spec", "containers", "0", "securityContext"), {"allowPrivilegeEscalation": None}, "allowPriv", id="escalation"),
        pytest.param(("spec", "containers", "0", "securityContext", "capabilities"), {"add": ["NET_ADMIN"]}, "capabilities.add", id="capability"),
        pytest.param(("spec", "containers", "0"), {"securityContext": None}, "readOnlyRoot", id="no-security-context"),
        pytest.param(("spec",), {"initContainers": [{"name": "i", "image": "i"}]}, "readOnlyRoot", id="a-free-init-container"),
        pytest.param(("spec",), {"volumes": [SECRET]}, "emptyDir volumes", id="a-secret"),
        pytest.param(("spec",), {"volumes": [TOKEN]}, "emptyDir volumes", id="a-projected-token"),
        pytest.param(("spec",), {"volumes": [HOST]}, "emptyDir volumes", id="the-nodes-files"),
        pytest.param(("spec", "containers", "0"), {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "a"}}}]}, "variable", id="a-variable"),
        pytest.param(("spec", "containers", "0"), {"envFrom": [{"secretRef": {"name": "a"}}]}, "variable", id="variables"),
    ],
)  # fmt: skip
def test_a_sandbox_pod_is_walled_in_whoever_asks(site: Site, path: tuple[str, ...], keys: Object, words: str) -> None:
    pod = changed(again(ours_pod()), *path, **keys)
    if "volumes" in keys:
        pod = changed(changed(pod, "spec", "containers", "0", volumeMounts=None), "spec", initContainers=None)
    # In a namespace without Pod Security, so that the answer is this policy's.
    pod = changed(pod, "metadata", namespace=STRANGER)
    refused = site.somebody("replicaset controller", might=True).create(pod)
    assert refused.code == 403
    assert "rolehost-sandbox-walls" in refused.message
    assert words in refused.message


def test_the_link_secret_is_for_an_init_container(site: Site) -> None:
    pod = again(ours_pod())
    [link] = [
        one["name"] for one in pod["spec"]["volumes"] if one.get("secret", {}).get("secretName") == "rolehost-link"
    ]
    [init], [container] = pod["spec"]["initContainers"], pod["spec"]["containers"]
    assert link in {mount["name"] for mount in init["volumeMounts"]}
    controller = site.somebody("replicaset controller")
    assert (answer := controller.create(pod)).good, answer.message
    mounts = [*container["volumeMounts"], {"name": link, "mountPath": "/link"}]
    mounted = changed(pod, "spec", "containers", "0", volumeMounts=mounts)
    assert "Secret rolehost-link is for its init container" in controller.create(mounted).message


def test_an_empty_folder_may_lie_over_any_path(site: Site) -> None:
    """E.g. one that can only be read, over a folder that logic has no business in."""
    pod = again(ours_pod())
    [container] = pod["spec"]["containers"]
    mounts = [*container["volumeMounts"], {"name": SHARED_MEMORY["name"], "mountPath": "/run", "readOnly": True}]
    pod = changed(pod, "spec", volumes=[*pod["spec"]["volumes"], SHARED_MEMORY])
    answer = site.somebody("replicaset controller").create(changed(pod, "spec", "containers", "0", volumeMounts=mounts))
    assert answer.good, answer.message


@pytest.mark.parametrize("who", ["tenant", "platform administrator"])
def test_a_sandbox_pod_gets_no_debug_container(site: Site, who: str) -> None:
    """A tenant's `admin` has no right to make one at all; with it, it is refused all the same."""
    debug = {"name": "debug", "image": "busybox", "securityContext": {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}}  # fmt: skip
    patch = {"spec": {"ephemeralContainers": [debug]}}
    person = site.somebody(who, might=True)
    asked = {"subresource": "ephemeralcontainers", "media": "application/strategic-merge-patch+json"}
    assert "gets no debug container" in person.patch(ours_pod(), patch, **asked).message
    assert person.patch(plain(ours_pod(), "web"), patch, **asked).good, "one's own pod does"


# ── revisions and guards ────────────────────────────────────────────────────────────

KEPT_BY_THE_OPERATOR = [(role_revision(), "a RoleRevision is made, kept and deleted by the operator, not by"), *((one, "is kept by the operator") for one in GUARDS)]  # fmt: skip
IDS = ["RoleRevision", "NetworkPolicy", "Secret", "ConfigMap"]
TOUCH = {"metadata": {"annotations": {"touched": "yes"}}}


@pytest.mark.parametrize("who", [*ANYBODY, "deployment controller"])
@pytest.mark.parametrize(("one", "words"), KEPT_BY_THE_OPERATOR, ids=IDS)
def test_what_the_operator_keeps_nobody_else_touches(site: Site, who: str, one: Object, words: str) -> None:
    person = site.somebody(who, might=True)
    for answer in (person.create(one), person.patch(one, TOUCH), person.delete(one), person.delete_all(one)):
        assert answer.code == 403
        assert words in answer.message
        assert USERS[who] in answer.message


def noted(**annotations: str | None) -> Object:
    return {
        "metadata": {
            "annotations": {key.replace("__", "/").replace("_", "."): said for key, said in annotations.items()}
        }
    }


def test_that_a_revision_passed_a_gate_is_a_word_of_the_tenants_editors(site: Site) -> None:
    """Whom RBAC lets change it, and nobody else."""
    tenant, one = site.somebody("tenant"), role_revision()
    for said in ("Failed", "Passed", "Passed", None):
        assert tenant.patch(one, noted(gate_rolehost_io__evals=said)).good, said
    assert tenant.patch(one, noted(gate_rolehost_io__evals="Passed", gate_rolehost_io__red_team="Failed")).good
    assert site.somebody("stranger").patch(one, noted(gate_rolehost_io__evals="Passed")).code == 403
    assert not tenant.patch(one, noted(gate_rolehost_io__evals="Passed"), subresource="status").good


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(noted(gate_rolehost_io__evals="Perhaps"), id="another-word"),
        pytest.param(noted(gate_rolehost_io="Passed"), id="no-name"),
        pytest.param(noted(touched=""), id="an-empty-one"),
        pytest.param(noted(xgate_rolehost_io__evals="Passed"), id="another-prefix"),
        pytest.param(noted(gate_rolehost_io__evals="Failed", touched="yes"), id="an-annotation-more"),
        pytest.param({"metadata": {**noted(gate_rolehost_io__evals="Failed")["metadata"], "labels": {"touched": "yes"}}}, id="a-label"),
        pytest.param({"metadata": {**noted(gate_rolehost_io__evals="Failed")["metadata"], "finalizers": ["touched.example/x"]}}, id="a-finalizer"),
        pytest.param({"metadata": {**noted(gate_rolehost_io__evals="Failed")["metadata"], "ownerReferences": owner("Pod", "x", "v1", controller=False)}}, id="an-owner"),
        pytest.param({**noted(gate_rolehost_io__evals="Failed"), "spec": {"sequence": 99}}, id="the-spec"),
        pytest.param({**noted(gate_rolehost_io__evals="Failed"), "spec": {"template": {"persona": {"system": "You are mine."}}}}, id="the-template"),
    ],
)  # fmt: skip
def test_a_gates_word_is_all_that_they_change(site: Site, change: Object) -> None:
    refused = site.somebody("tenant", might=True).patch(role_revision(), change)
    assert refused.code in (403, 422)
    assert "RoleRevision" in refused.message or "never changes" in refused.message


def test_an_annotation_of_the_operators_is_not_taken_away(site: Site) -> None:
    operator = site.somebody("operator", might=True, lasting=True)
    assert operator.patch(role_revision(), noted(kept="yes", gate_rolehost_io__evals="Failed")).good
    assert site.somebody("tenant").patch(role_revision(), noted(gate_rolehost_io__evals=None)).good, "a gate's own is"
    assert site.somebody("tenant", might=True).patch(role_revision(), noted(kept=None)).code == 403
    assert site.somebody("tenant", might=True).patch(role_revision(), noted(kept="no")).code == 403


@pytest.mark.parametrize("one", [one for one, _ in KEPT_BY_THE_OPERATOR], ids=IDS)
def test_the_operator_keeps_and_the_controllers_clean_up(site: Site, one: Object) -> None:
    assert site.somebody("operator", might=True).patch(one, TOUCH).good
    assert site.somebody("operator", might=True).delete(one).good
    for who in ("garbage collector", "namespace controller"):
        cleaner = site.somebody(who, might=True)
        assert cleaner.delete(one).good, who
        assert cleaner.delete_all(one).good, who
        assert cleaner.patch(one, {"metadata": {"finalizers": None}}).good, who
        assert not cleaner.create(one).good


def test_names_of_ours_are_free_outside_of_tenants(site: Site) -> None:
    admin = site.somebody("platform administrator")
    for kind, name in (("Secret", "rolehost-link"), ("ConfigMap", "rolehost-platform-keys")):
        assert admin.create(kept(kind, name, STRANGER)).good
    link = kept("Secret", "rolehost-link", NAMESPACE)
    assert admin.patch(link, TOUCH).good, "the release's own"
    site.release.server.kubectl("label", "namespace", NAMESPACE, f"{names.TENANT}=true")
    try:
        assert admin.patch(link, TOUCH).good, "also where the platform's namespace is a tenant"
    finally:
        site.release.server.kubectl("label", "namespace", NAMESPACE, f"{names.TENANT}-")


def test_a_tenant_makes_its_roles(site: Site) -> None:
    role = {**kept("Role", "cat", api=names.API_VERSION), "spec": {"template": TEMPLATE}}
    assert site.somebody("tenant").create(role).good


def test_an_administrator_may_act_as_the_operator(site: Site) -> None:
    """The way out of whatever was not thought of: kubectl --as, for whoever may impersonate."""
    told = site.release.server.kubectl(
        "delete", "rhv", REVISION, "-n", TENANT, "--dry-run=server", "--as", USERS["operator"]
    )
    assert REVISION in told.stdout


# ── other clusters, and none of it ──────────────────────────────────────────────────


def test_a_cluster_whose_controllers_share_one_user(site: Site) -> None:
    shared = "system:kube-controller-manager"
    values = [f"admission.controllerUsers.{kind}={{{shared}}}" for kind in ("deployment", "replicaSet", "cleanup")]
    site.release.upgrade("--set", "runtimeClass.create=true", *[part for one in values for part in ("--set", one)])
    site.until(False, again(ours_pod()), "controller-manager")
    manager = site.somebody("controller-manager")
    assert manager.create(changed(ours_replica_set(), "metadata", name=f"{REVISION}-other")).good
    jobs = changed(again(ours_pod()), "metadata", ownerReferences=owner("Job", f"{REVISION}-{HASH}", "batch/v1"))
    assert "belongs to a ReplicaSet" in manager.create(jobs).message, "a tenant's Job is made by the same user"
    assert "ReplicaSet controller only" in site.somebody("replicaset controller").create(again(ours_pod())).message


def test_switched_off_there_is_no_policy(site: Site) -> None:
    told = site.release.upgrade("--set", "runtimeClass.create=true,admission.enabled=false")
    assert "admission.enabled is off" in told
    for kind in ("validatingadmissionpolicies", "validatingadmissionpolicybindings"):
        found = site.release.server.items(kind, "-l", "app.kubernetes.io/component=admission")
        assert found == []
    site.until(False, again(ours_pod()))
    assert "admission.enabled is off" not in site.release.upgrade("--set", "runtimeClass.create=true")
    site.until(True, again(ours_pod()))
