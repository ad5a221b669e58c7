"""The one thing the platform must do: apply, Ready, a streamed answer out of gVisor, and nothing forgotten.

One Role, one person, one session through everything that may die under it.
"""

import secrets
import time
from collections.abc import Iterator

import pytest
from tests.cluster.testing import Cluster
from tests.support.proof import NUMBERS
from tests.support.talk import Frame, Person

ROLE = "storyteller"
RUN = secrets.token_hex(4)
"""Ends every session's id: sessions outlive the Role, so those of an earlier run are still there."""


@pytest.fixture(scope="module")
def key(cluster: Cluster) -> Iterator[str]:
    with cluster.tenant("default") as tenant:
        yield tenant.key("chat", "push")


@pytest.fixture(scope="module")
def storyteller(cluster: Cluster, key: str) -> Iterator[str]:
    """The example, deployed as a tenant does it: checked, pushed and applied by the CLI."""
    out = cluster.rolehost("deploy", "examples/storyteller", "-n", "default", key=key)
    assert f"/role/{ROLE}" in out
    cluster.kubectl("wait", "--for=condition=Ready", f"rhr/{ROLE}", "-n", "default", "--timeout=60s")
    yield ROLE
    cluster.kubectl("delete", "rhr", ROLE, "-n", "default", "--wait=true")


def test_a_streamed_answer_comes_out_of_gvisor(cluster: Cluster, storyteller: str, key: str) -> None:
    with cluster.talk("Storyteller", key, f"abc123-{RUN}") as person:
        done = person.say("讲一个关于龙的短故事")
        deltas = [frame for frame in person.frames if frame["type"] == "response.output_text.delta"]
        assert person.frames[0]["type"] == "session.created"
        assert done["done"] is True
        assert done["status"] == "completed"
        assert len(deltas) > 1
        assert person.streamed == done["message"] != ""
    pods = cluster.pods("default", role=storyteller)
    assert pods
    for pod in pods:
        assert "Starting gVisor" in cluster.kubectl("exec", "-n", "default", pod, "--", "dmesg")


def test_the_conditions_say_what_was_proved(cluster: Cluster, storyteller: str) -> None:
    conditions = cluster.conditions("rhr", storyteller, "default")
    assert {name: status for name, (status, _) in conditions.items()} == {
        "Ready": "True",
        "Accepted": "True",
        "LogicLoaded": "True",
        "SandboxVerified": "True",
    }


def test_the_logic_printed_for_its_tenant_only(cluster: Cluster, storyteller: str, key: str) -> None:
    with cluster.talk(ROLE, key, f"printing-{RUN}") as person:
        person.say("a dragon, please")
    assert "dragon" in cluster.rolehost("logs", ROLE, key=key)
    for pod in cluster.pods("default", role=storyteller):
        assert "dragon" not in cluster.kubectl("logs", "-n", "default", pod)


def remembers(cluster: Cluster, key: str, session_id: str, before: str, now: str) -> None:
    """A new socket, the same session: the scripted model quotes what was said before."""
    with cluster.talk(ROLE, key, session_id) as person:
        done = person.say(now)
        assert done["type"] == "response.done", done
        assert done["status"] == "completed", done
        assert before in done["message"]


def test_the_second_turn_remembers_the_first(cluster: Cluster, storyteller: str, key: str) -> None:
    with cluster.talk(ROLE, key, f"memory-{RUN}") as person:
        person.say("my name is Wenqing")
    remembers(cluster, key, f"memory-{RUN}", "my name is Wenqing", "what did I say before?")


@pytest.mark.timeout(180 + 30 * NUMBERS.deaths)
def test_a_pod_deleted_in_mid_session_costs_nothing(cluster: Cluster, storyteller: str, key: str) -> None:
    with cluster.talk(ROLE, key, f"podless-{RUN}") as person:
        last = "I hid the key under the mat, 0"
        person.say(last)
        for number in range(1, NUMBERS.deaths + 1):
            for pod in cluster.pods("default", role=storyteller):
                cluster.kubectl("delete", "pod", pod, "-n", "default", "--wait=false")
            done = _sooner_or_later(person, "what did I say before?")
            assert last in done["message"]
            last = f"I hid the key under the mat, {number}"
            assert _sooner_or_later(person, last)["done"]


def _sooner_or_later(person: Person, message: str) -> Frame:
    """The answer on the same socket, after as many clear and retryable refusals as a pod needs to start."""
    for _ in range(60):
        done = person.say(message)
        failed = done.get("error") if done["type"] == "error" or done.get("status") == "failed" else None
        if failed is None:
            return done
        assert failed["retryable"], failed
        time.sleep(0.5)
    raise AssertionError("no answer within 60 tries")


@pytest.mark.timeout(180)
def test_a_restarted_gateway_knows_the_session(cluster: Cluster, storyteller: str, key: str) -> None:
    with cluster.talk(ROLE, key, f"gatewayless-{RUN}") as person:
        person.say("the bridge is out")
    cluster.restart("deployment/rolehost-gateway")
    remembers(cluster, key, f"gatewayless-{RUN}", "the bridge is out", "what did I say before?")


@pytest.mark.timeout(180)
def test_a_killed_redis_loses_no_acknowledged_turn(cluster: Cluster, storyteller: str, key: str) -> None:
    with cluster.talk(ROLE, key, f"redisless-{RUN}") as person:
        person.say("the river is high")
        cluster.kill("rolehost-system", "app.kubernetes.io/component=redis")
        assert "the river is high" in str(_sooner_or_later(person, "what did I say before?")["message"])


@pytest.mark.timeout(180)
def test_sessions_go_on_without_the_operator(cluster: Cluster, storyteller: str, key: str) -> None:
    with cluster.talk(ROLE, key, f"operatorless-{RUN}") as person:
        person.say("nobody is watching")
        with cluster.scaled_to_zero("deployment/rolehost-operator"):
            assert "nobody is watching" in person.say("what did I say before?")["message"]
            with cluster.talk(ROLE, key, f"born-without-{RUN}") as another:
                assert another.say("hello")["status"] == "completed"
