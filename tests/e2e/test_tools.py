"""The almanac, a Role with tools: what the model calls runs under gVisor, and no pod's death makes it run twice."""

import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.testing import Cluster
from tests.support.talk import Person, talk
from websockets.typing import Subprotocol

ROLE, BACKEND = "almanac", "almanac-script"
EXAMPLE = Path("examples") / ROLE
RUN = secrets.token_hex(4)


@pytest.fixture(scope="module")
def key(cluster: Cluster) -> Iterator[str]:
    with cluster.tenant("default") as tenant:
        yield tenant.key("chat", "push")


@pytest.fixture(scope="module")
def almanac(cluster: Cluster, key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The example as a tenant brings it, answered by the script beside it, which an administrator applies."""
    folder = tmp_path_factory.mktemp("role") / ROLE
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    script = yaml.safe_load((folder / "script.yaml").read_text())
    script["metadata"]["name"] = BACKEND
    (folder / "script.yaml").write_text(yaml.safe_dump(script))
    cluster.kubectl("apply", "-f", str(folder / "script.yaml"))
    manifest = (folder / "role.yaml").read_text()
    (folder / "role.yaml").write_text(
        manifest.replace("    logic:\n", f"    model: {{backend: {BACKEND}}}\n    logic:\n")
    )
    cluster.rolehost("deploy", str(folder), "-n", "default", key=key)
    cluster.kubectl("wait", "--for=condition=Ready", f"rhr/{ROLE}", "-n", "default", "--timeout=60s")
    yield ROLE
    cluster.kubectl("delete", "rhr", ROLE, "-n", "default", "--wait=true")
    cluster.kubectl("delete", "rhm", BACKEND, "--wait=true")


def said(person: Person, message: str) -> dict[str, Any]:
    """Until a pod takes it: one that is gone may be noticed in the turn."""
    for _ in range(60):
        done = person.say(message)
        if done["type"] == "response.done" and done["status"] == "completed":
            return done
        assert done["error"]["retryable"], done
        time.sleep(0.5)
    raise AssertionError("no pod took the turn")


@pytest.mark.timeout(180)
def test_a_model_calls_tools_and_what_they_keep_outlives_a_pod(cluster: Cluster, almanac: str, key: str) -> None:
    url, words = f"ws://{cluster.gateway}/role/{almanac}", [Subprotocol("role.v1")]
    with talk(url, key=key, session_id=f"days-{RUN}", subprotocols=words) as person:
        moon = said(person, "what does the moon do?")
        assert moon["message"] == "My page says: 2030-01-04: new moon, 0 % lit."
        assert moon["tools"] == [{"name": "moon", "outcome": "ok"}]
        assert said(person, "keep the garlic")["message"].count("keep the garlic") == 1
        for pod in cluster.pods("default", role=almanac):
            cluster.kubectl("delete", "pod", pod, "-n", "default", "--wait=false")
        again = said(person, "keep the leeks")
        assert "keep the garlic; keep the leeks" in again["message"]
        assert [one["outcome"] for one in again["tools"]] == ["ok", "ok"]


@pytest.mark.timeout(60)
def test_what_is_not_granted_is_not_run(cluster: Cluster, almanac: str, key: str) -> None:
    url, words = f"ws://{cluster.gateway}/role/{almanac}", [Subprotocol("role.v1")]
    with talk(url, key=key, session_id=f"rain-{RUN}", subprotocols=words) as person:
        done = said(person, "and the weather?")
        assert (done["message"], done["tools"]) == (
            "I cannot say. There is no such tool.",
            [{"name": "other", "outcome": "unknown_tool"}],
        )
