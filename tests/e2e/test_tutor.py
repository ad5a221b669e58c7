"""The tutor, a Role of YAML alone: its graph is walked under gVisor, and a pod's death does not move it."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.testing import Cluster
from tests.support.talk import Person, talk
from websockets.typing import Subprotocol

ROLE = "tutor"
RUN = secrets.token_hex(4)


@pytest.fixture(scope="module")
def key(cluster: Cluster) -> Iterator[str]:
    with cluster.tenant("default") as tenant:
        yield tenant.key("chat", "push")


@pytest.fixture(scope="module")
def tutor(cluster: Cluster, key: str) -> Iterator[str]:
    """The example, as a tenant brings it."""
    cluster.rolehost("deploy", "examples/tutor", "-n", "default", key=key)
    cluster.kubectl("wait", "--for=condition=Ready", f"rhr/{ROLE}", "-n", "default", "--timeout=60s")
    yield ROLE
    cluster.kubectl("delete", "rhr", ROLE, "-n", "default", "--wait=true")


def steps(person: Person) -> list[tuple[Any, Any]]:
    return [(one["from"], one["to"]) for one in person.frames if one["type"] == "role.behavior.transition"]


@pytest.mark.timeout(180)
def test_a_lesson_moves_and_stays_where_it_was_when_its_pod_is_gone(cluster: Cluster, tutor: str, key: str) -> None:
    url, words = f"ws://{cluster.gateway}/role/{tutor}", [Subprotocol("role.v1")]
    with talk(url, key=key, session_id=f"lesson-{RUN}", subprotocols=words) as person:
        person.say("hi")
        assert steps(person) == []
        person.say("how do tides work?")
        assert steps(person) == [("Greet", "Explain")]
        person.say("quiz me")
        assert steps(person) == [("Explain", "Quiz")]
        for pod in cluster.pods("default", role=tutor):
            cluster.kubectl("delete", "pod", pod, "-n", "default", "--wait=false")
        for _ in range(60):
            done = person.say("because of the moon")
            if done["type"] == "response.done" and done["status"] == "completed":
                break
            assert done["error"]["retryable"], done
            time.sleep(0.5)
        assert steps(person) == [("Quiz", "Praise")]
