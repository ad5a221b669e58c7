"""HTTP at the edge: bounds on bytes before they mean anything, and the REST answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import aiohttp
import pytest
from tests.support import edge as support
from tests.support.edge import ACME_ADMIN_KEY, ACME_CHAT_KEY, ACME_KEY, EVIL_KEY, NOW_MS, Edge

from rolehost_runtime.gateway.edge import guarded
from rolehost_runtime.gateway.edge.policy import Policy
from rolehost_runtime.gateway.ports import StoreFacts
from rolehost_runtime.gateway.tables import Tenant

Start = Callable[..., Coroutine[Any, Any, Edge]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    running: list[Edge] = []

    async def begin(**options: Any) -> Edge:
        running.append(await support.start_edge(**options))
        return running[-1]

    yield begin
    for edge in running:
        await edge.hub.drain(0, 0)
        await edge.server.stop()


async def answer(edge: Edge, *sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Raw bytes in, the whole answer out."""
    reader, writer = await edge.raw()
    for piece in sent:
        writer.write(piece)
    try:
        return await parsed(reader)
    finally:
        writer.close()


async def parsed(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    raw = await asyncio.wait_for(reader.read(-1), 10)
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def code(body: bytes) -> str:
    return str(json.loads(body)["error"]["code"])


# ── bounds ──────────────────────────────────────────────────────────────────────────


async def test_a_head_of_64_kib_is_refused(start: Start) -> None:
    status, _, body = await answer(await start(), b"GET /healthz HTTP/1.1\r\nx: " + b"a" * 70_000)
    assert (status, code(body)) == (431, "head_too_large")


async def test_many_small_headers_are_refused(start: Start) -> None:
    status, _, body = await answer(await start(), b"GET /healthz HTTP/1.1\r\n" + b"a:\r\n" * 200 + b"\r\n")
    assert (status, code(body)) == (431, "too_many_headers")


async def test_a_large_body_right_after_its_head_does_not_count_as_head(start: Start) -> None:
    head = f"POST /role/storyteller HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ACME_KEY}\r\nconnection: close\r\n"
    said = json.dumps({"message": "x", "pad": "y" * 100_000}).encode()
    status, _, body = await answer(
        await start(), head.encode() + f"content-length: {len(said)}\r\n\r\n".encode() + said
    )
    assert (status, json.loads(body)["message"]) == (200, "x")


@pytest.mark.parametrize(
    "sent", [b"", b"GET /role/storyteller HTTP/1.1\r\nhost: x\r\n"], ids=["silence", "half-a-head"]
)
async def test_a_head_that_does_not_end_is_refused_in_time(
    start: Start, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(guarded, "HEAD_SECONDS", 0.2)
    status, _, body = await answer(await start(), sent)
    assert (status, code(body)) == (408, "head_too_slow")


async def test_a_head_that_drips_gets_no_more_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "HEAD_SECONDS", 0.3)
    edge = await start()
    reader, writer = await edge.raw()

    async def drip() -> None:
        writer.write(b"GET /")
        while True:
            writer.write(b"a")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    status, _, _ = await parsed(reader)
    dripping.cancel()
    assert status == 408


async def test_an_idle_connection_between_requests_is_not_refused_as_a_slow_head(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "HEAD_SECONDS", 0.2)
    reader, writer = await (await start()).raw()
    for _ in range(2):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.4)
    writer.close()


async def test_what_is_not_http_is_told_so(start: Start) -> None:
    status, _, body = await answer(await start(), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert (status, code(body)) == (400, "malformed_http")


async def test_a_full_gateway_says_when_to_come_again(start: Start) -> None:
    status, headers, body = await answer(await start(full=True), b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (status, code(body), headers["retry-after"]) == (503, "overloaded", "5")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param({"Sec_WebSocket_Version": "8"}, 400, id="old-version"),
        pytest.param({"Sec_WebSocket_Key": "short"}, 400, id="bad-key"),
    ],
)
async def test_a_handshake_that_is_none_is_http(start: Start, change: dict[str, str], status: int) -> None:
    got, _, _ = await answer(await start(), support.upgrade(**change))
    assert got == status


