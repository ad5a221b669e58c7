"""Two tenants with everything in common but who they are."""

from collections.abc import Iterator

import pytest
from tests.cluster.testing import Cluster, Tenant
from tests.support.talk import talk

QUOTES = {"model": {"backend": "default"}}


@pytest.fixture(scope="module")
def two(cluster: Cluster) -> Iterator[tuple[Tenant, Tenant]]:
    with cluster.tenant("alpha") as alpha, cluster.tenant("beta") as beta:
        for tenant, system in ((alpha, "You are alpha's."), (beta, "You are beta's.")):
            tenant.apply_role("twin", system=system, template=QUOTES)
        for tenant in (alpha, beta):
            tenant.wait_ready("twin")
        yield alpha, beta


def test_the_same_role_and_session_id_are_two_conversations(cluster: Cluster, two: tuple[Tenant, Tenant]) -> None:
    alpha, beta = two
    with cluster.talk("twin", alpha.key("chat"), "abc123") as person:
        person.say("the safe opens with 4711")
    with cluster.talk("twin", beta.key("chat"), "abc123") as person:
        done = person.say("what did I say before?")
        assert "4711" not in done["message"]
        assert person.frames[0]["head"] == 0


def test_another_tenants_role_reads_as_not_there(cluster: Cluster, two: tuple[Tenant, Tenant]) -> None:
    alpha, beta = two
    beta.apply_role("only-beta")
    beta.wait_ready("only-beta")
    texts = []
    for address in ("only-beta", "beta/only-beta", "never-there"):
        with cluster.talk(address, alpha.key("chat")) as person:
            error = person.hear()
            assert error["type"] == "error"
            assert error["error"]["code"] == "role_not_found", address
            texts.append(error["error"]["message"].replace(address, "X"))
            assert person.close_code() == 4404
    assert len(set(texts)) == 1


def test_naming_anothers_bundle_finds_nothing(cluster: Cluster, two: tuple[Tenant, Tenant]) -> None:
    alpha, beta = two
    told = cluster.rolehost("push", "examples/storyteller", key=alpha.key("push"))
    digest = next(word for word in told.split() if word.startswith("sha256:"))
    beta.apply_role("thief", template={"logic": {"bundle": digest, "entrypoint": "story:storyteller"}})
    message = cluster.wait_condition("rhr", "thief", beta.name, "Ready", "False", reason="BundleNotFound")
    assert "never pushed" in message


@pytest.mark.parametrize("key", ["", "rh_00000000_nonsense", "Basic abc"])
def test_no_key_or_a_wrong_one_is_refused(cluster: Cluster, two: tuple[Tenant, Tenant], key: str) -> None:
    with talk(f"ws://{cluster.gateway}/role/twin", key=key) as person:
        assert person.hear()["error"]["code"] == "unauthorized"


def test_a_revoked_key_closes_its_live_socket(cluster: Cluster, two: tuple[Tenant, Tenant]) -> None:
    alpha, _ = two
    key = alpha.key("chat")
    with cluster.talk("twin", key, "revoked") as person:
        assert person.say("hello")["done"]
        cluster.rolehost("keys", "revoke", key.split("_")[1])
        assert person.close_code() == 4401


def test_a_header_that_claims_an_identity_claims_nothing(cluster: Cluster, two: tuple[Tenant, Tenant]) -> None:
    alpha, beta = two
    with cluster.talk("twin", alpha.key("chat"), "claimed") as person:
        person.say("the password is swordfish")
    claims = {"X-User-ID": "admin", "X-Tenant": alpha.name, "X-Forwarded-User": alpha.name}
    with cluster.talk("twin", beta.key("chat"), "claimed", claims) as person:
        assert "swordfish" not in person.say("what did I say before?")["message"]


def test_a_chat_key_may_not_push(cluster: Cluster, two: tuple[Tenant, Tenant]) -> None:
    told = cluster.rolehost("push", "examples/storyteller", key=two[0].key("chat"), check=False)
    assert "forbidden" in told.lower() or "scope" in told.lower()
    assert "Traceback" not in told
