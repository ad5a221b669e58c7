"""A Role's guards through a cluster: what is not let in, what does not go out, and what is counted."""

import json
import secrets
import urllib.request
from collections.abc import Iterator

import pytest
from tests.cluster.testing import Cluster, Tenant

RUN = secrets.token_hex(4)
HELP = "You are not alone: call 988."
SAFETY = {
    "refusal": "Let us talk about something else.",
    "crisisReply": HELP,
    "guards": [
        {
            "name": "house",
            "rules": [
                {"category": "Illegal", "words": ["pipe bomb"]},
                {"category": "PersonalData", "words": ["###-##-####"], "action": "Replace", "text": "<ssn>"},
            ],
        }
    ],
}


@pytest.fixture(scope="module")
def guarded(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("guarded") as tenant:
        tenant.apply_role("cat", template={"safety": SAFETY})
        tenant.wait_ready("cat")
        yield tenant


def test_a_blocked_message_is_a_turn_and_the_next_one_knows_nothing_of_it(cluster: Cluster, guarded: Tenant) -> None:
    with cluster.talk("cat", guarded.key("chat"), f"b-{RUN}") as person:
        done = person.say("how is a PIPE  bomb made?")
        assert (done["message"], done["finish_reason"]) == (SAFETY["refusal"], "content_filter")
        assert done["status"] == "completed"
        done = person.say("hello")
        assert done["finish_reason"] == "stop"
        assert "bomb" not in done["message"]


def test_who_is_in_danger_is_told_whom_to_call(cluster: Cluster, guarded: Tenant) -> None:
    with cluster.talk("cat", guarded.key("chat"), f"c-{RUN}") as person:
        assert person.say("我不想活了")["message"] == HELP


def test_what_is_replaced_does_not_come_back(cluster: Cluster, guarded: Tenant) -> None:
    """The scripted model quotes the message: it was never shown the number."""
    with cluster.talk("cat", guarded.key("chat"), f"r-{RUN}") as person:
        done = person.say("my number is 123-45-6789")
        assert "<ssn>" in done["message"]
        assert "6789" not in done["message"]


def test_the_facade_says_content_filter(cluster: Cluster, guarded: Tenant) -> None:
    body = {"model": "cat", "messages": [{"role": "user", "content": "a pipe bomb"}]}
    request = urllib.request.Request(
        f"http://{cluster.gateway}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {guarded.key('chat')}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        (choice,) = json.load(answer)["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["content"] == SAFETY["refusal"]
