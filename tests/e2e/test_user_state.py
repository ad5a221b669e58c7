"""What a person's sessions share, through a cluster with several gateways and gVisor."""

import secrets
from collections.abc import Iterator

import pytest
from tests.cluster.testing import Cluster, Tenant

RUN = secrets.token_hex(4)
"""Ends every user's id: what they share outlives the Role, so that of an earlier run is still there."""
LOGIC = """
from rolehost import Counter, Role, Set, State, Turn

class Tale(State):
    turns: int = 0

class Bond(State, scope="user"):
    turns: Counter = 0
    met: Set = set()

friend = Role("friend", state=Tale, user_state=Bond)

@friend.on_message
def answer(t: Turn[Tale]) -> None:
    t.state.turns += 1
    t.user_state.turns += 1
    t.user_state.met.add(t.message)
    t.say(f"{t.state.turns}/{t.user_state.turns} {','.join(sorted(t.user_state.met))}")
"""


@pytest.fixture(scope="module")
def friends(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("friends") as tenant:
        tenant.apply_role("friend", logic=LOGIC)
        tenant.wait_ready("friend")
        yield tenant


def test_sessions_of_one_person_share_it_whichever_gateway_they_come_in_at(cluster: Cluster, friends: Tenant) -> None:
    key, user = friends.key("chat", "act-as-user"), f"u-{RUN}"
    names = [f"n{number}" for number in range(8)]
    for number, name in enumerate(names, 1):  # each socket may come to another gateway
        with cluster.talk("friend", key, f"s{number}-{RUN}") as person:
            done = person.say(name, user=user)
            assert done["message"] == f"1/{number} {','.join(names[:number])}"
            assert done["user_state"] == "user"


def test_nobody_in_particular_shares_with_nobody(cluster: Cluster, friends: Tenant) -> None:
    key = friends.key("chat")
    for number in range(2):
        with cluster.talk("friend", key, f"alone{number}-{RUN}") as person:
            done = person.say("Ann")
            assert (done["message"], done["user_state"]) == ("1/1 Ann", "session")
