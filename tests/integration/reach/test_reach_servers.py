"""Requests to real servers on this machine, friendly and hostile ones: what comes back, and what never does."""

import asyncio
import gzip
import json
import ssl
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.hostile_web import HOME, Heard, Reaching, answering, certificate_of, saying, serving

from rolehost_api.link.messages import MAX_FETCH_BYTES
from rolehost_runtime.core.reach.addresses import Reachable
from rolehost_runtime.gateway.broker.reach.client import Client
from rolehost_runtime.gateway.broker.reach.dialing import Dialing
from rolehost_runtime.gateway.broker.reach.limits import Bounds
from rolehost_runtime.gateway.broker.reach.lookup import system
from rolehost_runtime.gateway.broker.reach.service import ReachService

pytestmark = pytest.mark.integration


async def test_a_request_arrives_whole_and_the_answer_comes_back() -> None:
    async with serving(
        answering(b'{"id": 7}', "201 Created", "Content-Type: application/json", "X-A: 1", "X-A: 2")
    ) as server:
        web = Reaching(HOME)
        web.names.answers["api.acme.test"] = [["127.0.0.1"]]
        url = f"http://api.acme.test:{server.port}/v1/rooms?day=1#top"
        answer = await web.fetch(
            url, f"http:api.acme.test:{server.port}", method="POST", body=b"{}", headers=(("X-Key", "k"),), key="rh-1"
        )
        assert (answer.index, answer.status, answer.body, answer.error) == (3, 201, b'{"id": 7}', "")
        assert [value for name, value in answer.headers if name == "x-a"] == ["1", "2"]
        (heard,) = server.heard
        assert (heard.method, heard.path, heard.body) == ("POST", "/v1/rooms?day=1", b"{}")
        assert heard.headers == {
            "host": f"api.acme.test:{server.port}", "x-key": "k", "idempotency-key": "rh-1", "accept-encoding": "gzip",
            "connection": "close", "user-agent": "rolehost", "accept": "*/*", "content-length": "2",
        }  # fmt: skip
        assert web.names.asked == ["api.acme.test"]
        assert web.sink.told == [("acme", "cat", "2xx")]


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(b"direct")) as server, serving(answering(b"proxied")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        answer = await Reaching(HOME).fetch(f"http://127.0.0.1:{server.port}/", f"http:127.0.0.1:{server.port}")
        assert (answer.body, proxy.connections) == (b"direct", 0)


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["10.0.0.1"],
                                     ["169.254.169.254"], ["64:ff9b::7f00:1"], ["fe80::1%eth0"]])  # fmt: skip
async def test_a_name_with_one_private_address_is_not_connected_to(answers: Sequence[str]) -> None:
    async with serving(answering()) as server:
        web = Reaching()
        web.names.answers["evil.test"] = [answers]
        answer = await web.fetch(f"http://evil.test:{server.port}/", f"http:evil.test:{server.port}")
        assert (answer.error, answer.status, server.connections) == ("http_refused_address", 0, 0)


async def test_a_name_that_leads_elsewhere_the_second_time_is_asked_once_and_refused_on_the_next_hop() -> None:
    async def lead_on(heard: Heard, writer: asyncio.StreamWriter) -> None:
        await answering(b"", "302 Found", "Location: /again")(heard, writer)

    async with serving(lead_on, "127.0.0.1") as server:
        web = Reaching("127.0.0.1/32")
        web.names.answers["rebind.test"] = [["127.0.0.1"], ["127.0.0.2"]]
        answer = await web.fetch(f"http://rebind.test:{server.port}/", f"http:rebind.test:{server.port}")
        assert (answer.error, server.connections) == ("http_refused_address", 1)
        assert web.names.asked == ["rebind.test", "rebind.test"]  # once for each request


@pytest.mark.parametrize(
    ("location", "code"),
    [("http://169.254.169.254/latest/meta-data/", "http_not_granted"), ("http://granted.test:{port}/", "http_refused_address"),
     ("http://2852039166/", "http_invalid_url"), ("file:///etc/passwd", "http_invalid_url"), ("//evil.test/", "http_not_granted"),
     ("http://127.0.0.1:{port}@evil.test/", "http_invalid_url"), ("http://[::1]:{port}/", "http_invalid_url")],
)  # fmt: skip
async def test_each_hop_of_a_redirect_is_judged_like_the_first_request(location: str, code: str) -> None:
    async def lead_on(heard: Heard, writer: asyncio.StreamWriter) -> None:
        await answering(b"", "307 Temporary", f"Location: {location.format(port=server.port)}")(heard, writer)

    async with serving(lead_on) as server:
        web = Reaching("127.0.0.1/32")
        web.names.answers["granted.test"] = [["169.254.169.254"]]
        grants = (f"http:127.0.0.1:{server.port}", f"http:granted.test:{server.port}")
        answer = await web.fetch(f"http://127.0.0.1:{server.port}/", *grants, headers=(("Authorization", "Bearer s"),))
        assert (answer.error, len(server.heard)) == (code, 1)