async def test_only_the_names_that_are_ours_are_answered(start: Start) -> None:
    edge = await start(policy=Policy(hosts=frozenset({"localhost"})))
    for host, expected in (("localhost:8080", 200), ("rebound.example", 403)):
        head = f"GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        assert (await answer(edge, head.encode()))[0] == expected


# ── REST ────────────────────────────────────────────────────────────────────────────


async def ask(edge: Edge, method: str, path: str, *, key: str | None = ACME_KEY, **more: Any) -> tuple[int, Any]:
    headers = ({"Authorization": f"Bearer {key}"} if key else {}) | more.pop("headers", {})
    async with aiohttp.ClientSession() as http, http.request(method, edge.url + path, headers=headers, **more) as got:
        text = await got.text()
        return got.status, json.loads(text) if got.content_type == "application/json" else text


async def test_the_platforms_health_names_the_store_and_no_tenant(start: Start) -> None:
    async def facts() -> StoreFacts:
        return StoreFacts(version="7.2.4", aof=True, appendfsync="always", eviction="noeviction", now_ms=NOW_MS)

    status, told = await ask(await start(store_facts=facts), "GET", "/v1/platform/health", key=ACME_ADMIN_KEY)
    assert status == 200
    assert told["store"]["appendfsync"] == "always"
    assert told["gateways"] == 1
    assert not {"acme", "evil", "storyteller"} & set(json.dumps(told).replace('"', " ").split())


async def test_roles_are_listed_for_their_own_tenant_only(start: Start) -> None:
    edge = await start()
    status, mine = await ask(edge, "GET", "/v1/roles")
    assert (status, [role["name"] for role in mine["roles"]]) == (200, ["storyteller"])
    assert mine["roles"][0] == {
        "name": "storyteller", "display_name": "Storyteller", "revision": "storyteller@r3", "ready": True,
    }  # fmt: skip
    assert [role["name"] for role in (await ask(edge, "GET", "/v1/roles", key=EVIL_KEY))[1]["roles"]] == ["lair"]


@pytest.mark.parametrize(
    ("method", "path", "key", "status", "code"),
    [
        ("GET", "/v1/roles", None, 401, "unauthorized"),
        ("GET", "/v1/roles", "wrong", 401, "unauthorized"),
        ("GET", "/v1/roles/storyteller", EVIL_KEY, 404, "role_not_found"),
        ("GET", "/v1/roles/nobody", ACME_KEY, 404, "role_not_found"),
        ("POST", "/role/storyteller", EVIL_KEY, 404, "role_not_found"),
        ("POST", "/role/acme/storyteller", EVIL_KEY, 404, "role_not_found"),
        ("GET", "/v1/roles/storyteller/sessions/nope/events", ACME_KEY, 404, "session_not_found"),
        ("GET", "/v1/roles/storyteller/sessions/a%20b/events", ACME_KEY, 400, "invalid_session_id"),
        ("GET", "/v1/roles/storyteller/sessions/s/events?after_seq=x", ACME_KEY, 400, "invalid_request"),
        ("GET", "/v1/roles/storyteller/sessions/s/events?after_seq=-1", ACME_KEY, 400, "invalid_after_seq"),
        ("GET", "/v1/roles/storyteller/logs", ACME_CHAT_KEY, 403, "forbidden"),
        ("GET", "/v1/platform/health", None, 401, "unauthorized"),
        ("GET", "/v1/platform/health", ACME_KEY, 403, "forbidden"),
        ("GET", "/v1/platform/health", ACME_ADMIN_KEY, 404, "no_platform"),
        ("PUT", "/v1/bundles", ACME_CHAT_KEY, 403, "forbidden"),
        ("PUT", "/v1/bundles", ACME_KEY, 404, "no_uploads"),
        ("GET", "/v1/roles?key=x", ACME_KEY, 400, "key_in_url"),
        ("GET", "/nowhere", ACME_KEY, 404, "path_not_found"),
        ("DELETE", "/v1/roles", ACME_KEY, 405, "method_not_allowed"),
        ("GET", "/", ACME_KEY, 404, "path_not_found"),
    ],
)
async def test_a_refusal_has_one_shape(
    start: Start, method: str, path: str, key: str | None, status: int, code: str
) -> None:
    got, body = await ask(await start(), method, path, key=key)
    assert (got, body["error"]["code"]) == (status, code)


