"""A Role that speaks of its own accord, through a cluster with several gateways and gVisor."""

import json
import secrets
import time
import urllib.request
from collections.abc import Iterator

import pytest
from tests.cluster.testing import PLATFORM, Cluster, Tenant
from tests.support.talk import Frame, Person

RUN = secrets.token_hex(4)
IDLE_SECONDS = 60
"""As short as the platform lets it be."""
LATE_SECONDS = 90
"""A tenth for the jitter, two looks, a claim whose gateway died, and a busy machine."""
LOGIC = """
from rolehost import Role, State, Turn

class Company(State):
    nudges: int = 0

friend = Role("friend", state=Company)

@friend.on_message
def answer(t: Turn[Company]) -> None:
    t.say(f"Nudged: {t.state.nudges}.")

@friend.on_idle("1m")
def nudge(t: Turn[Company]) -> None:
    t.state.nudges += 1
    t.say("Are you there?")
"""
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def friends(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("friends") as tenant:
        tenant.apply_role("friend", logic=LOGIC)
        tenant.wait_ready("friend")
        yield tenant


def heard(person: Person, seconds: float) -> Frame:
    """The next `response.done`."""
    until = time.monotonic() + seconds
    while True:
        frame = person.hear(max(0.1, until - time.monotonic()))
        if frame["type"] == "response.done":
            return frame


def test_silence_is_noticed_once_by_whoever_is_connected(cluster: Cluster, friends: Tenant) -> None:
    with cluster.talk("friend", friends.key("chat"), f"here-{RUN}") as person:
        assert person.say("hello")["message"] == "Nudged: 0."
        nudged = heard(person, IDLE_SECONDS + LATE_SECONDS)
        assert (nudged["timer"], nudged["message"]) == ("on_idle:nudge", "Are you there?")
        assert person.say("yes")["message"] == "Nudged: 1."


def test_it_goes_off_once_though_every_gateway_was_killed_and_not_at_all_where_the_conversation_is_over(
    cluster: Cluster, friends: Tenant
) -> None:
    """One wait for both."""
    key, gone, over = friends.key("chat"), f"gone-{RUN}", f"over-{RUN}"
    for session in (gone, over):
        with cluster.talk("friend", key, session) as person:
            person.say("hello")
    assert json.loads(post(cluster, f"/v1/roles/friend/sessions/{over}/end", key)) == {"session_id": over}
    cluster.kill(PLATFORM, "app.kubernetes.io/component=gateway")
    cluster.rolled_out("deployment/rolehost-gateway", seconds=120)
    time.sleep(IDLE_SECONDS + LATE_SECONDS)
    for session, nudges in ((gone, 1), (over, 0)):
        with cluster.talk("friend", key, session) as person:
            assert person.say("I am back")["message"] == f"Nudged: {nudges}."


def post(cluster: Cluster, path: str, key: str) -> bytes:
    request = urllib.request.Request(
        f"http://{cluster.gateway}{path}", method="POST", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())