async def test_a_key_stays_with_the_host_that_it_was_meant_for() -> None:
    async def lead_on(heard: Heard, writer: asyncio.StreamWriter) -> None:
        await answering(b"", "308 Moved", f"Location: http://other.test:{there.port}/x")(heard, writer)

    async with serving(answering(b"there")) as there, serving(lead_on) as here:
        web = Reaching(HOME)
        web.names.answers["other.test"] = [["127.0.0.1"]]
        answer = await web.fetch(
            f"http://127.0.0.1:{here.port}/", f"http:127.0.0.1:{here.port}", f"http:other.test:{there.port}",
            method="POST", body=b"x", headers=(("Authorization", "Bearer s"), ("Cookie", "s"), ("X-Key", "s")), key="rh-1",
        )  # fmt: skip
        assert (answer.body, answer.url) == (b"there", f"http://other.test:{there.port}/x")
        assert {"authorization", "cookie", "x-key"}.isdisjoint(there.heard[0].headers)
        assert (there.heard[0].body, there.heard[0].headers["idempotency-key"]) == (b"x", "rh-1")


async def test_a_circle_of_redirects_ends() -> None:
    async with serving(answering(b"", "302 Found", "Location: /")) as server:
        answer = await Reaching(HOME).fetch(f"http://127.0.0.1:{server.port}/", f"http:127.0.0.1:{server.port}")
        assert (answer.error, len(server.heard)) == ("http_too_many_redirects", 6)


