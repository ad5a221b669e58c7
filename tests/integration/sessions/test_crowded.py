"""A small Redis that two tenants fill: past 80 % the greedy one begins nothing new, and all that there is goes on."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from tests.support.conversing import Conversing
from tests.support.redis_fleet import Server
from tests.support.rooms import ACME, EVIL
from tests.support.talking import KEYS, Talkers
from websockets.asyncio.client import connect

from rolehost_api.crd.modelbackend import BackendType
from rolehost_api.errors import Overloaded
from rolehost_api.wire import Said
from rolehost_runtime.core.lapse import Active
from rolehost_runtime.core.shares import room_of
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.sessions.admission import Admission
from rolehost_runtime.gateway.sessions.metrics import PrometheusAdmissionSink
from rolehost_runtime.gateway.sessions.pressure import MEASURED_MS, Pressure
from rolehost_runtime.gateway.sessions.service import SessionService
from rolehost_runtime.gateway.tables import Tenant

SMALL = ("--appendonly", "yes", "--save", "", "--maxmemory", "16mb", "--maxmemory-policy", "noeviction")
TEXT = "x" * 20_000


class Crowded(Talkers):
    """A gateway on that Redis, which looks at its memory when it is told to."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.redis, self.registry = RedisSessionStore.connect(url), CollectorRegistry()
        sink = PrometheusAdmissionSink(self.registry)
        self.pressure = Pressure(self.tables, self.redis, self.redis.memory, self.clock, sink.over)
        admission = Admission(self.tables, self.redis, self.clock, lambda: self.pressure.over, sink=sink)
        models = Models({BackendType.SCRIPTED: ScriptedProvider()})
        self.service = SessionService(self.tables, self.pool, self.redis, models, self.clock, admission=admission)

    async def full(self) -> float:
        used, bound = await self.redis.memory()
        return used / bound

    async def fills(self, tenant: Tenant, sid: str, turns: int = 10) -> None:
        whose = Whose(tenant.uid, "cat")
        one = Conversing(self.redis, whose.key(sid), input=TEXT, snapshots=False)
        await one.open()
        await one.talk(turns)
        await self.redis.enlist(whose, sid, 1, Active(1, 600))

    async def looks(self) -> frozenset[str]:
        self.clock.now_ms += MEASURED_MS
        await self.pressure.look()
        return self.pressure.over

    async def post(self, tenant: Tenant, message: str = "hi", **more: str) -> aiohttp.ClientResponse:
        async with aiohttp.ClientSession() as client:
            headers = {"Authorization": f"Bearer {KEYS[tenant]}"}
            answer = await client.post(f"{self.url}/role/cat", json={"message": message, **more}, headers=headers)
            await answer.read()
            return answer


@pytest.fixture
async def crowded(tmp_path: Path) -> AsyncIterator[Crowded]:
    server = Server(tmp_path / "redis", *SMALL)
    server.start()
    try:
        async with Crowded(f"redis://{server.address}") as running:
            yield running
        await running.redis.close()
    finally:
        server.stop()


async def test_only_the_greedy_lose_new_sessions_and_all_open_ones_go_on(crowded: Crowded) -> None:
    it = crowded
    theirs, _ = await it.at("open")
    await theirs.say(Said(message="before"))
    await it.fills(EVIL, "small", 1)
    assert await it.looks() == frozenset()
    number = 0
    while await it.full() < 0.83:
        await it.fills(ACME, f"s{number}")
        number += 1
    assert await it.looks() == {ACME.uid}
    assert it.registry.get_sample_value("rolehost_tenants_over_share") == 1

    before = await it.redis.sample(ACME.uid, "cat", 0)
    refused = await it.post(ACME)
    assert (refused.status, refused.headers["retry-after"]) == (429, "60")
    error = (await refused.json())["error"]
    assert (error["code"], error["retryable"], error["retry_after_ms"]) == ("tenant_over_share", True, 60_000)
    headers = {"Authorization": f"Bearer {KEYS[ACME]}"}
    async with connect(f"{it.ws}/role/cat", additional_headers=headers, proxy=None) as socket:
        await socket.send(json.dumps({"message": "hi", "session_id": "another"}))
        told = json.loads(await socket.recv())
        assert (told["type"], told["error"]["code"]) == ("error", "tenant_over_share")
        await socket.send(json.dumps({"message": "hi", "session_id": "s0"}))  # the same socket, a session that is there
        while (heard := json.loads(await socket.recv()))["type"] != "response.done":
            assert heard["type"] != "error", heard
    with pytest.raises(Overloaded):
        await it.service.kept.fork(Whose(ACME.uid, "cat"), "s0", 2)
    assert await it.redis.sample(ACME.uid, "cat", 0) == before
    counted = it.registry.get_sample_value(
        "rolehost_new_sessions_refused_total", {"tenant": "acme", "code": "tenant_over_share"}
    )
    assert counted == 3

    assert (await it.post(EVIL)).status == 200, "the small one begins what it likes"
    await theirs.say(Said(message="after"))
    assert (await it.post(ACME, session_id="s1")).status == 200
    assert (await it.post(EVIL, session_id="small")).status == 200

    while await it.full() > 0.75:
        number -= 1
        await it.service.kept.forget(Whose(ACME.uid, "cat"), f"s{number}")
    assert await it.looks() == frozenset()
    assert (await it.post(ACME)).status == 200, "what it let go of made room"


async def test_who_is_alone_stops_at_80_percent_and_its_sessions_have_the_rest(crowded: Crowded) -> None:
    it = crowded
    number = 0
    while await it.full() < 0.81:
        await it.fills(ACME, f"s{number}")
        number += 1
    assert await it.looks() == {ACME.uid}
    for _ in range(20):
        assert (await it.post(ACME, TEXT, session_id="s0")).status == 200
    used, bound = await it.redis.memory()
    assert room_of(bound) < used < bound


async def test_without_a_bound_nobody_is_refused(crowded: Crowded) -> None:
    it = crowded
    await it.fills(ACME, "s0")
    assert await it.redis._redis.everywhere("CONFIG", "SET", "maxmemory", "0") == [b"OK"]
    assert (await it.redis.memory())[1] == 0
    assert await it.looks() == frozenset()
