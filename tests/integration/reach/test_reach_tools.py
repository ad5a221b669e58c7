"""Tools of servers of the Model Context Protocol: friendly ones, and ones that are not."""

import asyncio
from pathlib import Path

import pytest
from tests.support.hostile_web import HOME, Heard, Reaching, Sink, answering, saying, serving
from tests.support.house import House, playing
from tests.support.mcp_server import mcp_serving
from tests.support.rooms import ACME, EVIL, revision_entry, role_entry, serve, world

from rolehost import Role
from rolehost_api.crd.role import McpServer, Persona, RoleTemplate, ServerHeader, ToolServer
from rolehost_api.errors import RolehostError
from rolehost_api.wire import ResponseDone, Said, Usage
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.reach import toolbox as toolbox_module
from rolehost_runtime.gateway.broker.reach.toolbox import KEEP_SECONDS, RETRY_SECONDS, McpToolbox
from rolehost_runtime.gateway.ports import Called, ModelEnd
from rolehost_runtime.gateway.tables import RevisionEntry

pytestmark = pytest.mark.integration
ROLE = role_entry()


class Box:
    def __init__(self, *allowed: str, keys: Path | None = None) -> None:
        web = Reaching(*allowed)
        self.now, self.sink, self.names = 0.0, Sink(), web.names
        self.box = McpToolbox(web.client, web.service.bounds, KeyRing(keys), lambda: self.now, self.sink)

    async def offered(self, revision: RevisionEntry) -> list[str]:
        return [one.name for one in await self.box.offered(ROLE, revision)]

    async def call(self, revision: RevisionEntry, city: str = "Oslo", name: str = "weather__forecast") -> str:
        return await self.box.call(ROLE, revision, name, f'{{"city": "{city}"}}' if city else "{}", "rh-k/0")


def with_servers(**urls: str) -> RevisionEntry:
    servers = [ToolServer(name=name, mcp=McpServer(url=url)) for name, url in urls.items()]
    return revision_entry(template=RoleTemplate(persona=Persona(system="x"), tools=servers))


def with_key(url: str, key: str = "weather") -> RevisionEntry:
    server = McpServer(url=url, headers=[ServerHeader(name="Authorization", key=key, prefix="Bearer")])
    return revision_entry(
        template=RoleTemplate(persona=Persona(system="x"), tools=[ToolServer(name="weather", mcp=server)])
    )


@pytest.mark.parametrize("how", [{}, {"streams": True}, {"sessions": True}, {"streams": True, "sessions": True},
                                 {"version": "2025-03-26"}])  # fmt: skip
async def test_tools_are_offered_and_called_in_each_way_that_servers_speak(how: dict[str, object]) -> None:
    async with mcp_serving(**how) as server:
        box, revision = Box(HOME), with_servers(weather=server.url)
        (tool,) = await box.box.offered(ROLE, revision)
        assert (tool.name, tool.description) == ("weather__forecast", "Rain?")
        assert b'"required":["city"]' in tool.parameters
        assert await box.call(revision) == "Rain in Oslo."
        assert await box.call(revision, "Atlantis") == "The tool failed: There is no such city."
        called = next(headers for method, headers, _ in server.heard if method == "tools/call")
        assert called["idempotency-key"] == "rh-k/0"
        assert server.open_sessions == set()
        assert [outcome for *_, outcome in box.sink.told] == ["2xx"] * 3


async def test_each_call_has_a_session_of_its_own() -> None:
    async with mcp_serving(sessions=True) as server:
        box, revision = Box(HOME), with_servers(weather=server.url)
        await asyncio.gather(*(box.call(revision) for _ in range(4)))
        used = [headers["mcp-session-id"] for method, headers, _ in server.heard if method == "tools/call"]
        assert len(set(used)) == 4


