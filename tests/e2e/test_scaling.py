"""Pods follow sessions, and a new sandbox image goes through the cluster in waves that no conversation notices."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from tests.cluster import images
from tests.cluster.testing import PLATFORM, Cluster, Tenant, until
from tests.support.proof import SOAK, keep
from tests.support.talk import Person

from rolehost_api import names

CALM_SECONDS = 120
"""That fewer pods must have been enough for; see the operator's desired/replicas.py."""


@pytest.fixture(scope="module")
def tenant(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("scaling") as made:
        yield made


def deployments(cluster: Cluster, namespace: str) -> dict[str, dict[str, Any]]:
    """By Role; there is one revision of each here."""
    found = cluster.get("deployments", "-n", namespace, "-l", "app.kubernetes.io/component=sandbox")["items"]
    return {one["metadata"]["labels"]["rolehost.io/role"]: one for one in found}


# ── replicas ────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(600)
def test_sessions_bring_pods_and_their_end_takes_them(cluster: Cluster, tenant: Tenant) -> None:
    tenant.apply_role(
        "crowd",
        sessions={"idleTimeoutSeconds": 10, "maxPerPod": 4},
        scaling={"minReplicas": 1, "maxReplicas": 3, "targetSessionsPerPod": 2},
    )
    tenant.wait_ready("crowd")
    key = tenant.key("chat")

    def ready(count: int) -> bool | None:
        found = deployments(cluster, tenant.name)["crowd"]
        return found["spec"]["replicas"] == count == found["status"].get("readyReplicas", 0) or None

    def stands() -> str:
        found = deployments(cluster, tenant.name)["crowd"]
        return f"{found['spec']['replicas']} replicas, {found['status']}"

    until(lambda: ready(1), 30, stands)  # the kubelet's own word comes a moment after the gateway's
    with ExitStack() as stack:
        people = [stack.enter_context(cluster.talk("crowd", key, f"one-of-{number}")) for number in range(4)]

        def everybody_talks(count: int) -> bool | None:
            assert {person.say("hello")["status"] for person in people} == {"completed"}
            return ready(count)

        until(lambda: everybody_talks(2), 90, stands)
        people += [stack.enter_context(cluster.talk("crowd", key, f"more-{number}")) for number in range(4)]
        until(lambda: everybody_talks(3), 90, stands)
    until(lambda: ready(2) or ready(1), CALM_SECONDS + 90, stands)
    if SOAK:  # the busiest moment of one calm while is what the next one begins with
        until(lambda: ready(1), CALM_SECONDS + 90, stands)


# ── a new image ─────────────────────────────────────────────────────────────────────

FLEET = [f"wave-{number}" for number in range(4)]
STORY = ("Once upon a time there was a dragon. " * 160).strip()
"""About half a minute of streaming."""


@contextmanager
def environment(cluster: Cluster, deployment: str, name: str, value: str) -> Iterator[None]:
    """A variable of a part of the platform, which restarts for it; and as it was again at the end."""
    argv = ("set", "env", f"deployment/{deployment}", "-n", PLATFORM)
    [container] = cluster.get("deployment", deployment, "-n", PLATFORM)["spec"]["template"]["spec"]["containers"]
    [before] = [one["value"] for one in container["env"] if one["name"] == name]

    def give(text: str) -> None:
        cluster.kubectl(*argv, f"{name}={text}")
        cluster.rolled_out(f"deployment/{deployment}")

    give(value)
    try:
        yield
    finally:
        give(before)


@contextmanager
def trusting(cluster: Cluster, images: str) -> Iterator[None]:
    """Gateways dial pods of these images; and of those before at the end."""
    name = ("configmap", names.TRUSTED_IMAGES, "-n", PLATFORM)
    before = cluster.get(*name)["data"][names.TRUSTED_IMAGES_ENTRY]

    def give(text: str) -> None:
        patch = json.dumps({"data": {names.TRUSTED_IMAGES_ENTRY: text}})
        cluster.kubectl("patch", *name, "--type=merge", "-p", patch)

    give(images)
    try:
        yield
    finally:
        give(before)


class Listener(threading.Thread):
    """Somebody who asks for one long story after the other, for as long as it takes."""

    def __init__(self, person: Person) -> None:
        super().__init__(daemon=True)
        self.person = person
        self.enough = threading.Event()
        self.turns: list[tuple[dict[str, Any], str, list[str]]] = []
        self.failure = ""

    def run(self) -> None:
        try:
            while not self.enough.is_set():
                done = self.person.say("a story, please", timeout=90)
                self.turns.append((done, self.person.streamed, [frame["type"] for frame in self.person.frames]))
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"

    def stop(self) -> None:
        self.enough.set()
        self.join(120)


def mixed(one: dict[str, Any]) -> bool:
    status = one["status"]
    unseen = status.get("observedGeneration", 0) < one["metadata"]["generation"]
    return bool(unseen or status.get("replicas", 0) > status.get("updatedReplicas", 0))


@pytest.fixture
def next_image(cluster: Cluster) -> str:
    """The same sandbox image under another name, which to Kubernetes is another image."""
    return images.also_named(cluster.where, "localhost/rolehost-sandbox:dev", "localhost/rolehost-sandbox:next")


@pytest.mark.timeout(900)
def test_a_new_sandbox_image_rolls_in_waves_and_a_story_goes_on(
    cluster: Cluster, tenant: Tenant, next_image: str
) -> None:
    backend = {"type": "Scripted", "script": [{"match": "story", "reply": STORY}, {"reply": "before: {previous}"}]}
    kind = {"apiVersion": "rolehost.io/v1alpha1", "kind": "ModelBackend", "metadata": {"name": "slow"}}
    cluster.apply({**kind, "spec": backend})
    for name in FLEET:
        tenant.apply_role(name, template={"model": {"backend": "slow"}})
    for name in FLEET:
        tenant.wait_ready(name, 120)
    trusted = f"localhost/rolehost-sandbox:dev,{next_image}"
    most = 0
    said: set[str] = set()

    def drifts(role: str) -> str:
        return cluster.conditions("rhr", role, tenant.name).get("RuntimeDrift", ("", ""))[1]

    def all_are_new() -> bool | None:
        nonlocal most
        found = {role: one for role, one in deployments(cluster, tenant.name).items() if role in FLEET}
        new = [one for one in found.values() if one["spec"]["template"]["spec"]["containers"][0]["image"] == next_image]
        most = max(most, sum(map(mixed, new)))
        said.update(drifts(role) for role in FLEET)
        return (len(new) == len(FLEET) and not any(map(mixed, new))) or None

    try:
        with trusting(cluster, trusted):
            key = tenant.key("chat")
            with ExitStack() as stack:
                people = [stack.enter_context(cluster.talk(name, key, f"listening-{name}")) for name in FLEET]
                listeners = [Listener(person) for person in people]
                for listener in listeners:
                    listener.start()
                before = {role: cluster.pods(tenant.name, role=role) for role in FLEET}
                with environment(cluster, "rolehost-operator", "ROLEHOST_SANDBOX_IMAGE", next_image):
                    until(all_are_new, 300, lambda: str(deployments(cluster, tenant.name).keys()))
                    for listener in listeners:
                        listener.stop()
                    assert most == 1, "10 % of a few is one at a time"
                    for role, listener in zip(FLEET, listeners, strict=True):
                        assert listener.failure == "", role
                        assert not set(cluster.pods(tenant.name, role=role)) & set(before[role]), "no pod is an old one"
                        for done, streamed, kinds in listener.turns:
                            assert done["status"] == "completed", (role, done)
                            assert done["message"] == streamed == STORY, role
                            assert kinds.count("response.done") == 1
                        assert listener.person.say("what did I say?")["message"] == "before: a story, please"
                        until(lambda role=role: drifts(role) == "" or None, 30, lambda: "nothing drifts any more")  # type: ignore[misc]
                    assert "AwaitingTurn" in said
                    turns = sum(len(listener.turns) for listener in listeners)
                    keep("upgrade-waves", {"deployments": len(FLEET), "rolling at most": most, "turns": turns})
            # Back to the image of the other tests, before the gateway trusts no other any more.
            until(
                lambda: (
                    all(
                        not mixed(one) and one["spec"]["template"]["spec"]["containers"][0]["image"] != next_image
                        for one in deployments(cluster, tenant.name).values()
                    )
                    or None
                ),
                300,
                lambda: "all pods run the first image again",
            )
    finally:
        cluster.kubectl("delete", "modelbackend", "slow")
