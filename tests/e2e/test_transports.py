"""One session over every way in, through the Service: each request may come out at another gateway."""

import http.client
import json
import secrets
import threading
from contextlib import closing
from typing import Any

from openai import OpenAI
from tests.cluster.testing import Cluster, Tenant

RUN = secrets.token_hex(4)
SESSION = f"ways-{RUN}"


def ask(cluster: Cluster, key: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection(cluster.gateway, timeout=60)) as client:
        sent = {"Authorization": f"Bearer {key}", **headers}
        client.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), sent)
        answer = client.getresponse()
        return answer.status, answer.read().decode()


def test_one_log_whatever_says_something(cluster: Cluster, key: str) -> None:
    with cluster.talk("parrot", key, SESSION) as person:
        first = person.say("one")
    said = {"message": "two", "session_id": SESSION}
    _, told = ask(cluster, key, "/role/parrot", said, Accept="text/event-stream")
    second = json.loads(told.strip().splitlines()[-1].removeprefix("data: "))
    _, told = ask(cluster, key, "/role/parrot", {"message": "three", "session_id": SESSION})
    third = json.loads(told)
    with OpenAI(base_url=f"http://{cluster.gateway}/v1", api_key=key) as client:
        assert [model.id for model in client.models.list()] == ["parrot"]
        done = client.chat.completions.create(
            model="parrot", messages=[{"role": "user", "content": "four"}], extra_body={"session_id": SESSION}
        )
    assert done.model_extra is not None
    numbers = [first["seq"], second["seq"], third["seq"], done.model_extra["role"]["seq"]]
    assert numbers == sorted(numbers)
    _, told = ask(cluster, key, f"/v1/roles/parrot/sessions/{SESSION}/events?after_seq=0")
    ends = [event for event in json.loads(told)["events"] if event["type"] == "response.done"]
    assert [event["seq"] for event in ends] == numbers
    assert ends[-1]["message"] == done.choices[0].message.content


def test_a_question_that_waits_hears_of_a_turn_at_any_gateway(cluster: Cluster, key: str) -> None:
    """Several at once: they come out at several gateways."""
    session = f"{SESSION}-waits"
    ask(cluster, key, "/role/parrot", {"message": "one", "session_id": session})
    path = f"/v1/roles/parrot/sessions/{session}/events"
    at = json.loads(ask(cluster, key, path)[1])["last_seq"]
    heard: list[tuple[int, str]] = []
    waiting = [
        threading.Thread(target=lambda: heard.append(ask(cluster, key, f"{path}?after_seq={at}&wait=45")))
        for _ in range(8)
    ]
    for one in waiting:
        one.start()
    said = ask(cluster, key, "/role/parrot", {"message": "two", "session_id": session})
    for one in waiting:
        one.join(60)
    assert said[0] == 200, said[1]
    assert [status for status, _ in heard] == [200] * 8
    assert all(json.loads(told)["events"][-1]["type"] == "response.done" for _, told in heard)


def test_models_are_those_of_the_keys_tenant(cluster: Cluster, acme: Tenant) -> None:
    """Another tenant's Roles are no models of this key, and a key that is none sees no model."""
    assert ask(cluster, "rh_0_wrong", "/v1/models")[0] == 401
    with cluster.tenant(f"other-{RUN}") as other:
        status, told = ask(cluster, other.key("chat"), "/v1/models/parrot")
        assert (status, json.loads(told)["error"]["code"]) == (404, "role_not_found")
