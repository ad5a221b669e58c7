"""Watches against a server that does as the test says, where a real apiserver cannot be made to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import kopf
import pytest
from aiohttp import web
from tests.support.ports import free_port

from rolehost_operator.kube.client import Client, Kind
from rolehost_operator.kube.tidings import Tidings
from rolehost_operator.kube.watch import Watch
from rolehost_operator.kube.world import World

MANY = 80
"""More than a client has connections for requests."""
ROLES = Kind("rolehost.io/v1alpha1", "Role")


def role(name: str, version: int) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "acme", "uid": name, "resourceVersion": str(version)}, "spec": {}}


class Server:
    """Roles in pages of two; watches that stand, or end at once."""

    def __init__(self) -> None:
        self.port = free_port()
        self.roles = [role(f"r{number}", number) for number in range(5)]
        self.standing, self.over = True, asyncio.Event()
        self.said = b""
        """By each watch, before it stands or ends."""
        self.watches: list[str] = []
        """The versions that they began at."""
        self.lists = 0

    async def listed(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self.watched(request)
        begin = int(request.query.get("continue", "0"))
        self.lists += not begin
        page = {"resourceVersion": "100", "continue": str(begin + 2) if begin + 2 < len(self.roles) else ""}
        return web.json_response({"metadata": page, "items": self.roles[begin : begin + 2]})

    async def watched(self, request: web.Request) -> web.StreamResponse:
        self.watches.append(request.query["resourceVersion"])
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(self.said)
        if self.standing:
            await self.over.wait()
        return answer

    async def one(self, _: web.Request) -> web.Response:
        return web.json_response(self.roles[0])


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_get("/apis/rolehost.io/v1alpha1/hostedroles", made.listed)
    app.router.add_get("/apis/rolehost.io/v1alpha1/namespaces/{space}/hostedroles", made.listed)
    app.router.add_get("/apis/rolehost.io/v1alpha1/namespaces/{space}/hostedroles/{name}", made.one)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", made.port).start()
    yield made
    made.over.set()
    await runner.cleanup()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    made = Client(lambda: kopf.ConnectionInfo(server=f"http://127.0.0.1:{server.port}"), lambda: True)
    yield made
    await made.close()


async def settle(server: Server, count: int) -> None:
    async with asyncio.timeout(20):
        while len(server.watches) < count:
            await asyncio.sleep(0.01)


async def test_however_many_watches_stand_requests_have_connections(server: Server, client: Client) -> None:
    tidings, world = Tidings(()), World()
    watches = [Watch(client, world, lambda key: None, ROLES, tidings, f"n{number}") for number in range(MANY)]
    keeping = [asyncio.create_task(watch.keep()) for watch in watches]
    await settle(server, MANY)
    async with asyncio.timeout(20):
        found = await client.get(ROLES.api_version, ROLES.name, "acme", "r0")
    assert found == server.roles[0]
    for one in keeping:
        one.cancel()
        with suppress(asyncio.CancelledError):
            await one


async def test_every_page_is_seen_and_who_is_in_none_is_gone(server: Server, client: Client) -> None:
    world, rung = World(), list[tuple[str, str]]()
    watch = Watch(client, world, rung.append, ROLES, Tidings(()))
    await watch.list()
    assert sorted(rung) == sorted(world.roles()) == [("acme", f"r{number}") for number in range(5)]
    rung.clear()
    del server.roles[3]
    await watch.list()
    assert rung == [("acme", "r3")]
    assert ("acme", "r3") not in set(world.roles())


async def test_watches_that_end_at_once_are_not_opened_in_a_rush(server: Server, client: Client) -> None:
    server.standing = False
    tidings = Tidings([ROLES.plural])
    keeping = asyncio.create_task(Watch(client, World(), lambda key: None, ROLES, tidings).keep())
    await settle(server, 2)
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
    assert server.lists == 1
    assert set(server.watches) == {"100"}
    assert len(server.watches) == tidings.opens[ROLES.plural] == 2


async def test_what_cannot_be_read_is_told_and_the_watch_goes_on(server: Server, client: Client) -> None:
    server.said = b"<html>Bad gateway</html>\n"
    tidings = Tidings([ROLES.plural])
    keeping = asyncio.create_task(Watch(client, World(), lambda key: None, ROLES, tidings).keep())
    await settle(server, 2)
    assert not keeping.done()
    assert tidings.failures[ROLES.plural] >= 1
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
