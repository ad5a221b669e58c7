"""Sessions that are kept, through the Service of a cluster with several gateways and a real Redis."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.testing import Cluster, Tenant

SECRET = "the safe opens with 4711"
LOGIC = """from rolehost import Role, State, Turn


class Till(State):
    sold: int = 0


clerk = Role("clerk", state=Till)


@clerk.on_reply
def count(t: Turn[Till]) -> None:
    t.state.sold += 1
"""


@pytest.fixture(scope="module")
def shop(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("archive") as tenant:
        template = {"model": {"backend": "default"}, "logic": {"inline": LOGIC}}
        tenant.apply_role("clerk", system="You are the clerk.", template=template)
        tenant.wait_ready("clerk")
        yield tenant


def sessions(cluster: Cluster, key: str, *arguments: str) -> str:
    return cluster.rolehost("sessions", *arguments, key=key)


def test_what_was_said_is_listed_replayed_and_done_again_by_the_same_code(
    cluster: Cluster, shop: Tenant, tmp_path: Path
) -> None:
    key = shop.key("chat")
    with cluster.talk("clerk", key, "cart") as person:
        for message in ("one", "two", "three"):
            person.say(message)
    assert "cart" in sessions(cluster, key, "ls", "clerk")
    assert "4711" not in sessions(cluster, key, "show", "clerk", "cart")
    events = [
        json.loads(line) for line in sessions(cluster, key, "replay", "clerk", "cart").splitlines() if line[0] == "{"
    ]
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5, 6]
    (tmp_path / "clerk.py").write_text(LOGIC)
    judged = sessions(cluster, key, "replay", "clerk", "cart", "--check", "--logic", str(tmp_path / "clerk.py"))
    assert "3 of 3 turns do again what they did" in judged


def test_a_fork_goes_on_by_itself(cluster: Cluster, shop: Tenant) -> None:
    key = shop.key("chat")
    with cluster.talk("clerk", key, "forked") as person:
        person.say("one")
        person.say("two")
    fresh = sessions(cluster, key, "fork", "clerk", "forked", "--at", "2", "--quiet").split()[0]
    with cluster.talk("clerk", key, fresh) as person:
        assert "one" in person.say("what did I say before?")["message"]
    with cluster.talk("clerk", key, "forked") as person:
        assert "two" in person.say("what did I say before?")["message"]


def test_a_user_is_forgotten_by_all_gateways(cluster: Cluster, shop: Tenant) -> None:
    key = shop.key("chat", "act-as-user")
    with cluster.talk("clerk", key, "kept") as other:
        other.say(SECRET, user="u-18")
    for number in range(6):  # each socket may come to another gateway
        with cluster.talk("clerk", key, f"s{number}") as person:
            person.say(SECRET, user="u-17")
    mine = cluster.rolehost("tokens", "create", "--user", "u-17", "--quiet", key=key).split()[-1]
    with cluster.talk("clerk?session_id=s0", mine, "s0") as person:
        assert person.hear()["type"] == "session.created"
        told = sessions(cluster, key, "forget", "clerk", "--user", "u-17", "--yes")
        receipt, _ = json.JSONDecoder().raw_decode(told)  # what is told on stderr comes after it
        assert (receipt["sessions"], receipt["deleted"]["records"]) == (6, 6)
        assert person.close_code() == 4404
    assert "4711" not in sessions(cluster, key, "export", "clerk", "--user", "u-17")
    assert "4711" in sessions(cluster, key, "export", "clerk", "--user", "u-18")
    with cluster.talk("clerk", mine, "s0") as person:
        assert "4711" not in person.say("what did I say before?")["message"]
