"""A model behind the real OpenAI wire: llama.cpp's own server, with random weights, streams through to the client."""

from collections.abc import Iterator

import pytest
from tests.cluster import install
from tests.cluster.testing import Cluster, Tenant

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def tenant(cluster: Cluster) -> Iterator[Tenant]:
    install.tiny_model(cluster.where)
    with cluster.tenant("wired") as made:
        yield made


def test_a_real_model_server_streams_through(cluster: Cluster, tenant: Tenant) -> None:
    tenant.apply_role(
        "nonsense",
        template={"model": {"backend": "tiny", "name": "small", "params": {"max_tokens": 24, "temperature": 0}}},
    )
    tenant.wait_ready("nonsense")
    with cluster.talk("nonsense", tenant.key("chat"), "real-wire") as person:
        done = person.say("tell me a story")
        deltas = [frame for frame in person.frames if frame["type"] == "response.output_text.delta"]
    assert done["status"] == "completed", done
    assert len(deltas) > 1
    assert person.streamed == done["message"] != ""
    assert not done["message"].startswith("You said"), "the script answered, not the model"
    assert done["usage"]["output_tokens"] > 0


def test_a_backend_that_is_not_there_is_a_clear_error_and_loses_nothing(cluster: Cluster, tenant: Tenant) -> None:
    """Nobody listens on that port of a Service that exists: the turn fails, says so, and the session goes on."""
    cluster.apply(
        {
            "apiVersion": "rolehost.io/v1alpha1",
            "kind": "ModelBackend",
            "metadata": {"name": "absent"},
            "spec": {
                "type": "OpenAI",
                "baseURL": "http://tinymodel.models.svc.cluster.local:8001/v1",
                "models": [{"name": "small", "model": "tiny"}],
                "timeouts": {"connectSeconds": 1},
            },
        }
    )
    try:
        tenant.apply_role("mute", template={"model": {"backend": "absent", "name": "small"}})
        tenant.wait_ready("mute")
        with cluster.talk("mute", tenant.key("chat"), "no-model") as person:
            for _ in range(2):
                answer = person.say("are you there?")
                failed = answer.get("error") or answer
                assert answer["type"] == "error" or answer["status"] == "failed", answer
                assert failed["retryable"], answer
    finally:
        cluster.kubectl("delete", "modelbackend", "absent")
