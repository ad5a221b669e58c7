"""Tokens of end users: who may be meant by one, when, and that nothing but the platform's own is believed."""

import base64
import hmac
import string
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.edge import ACME, ACME_KEY, EVIL, NOW_MS, SPEC, tables_with_storyteller

from rolehost_api.errors import BadRequest, Forbidden, NotFound, Unauthorized
from rolehost_api.identity import key_hash, session_key, user_id, user_of, user_principal
from rolehost_runtime.gateway.edge.auth import KeyAuth, OpenAuth, Tokens, acting, require, seconds_left
from rolehost_runtime.gateway.edge.handshake import Address, find_role, roles_of
from rolehost_runtime.gateway.edge.tokens import LEEWAY_MS, MAX_CHARS, PREFIX, Claims, signed, signing_key, verified
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import KeyEntry, RoleEntry, Scope, Tables, Tenant

KEY = signing_key(b"r" * 32)
ISSUER = "rh_9_acme"
CLAIMS = Claims(bytes.fromhex(key_hash(ISSUER)), "uid-acme", "storyteller", "u-17", NOW_MS, NOW_MS + 3_600_000)
TOKEN = signed(KEY, CLAIMS)
WORDS = string.ascii_letters + string.digits + "-_."


def tables_with_issuer(*scopes: Scope, tenant: Tenant = ACME) -> Tables:
    tables = tables_with_storyteller()
    entry = KeyEntry("9", key_hash(ISSUER), tenant, frozenset(scopes or (Scope.ACT_AS_USER,)))
    tables.keys.put((entry.sha256,), entry)
    return tables


def auth(tables: Tables | None = None, now_ms: int = NOW_MS) -> KeyAuth:
    return KeyAuth((tables or tables_with_issuer()).keys, Tokens(KEY, lambda: now_ms))


def refused(token: str, tables: Tables | None = None, now_ms: int = NOW_MS) -> str:
    with pytest.raises(Unauthorized) as error:
        auth(tables, now_ms).principal(token)
    assert token not in str(error.value)
    return error.value.code


def test_a_token_is_its_user_at_its_role_and_may_do_little() -> None:
    principal = auth().principal(TOKEN)
    assert principal == Principal(
        tenant=ACME,
        id="usr:uid-acme:u-17",
        scopes=frozenset({Scope.CHAT}),
        key_sha256=key_hash(ISSUER),
        user="u-17",
        role="storyteller",
        until_ms=CLAIMS.expires_ms + LEEWAY_MS,
    )
    for scope in (Scope.PUSH, Scope.ADMIN, Scope.ACT_AS_USER):
        with pytest.raises(Forbidden):
            require(principal, scope)
    assert seconds_left(principal, NOW_MS) == 3630
    assert seconds_left(principal, NOW_MS + 3_630_001) == 0


def test_whoever_can_write_the_longest_names_still_gets_a_token() -> None:
    longest = Claims(bytes(32), "u" * 36, "r" * 253, "u" * 128, 2**53, 2**53)
    assert len(signed(KEY, longest)) <= MAX_CHARS


# ── what is not believed ────────────────────────────────────────────────────────────


@given(
    user=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128),
    role=st.sampled_from(["", "storyteller"]),
    at=st.floats(0, 1, exclude_max=True),
    byte=st.integers(0, 255),
)
def test_no_byte_changed_leaves_a_token_valid(user: str, role: str, at: float, byte: int) -> None:
    token = signed(KEY, msgspec.structs.replace(CLAIMS, user=user, role=role))
    assert (auth().principal(token).user, auth().principal(token).role) == (user, role)
    place = int(at * len(token))
    changed = token[:place] + chr(byte) + token[place + 1 :]
    if changed != token:
        with pytest.raises(Unauthorized):
            auth().principal(changed)


def test_not_one_byte_of_this_token_may_be_another() -> None:
    believed = []
    for at, was in enumerate(TOKEN):
        for byte in range(256):
            if chr(byte) != was:
                changed = TOKEN[:at] + chr(byte) + TOKEN[at + 1 :]
                with suppress(Unauthorized):
                    believed.append(verified(KEY, changed, NOW_MS))
    assert believed == []


@given(cut=st.integers(0, len(TOKEN) - 1))
def test_no_part_of_a_token_is_one(cut: int) -> None:
    with pytest.raises(Unauthorized):
        auth().principal(TOKEN[:cut])


@given(st.text(max_size=200))
def test_no_text_of_anybodys_own_is_a_token(text: str) -> None:
    for token in (PREFIX + text, TOKEN + text if text else PREFIX, f"{PREFIX}{text}.{TOKEN.partition('.')[2]}"):
        with pytest.raises(Unauthorized):
            auth().principal(token)