async def test_what_a_server_offers_is_asked_once_for_a_while_and_for_each_tenant() -> None:
    async with mcp_serving(pages=9) as server:
        box, revision = Box(HOME), with_servers(weather=server.url)
        for listed in await asyncio.gather(*(box.offered(revision) for _ in range(5))):
            assert listed == ["weather__forecast", "weather__page1", "weather__page2", "weather__page3"]
        assert server.methods().count("tools/list") == 4  # pages
        box.now = KEEP_SECONDS - 1
        await box.offered(revision)
        assert server.methods().count("initialize") == 1
        await box.box.offered(role_entry(EVIL), revision)
        assert server.methods().count("initialize") == 2
        box.now = KEEP_SECONDS
        await box.offered(revision)
        assert server.methods().count("initialize") == 3


async def test_one_server_that_is_away_does_not_take_the_others_with_it_and_is_left_alone_for_a_while() -> None:
    async with mcp_serving() as server, serving(answering(b"no", "500 Internal")) as broken:
        box = Box(HOME)
        away = f"http://127.0.0.1:{broken.port}/mcp"
        assert await box.offered(with_servers(weather=server.url, away=away)) == ["weather__forecast"]
        with pytest.raises(RolehostError) as failure:
            await box.offered(with_servers(away=away))
        assert (failure.value.code, broken.connections) == ("mcp_failed", 1)
        box.now = RETRY_SECONDS
        with pytest.raises(RolehostError):
            await box.offered(with_servers(away=away))
        assert broken.connections == 2


async def test_a_key_is_the_tenants_own_and_goes_to_its_server_alone(tmp_path: Path) -> None:
    (tmp_path / f"{ACME.name}.weather").write_text("s3cret\n")
    (tmp_path / "openai").write_text("sk-platform")
    async with mcp_serving() as server, serving(answering(b"stolen")) as thief:

        async def lead_on(heard: Heard, writer: asyncio.StreamWriter) -> None:
            await answering(b"", "307 Moved", f"Location: http://127.0.0.1:{thief.port}/")(heard, writer)

        box = Box(HOME, keys=tmp_path)
        assert await box.offered(with_key(server.url)) == ["weather__forecast"]
        assert {headers["authorization"] for _, headers, _ in server.heard} == {"Bearer s3cret"}
        for key in ("openai", "other"):
            with pytest.raises(RolehostError) as missing:
                await box.offered(with_key(server.url, key))
            assert missing.value.code == "tool_key_missing"
        with pytest.raises(RolehostError) as missing:
            await box.box.offered(role_entry(EVIL), with_key(server.url))
        assert missing.value.code == "tool_key_missing"
        async with serving(lead_on) as leading:
            with pytest.raises(RolehostError) as refused:
                await box.offered(with_key(f"http://127.0.0.1:{leading.port}/mcp"))
        assert (refused.value.code, thief.connections) == ("http_not_granted", 0)
        assert "s3cret" not in repr(box.box) + str(box.sink.told)


async def test_tool_servers_are_reached_by_the_same_addresses_as_all_else() -> None:
    async with mcp_serving() as server:
        for url in (server.url, "http://169.254.169.254/mcp"):
            with pytest.raises(RolehostError) as refused:
                await Box().offered(with_servers(weather=url))
            assert refused.value.code == "http_refused_address"
        assert server.heard == []


TOOLS = [{"name": "x" * 65}, {"name": "no way!"}, {"name": 7}, "x", {"name": "big", "inputSchema": {"description": "x" * 20_000}},
         {"name": "good", "description": "d" * 5000, "inputSchema": "none"}, {"name": "good"}]  # fmt: skip


async def test_tools_that_no_model_takes_are_left_out() -> None:
    async with mcp_serving(tools=TOOLS) as server:
        (tool,) = await Box(HOME).box.offered(ROLE, with_servers(weather=server.url))
        assert (tool.name, len(tool.description)) == ("weather__good", 0)
    async with mcp_serving(tools=[{"name": f"t{number}"} for number in range(500)]) as server:
        assert len(await Box(HOME).offered(with_servers(weather=server.url))) == 64


