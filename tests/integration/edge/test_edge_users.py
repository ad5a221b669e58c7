"""End users over real ports: tokens from their issue to their end, and sessions that are one user's over every transport."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from tests.support.identities import ROOT
from tests.support.rooms import ACME, EVIL, pod_entry, put, revision_entry, role_entry
from tests.support.sse import listening
from tests.support.talking import KEYS, USER_KEY, Talkers, add_key, ask_or_fail
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from rolehost_api.identity import key_hash
from rolehost_runtime.gateway.edge.tokens import LEEWAY_MS, Claims, signed, signing_key
from rolehost_runtime.gateway.tables import KeyEntry, Scope, Tenant

SECRET = "the safe opens with 4711"
CLAIMS = {"X-User-ID": "u-17", "X-Forwarded-User": "u-17", "X-Remote-User": "u-17", "X-OpenWebUI-User-Id": "u-17"}


@pytest.fixture
async def house() -> AsyncIterator[Talkers]:
    async with Talkers() as running:
        tutor = revision_entry(role="tutor")
        put(running.tables, tutor, role_entry(name="tutor", stable=tutor.name))
        put(running.tables, pod_entry("pod-tutor", role="tutor", revision=tutor.name))
        running.dialer.add("pod-tutor", turn=ask_or_fail)
        yield running


async def ask(
    house: Talkers, method: str, path: str, key: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    sent = {"Authorization": f"Bearer {key}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as http:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        async with http.request(method, house.url + path, headers=sent, data=data) as got:
            return got.status, json.loads(await got.read() or b"{}")


async def token(house: Talkers, user: str, role: str | None = "cat", ttl_s: int = 60) -> str:
    body = {"user": user, "ttl_s": ttl_s} | ({"role": role} if role else {})
    status, answer = await ask(house, "POST", "/v1/tokens", USER_KEY, body)
    assert status == 200, answer
    return str(answer["token"])


async def say(house: Talkers, key: str, message: str, session_id: str = "s", query: str = "", **more: Any) -> Any:
    body = {"message": message, "session_id": session_id, **more}
    status, answer = await ask(house, "POST", f"/role/cat{query}", key, body)
    return answer["message"] if status == 200 else (status, answer["error"]["code"])


@asynccontextmanager
async def socket(house: Talkers, key: str, path: str = "/role/cat") -> AsyncIterator[ClientConnection]:
    """As a browser comes in."""
    offered = [Subprotocol("role.v1"), Subprotocol(f"bearer.{key}")]
    async with connect(house.ws + path, subprotocols=offered, proxy=None) as opened:
        assert opened.subprotocol == "role.v1"
        yield opened


async def heard(opened: ClientConnection, until: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] != until:
        events.append(json.loads(await asyncio.wait_for(opened.recv(), 10)))
    return events


async def refusal(house: Talkers, key: str, path: str = "/role/cat") -> tuple[str, int | None]:
    """Code and close code of a socket that is turned away, or thrown out."""
    async with socket(house, key, path) as opened:
        events = await heard(opened, "error")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(opened.recv(), 10)
        return events[-1]["error"]["code"], opened.close_code


# ── issuing ─────────────────────────────────────────────────────────────────────────


async def test_a_tenants_server_gets_a_token_and_a_browser_talks_with_it(house: Talkers) -> None:
    status, answer = await ask(house, "POST", "/v1/tokens", USER_KEY, {"role": "Cat", "user": "u-17", "ttl_s": 60})
    expires = house.clock() + 60_000
    assert (status, answer) == (
        200,
        {"token": answer["token"], "user": "u-17", "role": "cat", "expires_ms": expires},
    )
    async with socket(house, answer["token"]) as opened:
        await opened.send('{"message": "hi", "session_id": "s"}')
        done = (await heard(opened, "response.done"))[-1]
    assert (done["message"], done.get("of")) == ("You said hi.", None)
    assert [start.user for start in house.pods[ACME].starts()] == ["u-17"]


async def test_without_a_time_a_token_lasts_an_hour(house: Talkers) -> None:
    _, answer = await ask(house, "POST", "/v1/tokens", USER_KEY, {"user": "u-17"})
    assert (answer["role"], answer["expires_ms"] - house.clock()) == (None, 3_600_000)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"role": "cat"}, 400, "invalid_request"),
        ({"user": ""}, 400, "invalid_user"),
        ({"user": "a b"}, 400, "invalid_user"),
        ({"user": "u", "ttl_s": 0}, 400, "invalid_request"),
        ({"user": "u", "ttl_s": 3_601}, 400, "invalid_request"),
        ({"user": "u", "ttl": 60}, 400, "invalid_request"),
        ({"user": "u", "roles": "cat"}, 400, "invalid_request"),
        ({"user": "u", "role": "nobody"}, 404, "role_not_found"),
        ({"user": "u", "role": "evil/cat"}, 404, "role_not_found"),
        ({"user": "u", "role": "cat@r1"}, 400, "invalid_role_name"),
        (["u"], 400, "invalid_request"),
        (b"{", 400, "malformed_json"),
    ],
)
async def test_what_is_no_token_request_is_told_so(house: Talkers, body: Any, status: int, code: str) -> None:
    got, answer = await ask(house, "POST", "/v1/tokens", USER_KEY, body)
    assert (got, answer["error"]["code"]) == (status, code)


async def test_only_a_testers_token_comes_to_a_revision_that_others_do_not(house: Talkers) -> None:
    put(house.tables, newer := revision_entry(sequence=2), pod_entry("pod-newer", revision=newer.name))
    house.dialer.add("pod-newer", turn=ask_or_fail)
    asked = {"user": "u-17", "role": "cat", "revision": "@r2"}
    _, answer = await ask(house, "POST", "/v1/tokens", USER_KEY, asked)
    assert answer["revision"] == "r2"
    for path in ("/role/cat", "/role/cat@r2"):
        async with socket(house, answer["token"], path) as opened:
            await opened.send('{"message": "hi", "session_id": "t"}')
            assert (await heard(opened, "response.done"))[0]["role"] == "cat@r2"
    plain = await token(house, "u-18")
    assert await say(house, plain, "hi", revision="r2") == (403, "revision_not_allowed")
    assert await say(house, plain, "hi") == "You said hi."
    async with socket(house, plain, "/role/cat@r2") as opened:
        await opened.send('{"message": "hi", "session_id": "t"}')
        assert (await heard(opened, "error"))[-1]["error"]["code"] == "revision_not_allowed"
    assert (await ask(house, "POST", "/v1/tokens", USER_KEY, {"user": "u", "revision": "r2"}))[0] == 400
    assert (await ask(house, "POST", "/v1/tokens", USER_KEY, asked | {"revision": "r9"}))[0] == 404


async def test_only_a_key_that_may_act_as_a_user_gets_any(house: Talkers) -> None:
    admin = "rh_7_acme"
    add_key(house.tables, admin, ACME, Scope.ADMIN)
    for key in (KEYS[ACME], admin, await token(house, "u-17", None)):
        assert (await ask(house, "POST", "/v1/tokens", key, {"user": "u-18"}))[0] == 403
    assert (await ask(house, "POST", "/v1/tokens", "", {"user": "u-18"}))[0] == 401


# ── what a token may do ─────────────────────────────────────────────────────────────


async def test_a_token_talks_and_reads_and_nothing_else(house: Talkers) -> None:
    mine = await token(house, "u-17")
    assert await say(house, mine, "hi") == "You said hi."
    sessions = "/v1/roles/cat/sessions"
    assert [row["session_id"] for row in (await ask(house, "GET", sessions, mine))[1]["sessions"]] == ["s"]
    assert (await ask(house, "GET", f"{sessions}/s/events", mine))[1]["last_seq"] == 2
    assert (await ask(house, "GET", f"{sessions}/s/state", mine))[1]["state"] == {"turns": 1}
    assert [role["name"] for role in (await ask(house, "GET", "/v1/roles", mine))[1]["roles"]] == ["cat"]
    assert [model["id"] for model in (await ask(house, "GET", "/v1/models", mine))[1]["data"]] == ["cat"]
    for method, path in (
        ("GET", "/v1/roles/cat/logs"),
        ("PUT", "/v1/bundles"),
        ("POST", "/v1/roles:check"),
        ("POST", "/v1/tokens"),
        ("GET", "/v1/platform/health"),
    ):
        assert (await ask(house, method, path, mine, {"user": "u"} if method == "POST" else None))[0] == 403, path


async def test_a_token_for_one_role_finds_no_other_over_any_transport(house: Talkers) -> None:
    mine, anywhere = await token(house, "u-17"), await token(house, "u-17", None)
    body = {"message": "hi"}
    assert (await ask(house, "POST", "/role/tutor", anywhere, body))[0] == 200
    completion = {"model": "tutor", "messages": [{"role": "user", "content": "hi"}]}
    for method, path, said in (
        ("POST", "/role/tutor", body),
        ("GET", "/v1/roles/tutor", None),
        ("GET", "/v1/roles/tutor/sessions", None),
        ("GET", "/v1/roles/tutor/sessions/s/events", None),
        ("GET", "/v1/models/tutor", None),
        ("POST", "/v1/chat/completions", completion),
    ):
        assert (await ask(house, method, path, mine, said))[0] == 404, path
    assert await refusal(house, mine, "/role/tutor") == ("role_not_found", 4404)
    async with listening(f"{house.url}/role/tutor?session_id=s", mine) as stream:
        assert stream.answer.status == 404


async def test_a_token_in_the_url_is_refused_as_keys_are(house: Talkers) -> None:
    mine = await token(house, "u-17")
    for name in ("token", "access_token", "Authorization"):
        status, answer = await ask(house, "GET", f"/v1/roles?{name}={mine}", mine)
        assert (status, answer["error"]["code"]) == (400, "key_in_url")
        assert await refusal(house, mine, f"/role/cat?{name}={mine}") == ("key_in_url", 4400)
        assert mine not in json.dumps(answer)


# ── one user, several ways ──────────────────────────────────────────────────────────


async def test_a_browser_goes_on_with_what_the_tenants_server_began_for_its_user(house: Talkers) -> None:
    assert await say(house, USER_KEY, "one", user="u-17") == "You said one."
    mine = await token(house, "u-17")
    async with socket(house, mine, "/role/cat?session_id=s&after_seq=0") as opened:
        assert (await heard(opened, "session.created"))[-1]["head"] == 2
        assert (await heard(opened, "response.done"))[-1]["message"] == "You said one."
        await opened.send('{"message": "again"}')
        assert (await heard(opened, "response.done"))[-1]["message"] == "Before: one"
        assert await say(house, USER_KEY, "three", query="?user=u-17") == "You said three."
        assert (await heard(opened, "response.done"))[-1]["message"] == "You said three."
    completion = {"model": "cat", "messages": [{"role": "user", "content": "again"}], "session_id": "s"}
    _, answer = await ask(house, "POST", "/v1/chat/completions", USER_KEY, completion | {"user": "u-17"})
    assert answer["choices"][0]["message"]["content"] == "Before: three"
    _, answer = await ask(house, "POST", "/v1/chat/completions", mine, completion | {"user": "u-18"})
    assert answer["choices"][0]["message"]["content"] == "Before: again"
    assert [start.user for start in house.pods[ACME].starts()] == ["u-17"] * 5
    assert len({start.session for start in house.pods[ACME].starts()}) == 1


async def test_reads_are_of_the_user_that_is_acted_for(house: Talkers) -> None:
    await say(house, USER_KEY, SECRET, user="u-17")
    sessions = "/v1/roles/cat/sessions"
    for path in (f"{sessions}/s/events", f"{sessions}/s/state"):
        assert (await ask(house, "GET", f"{path}?user=u-17", USER_KEY))[0] == 200
        assert (await ask(house, "GET", path, USER_KEY))[0] == 404
        assert (await ask(house, "GET", f"{path}?user=u-18", USER_KEY))[0] == 404
        assert (await ask(house, "GET", f"{path}?user=u-17", KEYS[ACME]))[0] == 403
    (row,) = (await ask(house, "GET", f"{sessions}?user=u-17", USER_KEY))[1]["sessions"]
    assert (row["session_id"], row["user"]) == ("s", "u-17")
    assert (await ask(house, "GET", sessions, USER_KEY))[1]["sessions"] == [row], "all of the tenant's"
    assert (await ask(house, "GET", sessions, KEYS[ACME]))[1]["sessions"] == [], "its own only"


async def test_without_a_user_sessions_are_the_tenants_own_whichever_key_asks(house: Talkers) -> None:
    await say(house, KEYS[ACME], "one")
    assert await say(house, USER_KEY, "again") == "Before: one"


# ── two users ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("whose", ["token", "acted-for", "the-tenant", "another-tenant"])
async def test_nobody_reads_anothers_session_over_any_transport(house: Talkers, whose: str) -> None:
    """u-17's session `s`, asked for in every way by somebody else with the same word."""
    await say(house, await token(house, "u-17"), SECRET)
    add_key(house.tables, "rh_8_evil", EVIL, Scope.CHAT, Scope.ACT_AS_USER)
    key, user = {
        "token": (await token(house, "u-18"), ""),
        "acted-for": (USER_KEY, "u-18"),
        "the-tenant": (KEYS[ACME], ""),
        "another-tenant": ("rh_8_evil", "u-17"),
    }[whose]
    query, field = (f"user={user}", {"user": user}) if user else ("", {})
    read: list[Any] = []
    sessions = "/v1/roles/cat/sessions"
    for path in (f"{sessions}/s/events", f"{sessions}/s/state", f"{sessions}/s/events?wait=1"):
        status, answer = await ask(house, "GET", f"{path}{'&' if '?' in path else '?'}{query}", key, **CLAIMS)
        assert (status, answer["error"]["code"]) == (404, "session_not_found")
    read.append((await ask(house, "GET", f"{sessions}?{query}", key, **CLAIMS))[1])
    assert read == [{"sessions": [], "after": ""}]
    async with listening(f"{house.url}/role/cat?session_id=s&{query}", key, headers=CLAIMS) as stream:
        assert stream.answer.status == 404
    said = {"message": "again", "session_id": "s", **field}
    async with listening(f"{house.url}/role/cat", key, said=said, headers=CLAIMS, last_id="0") as stream:
        read.append(await stream.rest())
    completion = {"model": "cat", "messages": [{"role": "user", "content": "again"}], "session_id": "s", **field}
    read.append((await ask(house, "POST", "/v1/chat/completions", key, completion, **CLAIMS))[1])
    for fmt in ("json", "msgpack"):
        async with connect(
            f"{house.ws}/role/cat?session_id=s&after_seq=0&fmt={fmt}&{query}",
            additional_headers={"Authorization": f"Bearer {key}", **CLAIMS},
            proxy=None,
        ) as opened:
            await opened.send(json.dumps({"type": "session.resume", "session_id": "s", "after_seq": 0, **field}))
            await opened.send(json.dumps({"message": "again", "session_id": "s", **field}))
            frames = [await asyncio.wait_for(opened.recv(), 10)]
            while "Before: " not in str(frames[-1]):
                frames.append(await asyncio.wait_for(opened.recv(), 10))
            read.append(frames)
    assert "4711" not in str(read)
    assert len(str(read)) > 1000


