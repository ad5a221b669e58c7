"""End users of a tenant, through the Service of a cluster with several gateways."""

from collections.abc import Iterator

import pytest
from tests.cluster.testing import Cluster, Tenant
from tests.support.talk import talk
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

QUOTES = {"model": {"backend": "default"}}


@pytest.fixture(scope="module")
def shop(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("shop") as tenant:
        for role in ("clerk", "tutor"):
            tenant.apply_role(role, system=f"You are the {role}.", template=QUOTES)
        for role in ("clerk", "tutor"):
            tenant.wait_ready(role)
        yield tenant


def token(cluster: Cluster, key: str, user: str, *more: str) -> str:
    told = cluster.rolehost("tokens", "create", "--user", user, "--quiet", *more, key=key)
    return next(word for word in told.split() if word.startswith("rht_"))


def test_a_browser_goes_on_with_what_the_server_began_and_nobody_else_does(cluster: Cluster, shop: Tenant) -> None:
    key = shop.key("chat", "act-as-user")
    with cluster.talk("clerk", key, "cart") as person:
        person.say("the safe opens with 4711", user="u-17")
    words = [Subprotocol("role.v1"), Subprotocol(f"bearer.{token(cluster, key, 'u-17', '--role', 'clerk')}")]
    with talk(f"ws://{cluster.gateway}/role/clerk", subprotocols=words, session_id="cart") as person:
        assert "4711" in person.say("what did I say before?")["message"]
    for other in (token(cluster, key, "u-18"), key):
        with cluster.talk("clerk", other, "cart", {"X-User-ID": "u-17", "X-Forwarded-User": "u-17"}) as person:
            assert "4711" not in person.say("what did I say before?")["message"]
            assert person.frames[0]["head"] == 0


def test_every_gateway_believes_a_token_and_none_after_its_key_is_revoked(cluster: Cluster, shop: Tenant) -> None:
    key = shop.key("act-as-user")
    mine = token(cluster, key, "u-17", "--role", "clerk")
    for number in range(8):  # each socket may come to another gateway
        with cluster.talk("clerk", mine, f"s{number}") as person:
            assert person.say("hello")["done"]
    with cluster.talk("tutor", mine) as person:
        assert person.hear()["error"]["code"] == "role_not_found"
    with cluster.talk("clerk", mine, "open") as person:
        assert person.say("hello")["done"]
        cluster.rolehost("keys", "revoke", key.split("_")[1])
        assert person.close_code() == 4401
    refused = 0
    for _ in range(40):  # the gateways hear of it one by one, within seconds
        refused = refused + 1 if refusal(cluster, mine) == "token_revoked" else 0
        if refused == 8:
            break
    assert refused == 8


def refusal(cluster: Cluster, mine: str) -> str:
    """Code of what a socket is refused with; its close may overtake our first word."""
    try:
        with cluster.talk("clerk", mine) as person:
            return str(person.say("hello").get("error", {}).get("code", ""))
    except ConnectionClosed as closed:
        return closed.rcvd.reason if closed.rcvd is not None else ""


def test_a_token_expires_in_the_middle_of_a_session(cluster: Cluster, shop: Tenant) -> None:
    mine = token(cluster, shop.key("act-as-user"), "u-17", "--ttl", "5")
    with cluster.talk("clerk", mine, "short") as person:
        assert person.say("hello")["done"]
        assert person.hear(60)["error"]["code"] == "token_expired"
        assert person.close_code() == 4401


def test_roles_are_switched_on_one_socket(cluster: Cluster, shop: Tenant) -> None:
    mine = token(cluster, shop.key("act-as-user"), "u-19")
    with cluster.talk("clerk", mine, "lesson") as person:
        person.say("the word is swordfish")
        person.send(type="session.switch", role="tutor")
        assert "swordfish" not in person.say("what did I say before?")["message"]
        assert person.frames[-1]["of"] == {"role": "tutor", "user": "u-19"}
        person.send(type="session.switch", role="clerk")
        assert "swordfish" in person.say("what did I say before?")["message"]
