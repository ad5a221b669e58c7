"""The smallest Role, a manifest of a few lines: applied with kubectl alone, it answers out of gVisor and remembers."""

import secrets

import pytest
from tests.cluster.common import REPOSITORY
from tests.cluster.testing import Cluster
from tests.support.talk import talk
from websockets.typing import Subprotocol


@pytest.mark.timeout(120)
def test_a_role_without_python_is_applied_and_answers(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-n", "default", "-f", str(REPOSITORY / "examples/cat/role.yaml"))
    try:
        cluster.kubectl("wait", "--for=condition=Ready", "rhr/cat", "-n", "default", "--timeout=60s")
        with cluster.tenant("default") as tenant:
            url, words = f"ws://{cluster.gateway}/role/cat", [Subprotocol("role.v1")]
            with talk(url, key=tenant.key("chat"), session_id=secrets.token_hex(4), subprotocols=words) as person:
                assert person.say("I brought you a fish")["message"]
                assert "I brought you a fish" in person.say("what did I say before?")["message"]
    finally:
        cluster.kubectl("delete", "rhr", "cat", "-n", "default", "--wait=true")