async def test_one_message_gets_one_answer_whose_session_is_there_afterwards(start: Start) -> None:
    edge = await start()
    status, reply = await ask(edge, "POST", "/role/Storyteller", json={"message": "你好", "session_id": "s"})
    assert (status, reply["type"], reply["done"], reply["message"]) == (200, "response.done", True, "你好")
    assert (await ask(edge, "GET", "/v1/roles/storyteller/sessions"))[1] == {"sessions": ["s"]}
    _, events = await ask(edge, "GET", "/v1/roles/storyteller/sessions/s/events?after_seq=0")
    assert [(event["type"], event["seq"]) for event in events["events"]] == [("response.done", 1)]
    assert (await ask(edge, "GET", "/v1/roles/lair/sessions", key=EVIL_KEY))[1] == {"sessions": []}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param(b"{", 400, "malformed_json", id="malformed"),
        pytest.param(b'{"message": 7}', 400, "invalid_frame", id="wrong-type"),
        pytest.param(b'{"type": "ping"}', 400, "unknown_type", id="not-a-message"),
        pytest.param(b'{"message": "' + b"\xff" + b'"}', 400, "malformed_json", id="invalid-utf8"),
        pytest.param(b'{"x":' * 20_000, 400, "malformed_json", id="deep-nesting"),
        pytest.param(b" " * 200_000, 413, "body_too_large", id="too-large"),
        pytest.param(b'{"message": "fail"}', 404, "pod_lost", id="the-turn-fails"),
        pytest.param(b'{"message": "break"}', 500, "internal", id="a-bug-of-ours"),
    ],
)
async def test_a_bad_message_is_told(start: Start, body: bytes, status: int, code: str) -> None:
    got, told = await ask(await start(), "POST", "/role/storyteller", data=body)
    assert (got, told["error"]["code"]) == (status, code)


async def test_a_body_without_a_length_is_cut_off_where_it_is_too_large(start: Start) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 16_384

    got, told = await ask(await start(), "POST", "/role/storyteller", data=endless())
    assert (got, told["error"]["code"]) == (413, "body_too_large")


async def test_logs_are_lines_of_json(start: Start) -> None:
    status, text = await ask(await start(), "GET", "/v1/roles/storyteller/logs?after=1&follow=1")
    assert (status, [json.loads(line)["text"] for line in text.splitlines()]) == (200, ["storyteller 2"])


async def test_readiness_waits_for_tables_and_redis(start: Start) -> None:
    edge = await start(store_up=False)
    edge.tables.pods.filled = False
    assert await ask(edge, "GET", "/readyz", key=None) == (503, {"ok": False, "waiting_for": ["pods", "state"]})
    assert await ask(edge, "GET", "/healthz", key=None) == (200, {"ok": True})
    assert await ask(await start(), "GET", "/readyz", key=None) == (200, {"ok": True})


async def test_last_good_tables_are_ready_and_say_that_they_are(start: Start) -> None:
    edge = await start()
    edge.tables.pods.stale = True
    assert await ask(edge, "GET", "/readyz", key=None) == (200, {"ok": True, "stale": True})


class Taken:
    """Implements Uploads."""

    def __init__(self) -> None:
        self.got: list[tuple[Tenant, bytes]] = []

    async def bundle(self, tenant: Tenant, archive: AsyncIterator[bytes]) -> tuple[int, bytes]:
        self.got.append((tenant, b"".join([chunk async for chunk in archive])))
        return 200, b'{"digest":"sha256:0"}'

    async def check(self, tenant: Tenant, manifest: AsyncIterator[bytes]) -> tuple[int, bytes]:
        self.got.append((tenant, b"".join([chunk async for chunk in manifest])))
        return 200, b'{"findings":[]}'


async def test_pushes_pass_unread_under_the_keys_own_tenant(start: Start) -> None:
    taken = Taken()
    edge = await start(uploads=taken)
    archive = bytes(range(256)) * 4096
    assert await ask(edge, "PUT", "/v1/bundles", data=archive, headers={"X-Tenant": "evil"}) == (
        200,
        {"digest": "sha256:0"},
    )
    assert await ask(edge, "POST", "/v1/roles:check", data=b"kind: Role") == (200, {"findings": []})
    assert taken.got == [(support.ACME, archive), (support.ACME, b"kind: Role")]
    status, told = await ask(edge, "PUT", "/v1/bundles", data=b"x" * (10 * 1024 * 1024 + 1))
    assert (status, told["error"]["code"]) == (413, "body_too_large")


