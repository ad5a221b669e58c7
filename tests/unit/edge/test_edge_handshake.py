"""Addresses, keys, pages: what a handshake asks for, and what is refused."""

import pytest
from tests.support.edge import ACME, ACME_KEY, EVIL, tables_with_storyteller

from rolehost_api.errors import BadRequest, Forbidden, NotFound, Unauthorized
from rolehost_api.identity import key_hash
from rolehost_runtime.gateway.edge.auth import KeyAuth, OpenAuth, require
from rolehost_runtime.gateway.edge.handshake import (
    Address,
    Dialect,
    Opening,
    address,
    find_role,
    opening,
    presented_key,
)
from rolehost_runtime.gateway.edge.policy import Policy
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import Scope, Tenant


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Storyteller", Address("storyteller")),
        ("acme/Storyteller", Address("storyteller", tenant="acme")),
        ("cat@r3", Address("cat", revision="r3")),
        ("acme/cat@sha256:0a", Address("cat", tenant="acme", revision="sha256:0a")),
        ("a.b-c", Address("a.b-c")),
    ],
)
def test_an_address_names_a_role(raw: str, expected: Address) -> None:
    assert address(raw) == expected


@pytest.mark.parametrize("raw", ["", "@r1", "a/b/c", "/cat", "cat/", "猫", "a b", "..", "cat@" + "r" * 200, "cat@é"])
def test_what_is_no_address_is_refused(raw: str) -> None:
    with pytest.raises(BadRequest) as refused:
        address(raw)
    assert refused.value.code == "invalid_role_name"


def test_an_opening_is_read_from_path_query_and_subprotocols() -> None:
    asked = opening("/role/Cat%40r2?session_id=abc123&after_seq=7&stream=0", [("sec-websocket-protocol", "x, role.v1")])
    assert asked == Opening(Address("cat", revision="r2"), Dialect.ROLE_V1, "abc123", 7, stream=False)
    assert opening("/role/cat", []) == Opening(Address("cat"), Dialect.BARE)


def test_too_many_parameters_are_refused() -> None:
    with pytest.raises(BadRequest):
        opening("/role/cat?" + "&".join(["a=b"] * 100), [])


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([("authorization", "Bearer k")], "k"),
        ([("authorization", "bearer  k ")], "k"),
        ([("authorization", "Basic k")], None),
        ([("sec-websocket-protocol", "role.v1, bearer.k")], "k"),
        ([("sec-websocket-protocol", "role.v1")], None),
        ([("x-user-id", "root"), ("cookie", "key=k")], None),
        ([("sec-websocket-protocol", "bearer.a"), ("authorization", "Bearer b")], "b"),
    ],
)
def test_a_key_comes_from_two_places_only(headers: list[tuple[str, str]], key: str | None) -> None:
    assert presented_key(headers) == key


def test_a_key_is_its_tenant_and_nothing_else_is() -> None:
    auth = KeyAuth(tables_with_storyteller().keys)
    principal = auth.principal(ACME_KEY)
    assert (principal.tenant, principal.id, principal.key_sha256) == (ACME, "svc:uid-acme", key_hash(ACME_KEY))
    for wrong in (None, "", "wrong", ACME_KEY + "x", key_hash(ACME_KEY)):
        with pytest.raises(Unauthorized) as refused:
            auth.principal(wrong)
        assert not wrong or wrong not in str(refused.value)


def test_open_auth_is_one_tenant_with_every_scope() -> None:
    local = Tenant("local", "local")
    assert OpenAuth(local).principal(None) == OpenAuth(local).principal("anything")
    assert OpenAuth(local).principal(None).scopes == frozenset(Scope)


@pytest.mark.parametrize(
    ("held", "needed", "granted"),
    [
        ({Scope.CHAT}, Scope.CHAT, True),
        ({Scope.CHAT}, Scope.PUSH, False),
        ({Scope.ADMIN}, Scope.PUSH, True),
        ({Scope.ADMIN}, Scope.ACT_AS_USER, False),
        (set(), Scope.CHAT, False),
    ],
)
def test_scopes(held: set[Scope], needed: Scope, granted: bool) -> None:
    principal = Principal(ACME, "svc:uid-acme", frozenset(held))
    if granted:
        require(principal, needed)
    else:
        with pytest.raises(Forbidden):
            require(principal, needed)


def test_anothers_role_and_no_role_read_the_same() -> None:
    roles = tables_with_storyteller().roles
    acme, evil = (Principal(tenant, f"svc:{tenant.uid}", frozenset()) for tenant in (ACME, EVIL))
    assert find_role(roles, acme, Address("storyteller")).tenant == ACME
    assert find_role(roles, acme, Address("storyteller", tenant="acme")).tenant == ACME
    said = set()
    for principal, at in (
        (evil, Address("storyteller")),
        (evil, Address("storyteller", tenant="acme")),
        (acme, Address("lair", tenant="evil")),
        (acme, Address("nobody")),
        (Principal(Tenant("acme", "uid-recycled"), "svc:x", frozenset()), Address("storyteller")),
    ):
        with pytest.raises(NotFound) as refused:
            find_role(roles, principal, at)
        said.add(str(refused.value))
    assert len(said) == 1


@pytest.mark.parametrize(
    ("policy", "host", "origin", "allowed"),
    [
        pytest.param(Policy(), "x", None, True, id="no-browser"),
        pytest.param(Policy(), "x", "http://x", False, id="a-page-of-our-name-without-a-page"),
        pytest.param(Policy(own_page=True), "x:8080", "http://x:8080", True, id="our-own-page"),
        pytest.param(Policy(own_page=True), "x:8080", "http://x:9090", False, id="another-port"),
        pytest.param(Policy(own_page=True), None, "http://x", False, id="no-host"),
        pytest.param(Policy(origins=frozenset({"https://a"})), "x", "https://A", True, id="listed"),
        pytest.param(Policy(origins=frozenset({"https://a"})), "x", "https://a.evil", False, id="longer"),
        pytest.param(Policy(origins=frozenset({"https://a"})), "x", "null", False, id="null"),
        pytest.param(Policy(hosts=frozenset({"localhost"})), "localhost:1", None, True, id="our-name"),
        pytest.param(Policy(hosts=frozenset({"localhost"})), "evil.example", None, False, id="rebound"),
        pytest.param(Policy(hosts=frozenset({"localhost"})), None, None, False, id="no-name"),
        pytest.param(
            Policy(hosts=frozenset({"localhost"}), own_page=True), "evil:1", "http://evil:1", False, id="rebound-page"
        ),
    ],
)
def test_whose_page_may_speak(policy: Policy, host: str | None, origin: str | None, allowed: bool) -> None:
    if allowed:
        policy.check(host, origin)
    else:
        with pytest.raises(Forbidden):
            policy.check(host, origin)