@given(st.binary(min_size=1, max_size=64), st.text(WORDS, max_size=64))
def test_nothing_that_another_key_signed_is_believed(root: bytes, user: str) -> None:
    """A root of another platform, the root itself, or the raw claims with no key at all."""
    for key in (signing_key(root + b"x"), b"r" * 32, b""):
        with pytest.raises(Unauthorized):
            verified(KEY, signed(key, msgspec.structs.replace(CLAIMS, user=user)), NOW_MS)


def test_there_is_no_algorithm_to_choose() -> None:
    def text(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head, said = text(b'{"alg":"none","typ":"JWT"}'), TOKEN.removeprefix(PREFIX).partition(".")[0]
    weak = text(hmac.digest(KEY, said.encode(), "sha1"))
    truncated = text(hmac.digest(KEY, said.encode(), "sha256")[:16])
    for token in (f"{head}.{said}.", f"{PREFIX}{head}.{said}.", f"{PREFIX}{said}.", f"{PREFIX}{said}", f"{PREFIX}.",
                  f"{PREFIX}{said}.{weak}", f"{PREFIX}{said}.{truncated}", TOKEN.upper(), f"{TOKEN}=", f" {TOKEN}"):  # fmt: skip
        with pytest.raises(Unauthorized):
            auth().principal(token)


def test_what_is_signed_and_not_understood_is_refused() -> None:
    for said in (b"", b"\xc1", msgspec.msgpack.encode([1, 2]), msgspec.msgpack.encode({"user": "root"})):
        body = base64.urlsafe_b64encode(said).rstrip(b"=").decode()
        tag = base64.urlsafe_b64encode(hmac.digest(KEY, body.encode(), "sha256")).rstrip(b"=").decode()
        assert refused(f"{PREFIX}{body}.{tag}") == "token_invalid"


def test_a_long_token_is_refused_whatever_it_says() -> None:
    assert refused(signed(KEY, msgspec.structs.replace(CLAIMS, user="u" * MAX_CHARS))) == "token_invalid"


@pytest.mark.parametrize(
    ("after_ms", "code"),
    [
        (-LEEWAY_MS - 1, "token_not_yet_valid"),
        (-LEEWAY_MS, ""),
        (3_600_000, ""),
        (3_600_000 + LEEWAY_MS - 1, ""),
        (3_600_000 + LEEWAY_MS, "token_expired"),
        (10**15, "token_expired"),
    ],
)
def test_a_token_has_its_time(after_ms: int, code: str) -> None:
    if code:
        assert refused(TOKEN, now_ms=NOW_MS + after_ms) == code
    else:
        assert auth(now_ms=NOW_MS + after_ms).principal(TOKEN).user == "u-17"


def test_clocks_may_differ_by_a_minute_at_most() -> None:
    assert LEEWAY_MS <= 60_000


def test_a_token_dies_with_the_key_that_issued_it() -> None:
    tables = tables_with_issuer()
    assert auth(tables).principal(TOKEN).user == "u-17"
    tables.keys.drop((key_hash(ISSUER),))
    assert refused(TOKEN, tables) == "token_revoked"


def test_a_key_that_may_not_act_as_a_user_any_more_vouches_for_none() -> None:
    assert refused(TOKEN, tables_with_issuer(Scope.CHAT, Scope.PUSH, Scope.ADMIN)) == "token_revoked"


@pytest.mark.parametrize("tenant", [Tenant("acme", "uid-recycled"), EVIL], ids=["recycled", "another"])
def test_a_token_is_of_the_tenant_that_issued_it(tenant: Tenant) -> None:
    assert refused(TOKEN, tables_with_issuer(tenant=tenant)) == "token_revoked"


def test_where_there_are_no_tokens_one_is_an_unknown_key() -> None:
    with pytest.raises(Unauthorized):
        KeyAuth(tables_with_issuer().keys).principal(TOKEN)
    local = Tenant("local", "local")
    assert OpenAuth(local).principal(TOKEN).user == ""


def test_locally_a_token_is_its_user_too() -> None:
    local = Tenant("local", "local")
    open_ = OpenAuth(local, tokens := Tokens(KEY, lambda: NOW_MS))
    minted = tokens.mint(open_.principal(None), "", "u-17", 60)
    assert open_.principal(minted.token).id == "usr:local:u-17"
    with pytest.raises(Unauthorized):
        open_.principal(minted.token + "x")


# ── issuing ─────────────────────────────────────────────────────────────────────────


def test_a_key_that_may_act_as_a_user_issues_what_it_then_vouches_for() -> None:
    door = auth()
    assert door.tokens is not None
    minted = door.tokens.mint(door.principal(ISSUER), "", "u-17", 3_600)
    principal = door.principal(minted.token)
    assert (principal.user, principal.role, minted.expires_ms) == ("u-17", "", NOW_MS + 3_600_000)


def test_a_testers_token_names_its_revision() -> None:
    door = auth()
    assert door.tokens is not None
    minted = door.tokens.mint(door.principal(ISSUER), "storyteller", "u-17", 60, sequence=3)
    assert door.principal(minted.token).revision == "r3"
    assert auth().principal(TOKEN).revision == ""


@pytest.mark.parametrize("scopes", [{Scope.CHAT, Scope.PUSH}, {Scope.ADMIN}, set()])
def test_no_other_key_issues_any(scopes: set[Scope]) -> None:
    with pytest.raises(Forbidden):
        Tokens(KEY, lambda: NOW_MS).mint(Principal(ACME, "svc:uid-acme", frozenset(scopes)), "", "u-17", 60)


def test_a_token_issues_no_token() -> None:
    door = auth()
    assert door.tokens is not None
    with pytest.raises(Forbidden):
        door.tokens.mint(door.principal(TOKEN), "", "u-18", 60)


@pytest.mark.parametrize("user", ["", "a b", "u" * 129, "用户", "a\n", 7, None])
def test_a_user_has_a_plain_word_for_a_name(user: object) -> None:
    with pytest.raises(BadRequest) as error:
        user_id(user)
    assert error.value.code == "invalid_user"


# ── acting as a user ────────────────────────────────────────────────────────────────


def test_who_is_acted_for_is_the_same_as_who_comes_with_a_token() -> None:
    server = Principal(ACME, "svc:uid-acme", frozenset({Scope.CHAT, Scope.ACT_AS_USER}))
    acted, came = acting(server, "u-17"), auth().principal(TOKEN)
    assert (acted.id, acted.user) == (came.id, came.user)
    assert acting(acted, "u-18").id == "usr:uid-acme:u-18"
    assert acting(acted, None) == acted
    assert acting(server, None) == server


def test_who_came_with_a_token_is_themselves_whatever_they_say() -> None:
    came = auth().principal(TOKEN)
    for said in (None, "u-18", "", "svc:uid-acme", "a b"):
        assert acting(came, said) == came


def test_a_key_without_the_scope_says_nothing_of_users() -> None:
    with pytest.raises(Forbidden) as error:
        acting(auth().principal(ACME_KEY), "u-17")
    assert error.value.code == "user_not_allowed"
    with pytest.raises(Forbidden):
        acting(Principal(ACME, "svc:uid-acme", frozenset({Scope.ADMIN})), "u-17")


@given(*[st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)] * 4)
def test_two_users_never_share_a_session_key(one: str, other: str, sid: str, another: str) -> None:
    keys = {session_key("u", "cat", user_principal("u", user), sid) for user in (one, other)}
    keys |= {session_key("u", "cat", "svc:u", sid), session_key("v", "cat", user_principal("v", one), sid)}
    assert len(keys) == len({one, other}) + 2
    assert (session_key("u", "cat", user_principal("u", one), another) in keys) == (sid == another)
    assert user_of("u", user_principal("u", one)) == one


def test_the_user_of_a_principal_is_read_for_its_own_tenant_only() -> None:
    assert user_of("u", "usr:u:a:b") == "a:b"
    assert user_of("v", "usr:u:a") == user_of("u", "svc:u") == ""


# ── which Roles ─────────────────────────────────────────────────────────────────────


def test_a_token_for_one_role_knows_of_no_other() -> None:
    tables = tables_with_storyteller()
    tables.roles.put(("acme", "tutor"), RoleEntry(ACME, "tutor", SPEC, ""))
    for_one, for_all = (Principal(ACME, "usr:uid-acme:u", frozenset(), role=role) for role in ("storyteller", ""))
    assert [role.name for role in roles_of(tables.roles, for_one)] == ["storyteller"]
    assert [role.name for role in roles_of(tables.roles, for_all)] == ["storyteller", "tutor"]
    assert find_role(tables.roles, for_all, Address("tutor")).name == "tutor"
    said = set()
    for name in ("tutor", "nobody"):
        with pytest.raises(NotFound) as error:
            find_role(tables.roles, for_one, Address(name))
        said.add(str(error.value))
    assert len(said) == 1