async def test_openapi_describes_what_is_really_sent(start: Start) -> None:
    status, described = await ask(await start(), "GET", "/openapi.json", key=None)
    assert status == 200
    assert {"/v1/roles", "/v1/bundles", "/v1/roles:check", "/role/{at}", "/v1/models"} <= set(described["paths"])
    assert {"/v1/roles/{name}/sessions/{sid}/events", "/v1/roles/{name}/sessions/{sid}/state"} <= set(
        described["paths"]
    )
    assert set(described["paths"]["/role/{at}"]["post"]["responses"]["200"]["content"]) == {
        "application/json", "text/event-stream",
    }  # fmt: skip
    completions = described["paths"]["/v1/chat/completions"]["post"]
    assert completions["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/ChatRequest")
    schemas = described["components"]["schemas"]
    assert schemas["ErrorBody"]["required"] == ["code", "message"]
    refs = {word["$ref"].rpartition("/")[2] for word in walk(described) if "$ref" in word}
    assert refs <= set(schemas)


def walk(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *(found for inner in value.values() for found in walk(inner))]
    return [found for inner in value for found in walk(inner)] if isinstance(value, list) else []


# ── pages of other origins ──────────────────────────────────────────────────────────


async def test_a_page_that_may_connect_may_also_read_write_and_forget(start: Start) -> None:
    edge = await start(policy=Policy(frozenset({"https://app.example"})))
    path, page = f"{edge.url}/v1/roles", {"Origin": "https://app.example"}
    asked = page | {
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "authorization,last-event-id,x-stainless-os",
    }
    async with aiohttp.ClientSession() as browser:
        async with browser.options(path, headers=asked) as first:
            assert first.status == 200
            assert first.headers["access-control-allow-origin"] == "https://app.example"
            assert "DELETE" in first.headers["access-control-allow-methods"]
            assert "x-stainless-os" in first.headers["access-control-allow-headers"]
            assert "access-control-allow-credentials" not in first.headers
        for key, status in ((ACME_KEY, 200), ("rh_0_wrong", 401)):
            async with browser.get(path, headers=page | {"Authorization": f"Bearer {key}"}) as answer:
                assert answer.status == status
                assert answer.headers["access-control-allow-origin"] == "https://app.example"
                assert "retry-after" in answer.headers["access-control-expose-headers"].lower()


async def test_a_page_of_a_foreign_site_is_told_nothing(start: Start) -> None:
    edge = await start(policy=Policy(frozenset({"https://app.example"})))
    foreign = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    async with aiohttp.ClientSession(edge.url) as browser:
        async with browser.options("/role/storyteller", headers=foreign) as first:
            assert (first.status, first.headers.get("access-control-allow-origin")) == (400, None)
        foreign["Authorization"] = f"Bearer {ACME_KEY}"
        async with browser.get("/v1/roles", headers=foreign) as answer:
            assert (answer.status, answer.headers.get("access-control-allow-origin")) == (403, None)


# ── the client library ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", [False, True])
async def test_the_library_is_served_to_pages_that_may_connect_with_or_without_one_here(
    start: Start, page: bool
) -> None:
    edge = await start(page=page, policy=Policy(frozenset({"https://app.example"})))
    async with aiohttp.ClientSession(edge.url) as client:
        async with client.get("/rolehost.js", headers={"Origin": "https://evil.example"}) as refused:
            assert refused.status == 403
        async with client.get("/rolehost.js", headers={"Origin": "https://app.example"}) as answer:
            body, headers = await answer.text(), answer.headers
        assert answer.status == 200
        assert headers["content-type"] == "text/javascript; charset=utf-8"
        assert headers["access-control-allow-origin"] == "https://app.example"
        assert headers["cache-control"] == "public, no-cache"
        assert "export function connect(" in body
        async with client.get("/rolehost.js", headers={"If-None-Match": headers["etag"]}) as known:
            assert (known.status, await known.read()) == (304, b"")
        async with client.get("/app.js") as app:
            assert app.status == (200 if page else 404)