async def test_users_on_one_socket_hear_apart_what_goes_by_one_word(house: Talkers) -> None:
    async with socket(house, USER_KEY) as opened:
        for user in ("u-17", "u-18"):
            await opened.send(json.dumps({"message": f"I am {user}", "session_id": "s", "user": user}))
            done = (await heard(opened, "response.done"))[-1]
            assert (done["of"], done["message"]) == ({"role": "cat", "user": user}, f"You said I am {user}.")
        await opened.send('{"message": "again", "session_id": "s", "user": "u-17"}')
        assert (await heard(opened, "response.done"))[-1]["message"] == "Before: I am u-17"


async def test_a_user_with_many_sockets_does_not_take_their_tenants_places(
    house: Talkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rolehost_runtime.gateway.sessions.room.MAX_OF_USER", 2)
    mine = await token(house, "u-17")
    async with socket(house, mine) as opened:
        for number in range(3):
            await opened.send(json.dumps({"message": "hi", "session_id": f"s{number}"}))
        assert (await heard(opened, "error"))[-1]["error"]["code"] == "too_many_sessions"
        assert await say(house, await token(house, "u-18"), "hi") == "You said hi."
        assert await say(house, KEYS[ACME], "hi") == "You said hi."


async def test_headers_that_claim_a_user_are_not_heard(house: Talkers) -> None:
    mine = await token(house, "u-18")
    for key in (mine, KEYS[ACME], USER_KEY):
        await ask(house, "POST", "/role/cat", key, {"message": "hi"}, **CLAIMS)
    assert [start.user for start in house.pods[ACME].starts()] == ["u-18", "", ""]


# ── the end of a token ──────────────────────────────────────────────────────────────


def ending(house: Talkers, in_ms: int, user: str = "u-17") -> str:
    """A token that is accepted now, and in so many milliseconds no more."""
    now = house.clock()
    claims = Claims(bytes.fromhex(key_hash(USER_KEY)), ACME.uid, "cat", user, now - 3_600_000, now - LEEWAY_MS + in_ms)
    return signed(signing_key(ROOT), claims)


async def test_a_socket_is_closed_when_its_token_expires_and_only_that_one(house: Talkers) -> None:
    async with socket(house, await token(house, "u-17"), "/role/cat?session_id=s") as lasting:
        await heard(lasting, "session.created")
        assert await refusal(house, ending(house, 300), "/role/cat?session_id=s") == ("token_expired", 4401)
        await lasting.send('{"message": "hi"}')
        await heard(lasting, "response.done")
    assert house.hub._ends == {}


async def test_a_stream_and_a_poll_end_when_their_token_expires(house: Talkers) -> None:
    await say(house, await token(house, "u-17"), "hi")
    async with listening(f"{house.url}/role/cat?session_id=s", ending(house, 300)) as stream:
        events = await stream.rest()
    assert (events[-1]["type"], events[-1]["error"]["code"]) == ("error", "token_expired")
    path = "/v1/roles/cat/sessions/s/events?after_seq=2&wait=30"
    status, answer = await ask(house, "GET", path, ending(house, 300))
    assert (status, answer["error"]["code"]) == (401, "token_expired")
    assert (house.hub._ends, house.hub.sockets) == ({}, 0)


async def test_a_turn_goes_on_when_its_sender_is_sent_away(house: Talkers) -> None:
    async with socket(house, ending(house, 200)) as opened:
        await opened.send('{"message": "hi", "session_id": "s"}')
        await heard(opened, "error")
    async with asyncio.timeout(10):
        while not any(house.store.shelf.logs.values()):
            await asyncio.sleep(0.001)
    assert await say(house, await token(house, "u-17"), "again") == "Before: hi"


@pytest.mark.parametrize("change", ["revoked", "no-scope", "recycled"])
async def test_when_its_issuer_is_gone_a_token_is_dead_at_once(house: Talkers, change: str) -> None:
    mine = await token(house, "u-17")
    entry = house.tables.keys.get(key_hash(USER_KEY))
    assert entry is not None
    async with (
        socket(house, mine, "/role/cat?session_id=s") as opened,
        socket(house, KEYS[ACME], "/role/cat?session_id=s") as other,
    ):
        await heard(opened, "session.created")
        await heard(other, "session.created")
        if change == "revoked":
            house.tables.keys.drop((entry.sha256,))
        else:
            tenant = Tenant("acme", "uid-recycled") if change == "recycled" else ACME
            scopes = frozenset({Scope.CHAT}) if change == "no-scope" else entry.scopes
            house.tables.keys.put((entry.sha256,), KeyEntry(entry.key_id, entry.sha256, tenant, scopes))
        await heard(opened, "error")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(opened.recv(), 10)
        assert opened.close_code == 4401
        await other.send('{"message": "hi"}')
        await heard(other, "response.done")
    assert await say(house, mine, "hi") == (401, "token_revoked")
    assert await refusal(house, mine) == ("token_revoked", 4401)


async def test_what_is_not_the_platforms_token_is_refused_alike_everywhere(house: Talkers) -> None:
    mine = await token(house, "u-17")
    for bad in (mine[:-1], mine + "A", mine.replace(".", "", 1), "rht_", mine[:20] + mine[20].swapcase() + mine[21:]):
        assert await say(house, bad, "hi") == (401, "token_invalid")
        assert await refusal(house, bad) == ("token_invalid", 4401)
    assert await say(house, ending(house, 0), "hi") == (401, "token_expired")


# ── another Role ────────────────────────────────────────────────────────────────────


async def test_a_browser_switches_roles_and_comes_back_to_where_it_was(house: Talkers) -> None:
    anywhere = await token(house, "u-17", None)
    async with socket(house, anywhere, "/role/cat?session_id=s") as opened:
        await opened.send('{"message": "one"}')
        await heard(opened, "response.done")
        await opened.send('{"type": "session.switch", "role": "tutor"}')
        switched, created = (await heard(opened, "session.created"))[-2:]
        assert (switched["from"], switched["to"], switched["session_id"]) == ("cat", "tutor", "s")
        assert (created["role"], created["head"], created["of"]) == ("tutor@r1", 0, {"role": "tutor", "user": "u-17"})
        await opened.send('{"message": "again"}')
        assert (await heard(opened, "response.done"))[-1]["message"] == "Before: "
        await opened.send('{"type": "session.switch", "role": "cat"}')
        await opened.send('{"message": "again"}')
        back = await heard(opened, "response.done")
    assert (back[0]["type"], back[0].get("of")) == ("session.switched", None)
    assert (back[-1]["message"], back[-1].get("of")) == ("Before: one", None)
    assert len(house.store.shelf.logs) == 2
    assert (await ask(house, "GET", "/v1/roles/tutor/sessions/s/events", anywhere))[1]["last_seq"] == 2