async def test_a_model_calls_a_servers_tool_and_the_turn_goes_on_where_it_is_away() -> None:
    async with mcp_serving(streams=True, sessions=True) as server:
        web = Reaching(HOME)
        box = McpToolbox(web.client, web.service.bounds, KeyRing(None), asyncio.get_running_loop().time, web.sink)
        house = House(world(ACME), toolbox=box, web=web.service)
        model = house.slow_model()
        template = RoleTemplate(
            persona=Persona(system="You look out."),
            permissions=("model.call", "tool:weather__*"),
            tools=[ToolServer(name="weather", mcp=McpServer(url=server.url))],
        )
        serve(house.tables, revision_entry(template=template))
        house.pod("p1", turn=playing(Role("bare"), permissions=template.permissions))
        await house.pool.start()
        handle, ear = await house.attach()
        call = ModelEnd("tool_calls", Usage(), calls=(Called("weather__forecast", '{"city": "Oslo"}'),))
        for answers in (
            (call, "It rains.", ModelEnd("stop", Usage())),
            (call, "Who knows.", ModelEnd("stop", Usage())),
        ):
            for item in answers:
                model.pieces.put_nowait(item)
            await handle.say(Said(message="the weather?"))
            end = ear.of(ResponseDone)[-1]
            told = model.asked[-1].messages[-1]
            if answers[1] == "It rains.":
                assert [one.name for one in model.asked[-1].tools] == ["weather__forecast"]
                assert (end.message, told.content) == ("It rains.", "Rain in Oslo.")
                server.sessions, server.version = True, "gone"  # from here on nobody understands it
            else:
                assert (end.status, end.message, told.error) == ("completed", "Who knows.", "tool_failed")
        keys = [headers["idempotency-key"] for method, headers, _ in server.heard if method == "tools/call"]
        assert [key[:3] for key in keys] == ["rh-"]
        await house.service.stop(0)
        await house.pool.stop()


HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


async def endless(heard: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(HELLO)
    while True:
        writer.write(b"data: " + b"x" * 60_000)
        await writer.drain()


async def chatty(heard: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(HELLO)
    while True:
        writer.write(b'data: {"jsonrpc":"2.0","method":"notifications/progress"}\n\n' * 100)
        await writer.drain()
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("play", "code"),
    [(endless, "mcp_failed"), (chatty, "http_too_large"), (answering(b"{}", "200 OK", "Content-Type: application/json"), "mcp_failed"),
     (answering(b"[" * 100_000, "200 OK", "Content-Type: application/json"), "mcp_failed"), (answering(b"<html>"), "mcp_failed"),
     (answering(b'{"id":true,"result":{}}', "200 OK", "Content-Type: application/json"), "mcp_failed"),
     (answering(b'{"id":1,"result":{"protocolVersion":"1999-01-01"}}', "200 OK", "Content-Type: application/json"), "mcp_version"),
     (saying(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n\n"), "mcp_failed")],
)  # fmt: skip
async def test_a_server_that_does_not_keep_to_the_protocol_is_given_up(play: object, code: str) -> None:
    async with serving(play) as server:  # type: ignore[arg-type]
        with pytest.raises(RolehostError) as failure:
            await Box(HOME).offered(with_servers(weather=f"http://127.0.0.1:{server.port}/mcp"))
        assert failure.value.code == code


async def test_a_call_that_fails_tells_a_code_and_not_the_servers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolbox_module, "CALL_SECONDS", 0.5)
    async with mcp_serving(pause=30, streams=True) as server:
        box, revision = Box(HOME), with_servers(weather=server.url)
        for city, name, code in (
            ("Oslo", "weather__forecast", "tool_late"),
            ("Oslo", "other__forecast", "unknown_tool"),
        ):
            with pytest.raises(RolehostError) as failure:
                await box.call(revision, city, name)
            assert failure.value.code == code
    async with mcp_serving() as server:
        with pytest.raises(RolehostError) as failure:
            await Box(HOME).call(with_servers(weather=server.url), "")
        assert failure.value.code == "mcp_failed"
        assert "secret" not in str(failure.value)
