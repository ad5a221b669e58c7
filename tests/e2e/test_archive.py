"""A conversation so long that its begin leaves Redis for a folder of the node: resumed, replayed and gone on with."""

import http.client
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster import install
from tests.cluster.common import REPOSITORY
from tests.cluster.testing import PLATFORM, Cluster, Tenant, until

RUN = secrets.token_hex(4)
SESSION = f"long-{RUN}"
CLAIM = "rolehost-archive-test"
LOGIC = """
from rolehost import Role, State, Turn

class Count(State):
    turns: int = 0

crowd = Role("crowd", state=Count)

@crowd.on_message
async def answer(t: Turn[Count]) -> None:
    t.state.turns += 1
    await t.reply(f"{t.state.turns}|")
"""
"""Asks no model: what one says of 16 KiB takes a minute to come."""
TURNS, CHARS = 200, 16_384
"""More than 64 turns and 256 KiB, several times over, and more than the 524,288 characters that prompts reach back."""
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def shelf(cluster: Cluster) -> Iterator[Path]:
    """The archive's folder on the node; the chart is as before when the tests end."""
    folder = cluster.where.run / "volumes" / CLAIM
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, 65532, 65532)
    spec: dict[str, Any] = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    room = {"storage": "1Gi"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": CLAIM},
        "spec": {
            **spec,
            "capacity": room,
            "claimRef": {"namespace": PLATFORM, "name": CLAIM},
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "namespace": PLATFORM},
        "spec": {**spec, "volumeName": CLAIM, "resources": {"requests": room}},
    }
    cluster.kubectl("apply", "-f", "-", feed=yaml.safe_dump_all([volume, claim]))
    # A pod that comes while the two are still being bound is put aside by the scheduler, now and then for five minutes.
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Bound", f"pvc/{CLAIM}", "-n", PLATFORM, "--timeout=60s")
    upgrade(cluster, url="file:///var/lib/rolehost/archive", claim=CLAIM)
    try:
        yield folder
    finally:
        upgrade(cluster, url="", claim="")
        cluster.kubectl("delete", "pvc", CLAIM, "-n", PLATFORM, "--wait=false")
        cluster.kubectl("delete", "pv", CLAIM, "--wait=false")
        shutil.rmtree(folder)


def upgrade(cluster: Cluster, *, url: str, claim: str) -> None:
    chart = str(REPOSITORY / install.CHART)
    values = f"archive.url={url},archive.existingClaim={claim}"
    install.helm(cluster.where, "upgrade", "rolehost", chart, "--reuse-values", "--set", values)
    cluster.rolled_out("deployment/rolehost-gateway", 250)


@pytest.fixture(scope="module")
def acme(cluster: Cluster, shelf: Path) -> Iterator[Tenant]:
    with cluster.tenant(f"long-{RUN}") as tenant:
        tenant.apply_role("crowd", logic=LOGIC)
        tenant.wait_ready("crowd")
        yield tenant


def events(cluster: Cluster, key: str, after: int) -> dict[str, Any]:
    with closing(http.client.HTTPConnection(cluster.gateway, timeout=60)) as client:
        path = f"/v1/roles/crowd/sessions/{SESSION}/events?after_seq={after}"
        client.request("GET", path, None, {"Authorization": f"Bearer {key}"})
        found: dict[str, Any] = json.loads(client.getresponse().read())
        return found


def all_events(cluster: Cluster, key: str) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    while True:
        page = events(cluster, key, told[-1]["seq"] if told else 0)
        assert not page.get("gap")
        told += page["events"]
        if not page["more"]:
            return told


def test_what_left_redis_is_read_as_if_it_had_not(cluster: Cluster, acme: Tenant, shelf: Path) -> None:
    key = acme.key("chat")
    with cluster.talk("crowd", key, SESSION) as person:
        for number in range(TURNS):
            assert person.say(f"{number} " + "x" * CHARS)["type"] == "response.done"
    mine = shelf / cluster.get("namespace", acme.name)["metadata"]["uid"]
    segments = until(lambda: list(mine.rglob("1-1.0-*")), 60, lambda: "the begin of the log is in the archive")
    assert len(segments) == 1
    told = all_events(cluster, key)
    assert [event["seq"] for event in told] == [*range(1, 2 * TURNS + 1)]
    replies = [event["message"] for event in told if event["type"] == "response.done"]
    assert [reply.partition("|")[0] for reply in replies] == [str(number) for number in range(1, TURNS + 1)]
    cluster.restart("deployment/rolehost-gateway", seconds=250)
    with cluster.talk("crowd", key, SESSION) as person:
        assert person.say("still here?")["message"].startswith(f"{TURNS + 1}|")
