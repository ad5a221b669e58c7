"""What a Role remembers, through a cluster with several gateways and gVisor: the diary of the examples."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.testing import Cluster, Tenant

RUN = secrets.token_hex(4)
"""Ends every user's id: what is remembered outlives the Role, so that of an earlier run is still there."""
LOGIC = (Path(__file__).parents[2] / "examples" / "diary" / "diary.py").read_text()


@pytest.fixture(scope="module")
def diaries(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("diaries") as tenant:
        permissions = ["model.call", "memory.read", "memory.write", "memory.forget"]
        tenant.apply_role("diary", logic=LOGIC, template={"permissions": permissions})
        tenant.wait_ready("diary")
        yield tenant


def test_what_one_session_is_told_a_later_one_recalls_whichever_gateway_it_comes_in_at(
    cluster: Cluster, diaries: Tenant
) -> None:
    key, user = diaries.key("chat", "act-as-user"), f"u-{RUN}"
    for number in range(6):  # each socket may come to another gateway
        with cluster.talk("diary", key, f"w{number}-{RUN}") as person:
            assert person.say(f"Remember that I met dragon {number}", user=user)["message"] == "I will remember that."
        with cluster.talk("diary", key, f"r{number}-{RUN}") as person:
            known = person.say(f"What do you remember about dragon {number}?", user=user)["message"]
            assert f"I met dragon {number}" in known, "the turn that was just acknowledged"


def test_somebody_else_and_nobody_in_particular_know_nothing_of_it(cluster: Cluster, diaries: Tenant) -> None:
    key = diaries.key("chat", "act-as-user")
    with cluster.talk("diary", key, f"mine-{RUN}") as person:
        person.say("Remember that I fear spiders", user=f"v-{RUN}")
    with cluster.talk("diary", key, f"other-{RUN}") as person:
        assert person.say("What do you remember?", user=f"w-{RUN}")["message"] == "Nothing."
    with cluster.talk("diary", key, f"nobody-{RUN}") as person:
        assert person.say("What do you remember?")["message"] == "Nothing."
    with cluster.talk("diary", key, f"again-{RUN}") as person:
        assert person.say("Forget about spiders", user=f"v-{RUN}")["message"] == "Gone: 1."
        assert person.say("What do you remember?", user=f"v-{RUN}")["message"] == "Nothing."
