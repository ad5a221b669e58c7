"""Memories found by what they mean, on the real cluster: the chart's embedder, a backend that names it, and a Role that
recalls with no word in common. It is reached by gateways only and reaches nothing; where it is away, words still find."""

import json
import secrets
from collections.abc import Iterator

import pytest
from tests.cluster import install
from tests.cluster.testing import PLATFORM, Cluster, Tenant

pytestmark = pytest.mark.timeout(240)

RUN = secrets.token_hex(4)
"""Ends every user's id: what is remembered outlives the Role."""
SERVICE, PORT = "rolehost-embedder", 8085
BACKEND = {
    "apiVersion": "rolehost.io/v1alpha1",
    "kind": "ModelBackend",
    "metadata": {"name": "vectors"},
    "spec": {
        "type": "Embeddings",
        "baseURL": f"http://{SERVICE}:{PORT}/v1",
        "models": [{"name": "minilm", "model": "all-MiniLM-L6-v2"}],
        "batching": {"maxTexts": 32},
    },
}
LOGIC = """
from rolehost import Role, Turn

friend = Role("friend")


@friend.on_message
async def listen(t: Turn) -> None:
    if t.message.startswith("?"):
        t.say("; ".join(one.text for one in await t.memory.recall(t.message[1:], k=1)) or "nothing")
    else:
        await t.memory.remember(t.message, kind="long")
        t.say("noted")
"""
TOLD = ("Spiders frighten me", "My sister bakes bread", "Our car is blue")
REACH = """
import json, socket, sys
reached = []
for host, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((host, port), 2).close()
        reached.append([host, port])
    except OSError:
        pass
print(json.dumps(reached))
"""


@pytest.fixture(scope="module")
def friends(cluster: Cluster) -> Iterator[Tenant]:
    """`friend` finds by meaning too, `acquaintance` by words only."""
    with install.embedder(cluster.where), cluster.tenant("meanings") as tenant:
        cluster.apply(BACKEND)
        permissions = {"permissions": ["model.call", "memory.read", "memory.write"]}
        tenant.apply_role(
            "friend", logic=LOGIC, template={**permissions, "memory": {"embeddings": {"backend": "vectors"}}}
        )
        tenant.apply_role("acquaintance", logic=LOGIC, template=permissions)
        for name in ("friend", "acquaintance"):
            tenant.wait_ready(name)
        yield tenant
        cluster.kubectl("delete", "modelbackend", "vectors")


def told(cluster: Cluster, key: str, role: str, *words: str, user: str) -> list[str]:
    """Each in a session of its own, at whichever gateway it comes in."""
    answers = []
    for word in words:
        with cluster.talk(role, key, secrets.token_hex(6)) as person:
            done = person.say(word, user=user)
            assert done["status"] == "completed", done
            answers.append(done["message"])
    return answers


def reached(cluster: Cluster, workload: str, *targets: tuple[str, int]) -> list[list[str | int]]:
    """Of these, what answers a pod of the workload."""
    script = ("python", "-c", REACH, json.dumps(targets))
    found: list[list[str | int]] = json.loads(cluster.kubectl("exec", "-n", PLATFORM, workload, "--", *script))
    return found


def test_what_shares_no_word_with_the_question_is_found(cluster: Cluster, friends: Tenant) -> None:
    key, user = friends.key("chat", "act-as-user"), f"ann-{RUN}"
    assert told(cluster, key, "friend", *TOLD, user=user) == ["noted"] * 3
    asked = ("?Which animals make her afraid", "?What colour has the vehicle", "?Who makes food")
    assert told(cluster, key, "friend", *asked, user=user) == [
        "Spiders frighten me",
        "Our car is blue",
        "My sister bakes bread",
    ]
    assert told(cluster, key, "acquaintance", *TOLD, user=user) == ["noted"] * 3
    assert told(cluster, key, "acquaintance", "?Which animals make her afraid", user=user) == ["nothing"]


def test_only_gateways_reach_it_and_it_reaches_nothing(cluster: Cluster, friends: Tenant) -> None:
    ours = (SERVICE, PORT)
    assert reached(cluster, "deployment/rolehost-gateway", ours) == [[*ours]]
    assert reached(cluster, "deployment/rolehost-upload", ours) == []
    targets = (("10.96.0.1", 443), *cluster.node_targets(), *cluster.pod_targets(PLATFORM, component="redis"))
    assert reached(cluster, "deployment/rolehost-embedder", *targets) == []


def test_while_it_is_away_words_still_find_and_no_turn_fails(cluster: Cluster, friends: Tenant) -> None:
    key, user = friends.key("chat", "act-as-user"), f"bob-{RUN}"
    told(cluster, key, "friend", *TOLD, user=user)
    with cluster.scaled_to_zero("deployment/rolehost-embedder"):
        assert told(cluster, key, "friend", "Rain makes me sad", "?sad rain", user=user) == [
            "noted",
            "Rain makes me sad",
        ]