async def endless(heard: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()


async def endless_head(heard: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-A: " + b"x" * 4096 + b"\r\n")
        await writer.drain()


async def dribbling(heard: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def silent(heard: Heard, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def interim(heard: Heard, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)
        await writer.drain()
        await asyncio.sleep(0.01)


def bomb() -> bytes:
    made = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(made.compress(b"\0" * 1_048_576) for _ in range(64)) + made.flush()  # 64 MiB in 64 KiB


OK = b"HTTP/1.1 200 OK\r\n"
HOSTILE = {
    "endless body": (endless, "http_too_large"),
    "endless head": (endless_head, "http_too_large"),
    "10,000 headers": (saying(OK + b"".join(b"x%d: y\r\n" % number for number in range(10_000)) + b"\r\n"), "http_too_large"),
    "300 headers": (saying(OK + b"a: b\r\n" * 300 + b"Content-Length: 0\r\n\r\n"), "http_too_large"),
    "one long header": (saying(OK + b"a: " + b"b" * 9000 + b"\r\nContent-Length: 0\r\n\r\n"), "http_too_large"),
    "slow body": (dribbling, "http_timeout"),
    "silence": (silent, "http_timeout"),
    "interim for ever": (interim, "http_failed"),
    "a gzip bomb": (answering(bomb(), "200 OK", "Content-Encoding: gzip"), "http_too_large"),
    "half a gzip": (answering(gzip.compress(b"hello" * 100)[:-9], "200 OK", "Content-Encoding: gzip"), "http_failed"),
    "no gzip at all": (answering(b"hello", "200 OK", "Content-Encoding: gzip"), "http_failed"),
    "an encoding that nobody asked for": (answering(b"hello", "200 OK", "Content-Encoding: br"), "http_failed"),
    "a byte too many": (answering(b"x" * (MAX_FETCH_BYTES + 1)), "http_too_large"),
    "half a body": (saying(OK + b"Content-Length: 10\r\n\r\nhalf"), "http_failed"),
    "two lengths": (saying(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "http_failed"),
    "no HTTP": (saying(b"220 mail.acme.test ESMTP\r\n"), "http_failed"),
    "nothing": (saying(b""), "http_failed"),
    "another protocol": (saying(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"), "http_failed"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_answers_are_given_up_with_a_code_in_bounded_time_and_room(name: str) -> None:
    play, code = HOSTILE[name]
    async with serving(play) as server:
        web = Reaching(HOME)
        answer = await web.fetch(f"http://127.0.0.1:{server.port}/", f"http:127.0.0.1:{server.port}", timeout_ms=700)
        assert (answer.error, answer.status, answer.body) == (code, 0, b"")
        assert web.sink.told == [("acme", "cat", code)]
        assert web.sink.received < 1_000_000


@pytest.mark.parametrize(
    ("play", "body"),
    [(answering(gzip.compress(b"hello" * 1000), "200 OK", "Content-Encoding: gzip"), b"hello" * 1000),
     (saying(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), b"abc"), (saying(OK + b"\r\nto the end"), b"to the end"),
     (saying(b"HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n"), b""), (answering(b"x" * MAX_FETCH_BYTES), b"x" * MAX_FETCH_BYTES),
     (saying(b"HTTP/1.1 103 Early\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok"), b"ok")],
)  # fmt: skip
async def test_bodies_come_in_every_way_that_they_travel(play: object, body: bytes) -> None:
    async with serving(play) as server:  # type: ignore[arg-type]
        answer = await Reaching(HOME).fetch(f"http://127.0.0.1:{server.port}/", f"http:127.0.0.1:{server.port}")
        assert (answer.error, answer.body) == ("", body)


async def test_who_waits_in_line_too_long_is_told_so_and_tenants_have_a_pace() -> None:
    async with serving(silent) as server:
        web, grant = Reaching(HOME, per_role=1, per_minute=12), f"http:127.0.0.1:{server.port}"
        url = f"http://127.0.0.1:{server.port}/"
        codes = await asyncio.gather(*(web.fetch(url, grant, timeout_ms=300) for _ in range(3)))
        assert sorted(one.error for one in codes) == ["http_busy", "http_rate_limited", "http_timeout"]
        assert web.service.bounds._rooms == {}


async def test_a_tenant_with_many_roles_has_a_bounded_number_of_requests_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rolehost_runtime.gateway.broker.reach.limits.PER_TENANT", 2)
    now = asyncio.get_running_loop().time
    bounds, most, under_way = Bounds(now, per_role=2), 0, 0

    async def ask(tenant: str, role: str) -> None:
        nonlocal most, under_way
        async with bounds.room(tenant, role):
            under_way += tenant == "acme"
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= tenant == "acme"

    hung = asyncio.create_task(ask("acme", "late"))
    await asyncio.gather(*(ask("acme", f"r{number}") for number in range(6)), ask("evil", "r"))
    hung.cancel()
    await asyncio.gather(hung, return_exceptions=True)
    assert (most, bounds._rooms) == (2, {})


async def test_a_resolver_that_hangs_holds_up_its_own_tenant_alone() -> None:
    web, go = Reaching(HOME), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(host: str) -> Sequence[str]:
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
        return ["127.0.0.1"]

    web.lookup._resolver = hang
    hung = [asyncio.create_task(web.fetch("https://slow.test/", "http:slow.test", timeout_ms=200)) for _ in range(8)]
    assert {one.error for one in await asyncio.gather(*hung)} == {"http_timeout"}
    assert (await web.fetch("https://slow.test/", "http:slow.test")).error == "http_busy"
    assert web.lookup._running == {web.role.tenant.uid: 8}
    go.set()
    async with asyncio.timeout(5):
        while web.lookup._running:
            await asyncio.sleep(0.01)


def test_a_name_is_looked_up_as_it_is_and_not_below_the_clusters_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def found(host: str, *arguments: object, **more: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(2, 1, 6, "", ("192.0.2.1", 0)), (10, 1, 6, "", ("2001:db8::1", 0, 0, 0))]

    monkeypatch.setattr("socket.getaddrinfo", found)
    assert system("api.acme.com") == ["192.0.2.1", "2001:db8::1"]
    system("localhost")
    assert asked == ["api.acme.com.", "localhost"]


async def test_nobody_is_asked_whom_the_permissions_do_not_name() -> None:
    web = Reaching()
    for permissions in ((), ("http:other.test",), ("tool:*",), ("http:api.acme.test:8443",)):
        assert (await web.fetch("https://api.acme.test/", *permissions)).error == "http_not_granted"
    assert web.names.asked == []
    bad = await web.fetch("https://api.acme.test/", "http:api.acme.test", headers=(("Host", "evil.test"),))
    assert (bad.error, web.names.asked) == ("http_invalid_request", [])
    assert (await web.fetch("https://api.acme.test/", "http:api.acme.test")).error == "http_unreachable"


async def test_over_tls_the_certificate_is_of_the_name_and_of_an_authority(tmp_path: Path) -> None:
    certificate, key = certificate_of("api.acme.test", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    web = Reaching(HOME)
    for name in ("api.acme.test", "other.acme.test"):
        web.names.answers[name] = [["127.0.0.1"]]
    grant = f"http:*.acme.test:{port}"
    assert (await web.fetch(f"https://api.acme.test:{port}/", grant)).error == "http_unreachable"
    trusted = Dialing(Reachable.of([HOME]), web.lookup, ssl.create_default_context(cafile=str(certificate)))
    web.service = ReachService(Client(trusted), Bounds(asyncio.get_running_loop().time), web.sink)
    assert (await web.fetch(f"https://api.acme.test:{port}/", grant)).body == b"secret"
    assert (await web.fetch(f"https://other.acme.test:{port}/", grant)).error == "http_unreachable"
    listening.close()


async def test_what_is_asked_is_in_no_log_and_no_metric(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    async with serving(answering(json.dumps({"secret-answer": 1}).encode())) as server:
        web = Reaching(HOME)
        await web.fetch(f"http://127.0.0.1:{server.port}/secret-path?secret-query=1", f"http:127.0.0.1:{server.port}")
        web.dialing.open = None  # type: ignore[assignment,method-assign]
        broken = await web.fetch(f"http://127.0.0.1:{server.port}/secret-path", f"http:127.0.0.1:{server.port}")
        assert broken.error == "http_failed"
    assert "a bug while" in caplog.text
    assert "secret" not in caplog.text + str(web.sink.told)
