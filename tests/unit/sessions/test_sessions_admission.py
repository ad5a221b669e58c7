"""Which tenants may have one more session: counted beside whoever opens one, and by what a crowded store holds."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.house import House
from tests.support.rooms import ACME, EVIL, Clock, world

from rolehost_api.errors import Overloaded, Unavailable
from rolehost_api.wire import Said
from rolehost_runtime.core.prompt import Told
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.ports import Head
from rolehost_runtime.gateway.sessions.admission import COUNTED_MS, RETRY_MS, Admission
from rolehost_runtime.gateway.sessions.pressure import MEASURED_MS, SAMPLE, Pressure

MB = 1_000_000
OWN = Whose(ACME.uid, "cat")


class Door:
    """A house with an admission that is told who is over its share."""

    def __init__(self, most: int = 100) -> None:
        self.over: set[str] = set()
        self.refused_: list[tuple[str, str]] = []
        self.house = House(tables := world(ACME, EVIL))
        self.admission = Admission(tables, self.house.store, self.house.clock, lambda: self.over, most, self)
        self.house.service._admission = self.admission
        self.house.service.kept.admit = self.admission.admit

    def refused(self, tenant: str, code: str) -> None:
        self.refused_.append((tenant, code))

    async def refuses(self, sid: str | None = None, **more: Any) -> Overloaded:
        with pytest.raises(Overloaded) as raised:
            await self.house.attach(sid, **more)
        return raised.value

    async def counted(self) -> None:
        """What was counted is old; the next one who comes has it counted anew."""
        self.house.clock.now_ms += COUNTED_MS
        handle, _ = await self.house.attach("there")
        handle.detach()
        while self.admission._counting:
            await asyncio.sleep(0)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door(most=3)
    for uid, tenant in (("p1", ACME), ("p2", EVIL)):
        door.house.pod(uid, tenant)
    await door.house.pool.start()
    handle, _ = await door.house.attach("there")
    await handle.say(Said(message="on"))
    yield door
    await door.house.die()


async def test_who_is_over_its_share_begins_nothing_and_goes_on_with_what_it_has(door: Door) -> None:
    open_before, _ = await door.house.attach("opened-and-silent")
    door.over.add(ACME.uid)
    opens = dict(door.house.store.shelf.heads)
    for sid in (None, "another"):
        error = await door.refuses(sid)
        assert (error.code, error.retryable, error.retry_after_ms) == ("tenant_over_share", True, RETRY_MS)
        assert (error.status, error.close_code) == (429, 4429)
    with pytest.raises(Overloaded):
        await door.house.service.kept.fork(OWN, "there", None)
    assert door.refused_ == [("acme", "tenant_over_share")] * 3
    assert door.house.store.shelf.heads == opens, "a refused one leaves nothing in the store"
    handle, _ = await door.house.attach("there")
    await handle.say(Said(message="goes on"))
    await open_before.say(Said(message="this one too"))
    again, _ = await door.house.attach("opened-and-silent")
    await again.say(Said(message="from another place"))
    await door.house.attach(None, tenant=EVIL)
    unkept, _ = await door.house.attach(None, told=Told())
    await unkept.say(Said(message="what nobody keeps takes no room"))
    door.over.clear()
    await door.house.attach("another")


async def test_a_forgotten_session_is_a_new_one(door: Door) -> None:
    await door.house.service.kept.forget(OWN, "there")
    door.over.add(ACME.uid)
    assert (await door.refuses("there")).code == "tenant_over_share"


async def test_a_tenant_has_so_many_sessions_over_all_of_its_roles(door: Door) -> None:
    store, tables = door.house.store, door.house.tables
    role = tables.roles.get(ACME.name, "cat")
    assert role is not None
    tables.roles.put((ACME.name, "dog"), type(role)(ACME, "dog", role.spec, role.stable))
    await store.enlist(Whose(ACME.uid, "dog", "anne"), "d1", 1)
    await door.counted()
    await door.house.attach("second")
    await store.enlist(Whose(ACME.uid, "dog", "bo"), "d2", 1)
    await door.house.attach("uncounted")
    await door.counted()
    error = await door.refuses("fourth")
    assert (error.code, error.retryable) == ("tenant_sessions_full", False)
    await door.house.attach("there")
    await door.house.attach(None, tenant=EVIL)
    await store.delist(Whose(ACME.uid, "dog", "bo"), "d2")
    await door.counted()
    await door.house.attach("fourth")


async def test_nobody_waits_for_the_count_and_one_that_fails_leaves_the_last(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    await door.counted()
    released, asked = asyncio.Event(), 0

    async def sample(*arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        await released.wait()
        raise Unavailable("away", code="state_unavailable")

    monkeypatch.setattr(door.house.store, "sample", sample)
    door.house.clock.now_ms += COUNTED_MS
    for _ in range(5):
        await door.house.attach(None)
        await asyncio.sleep(0)
    assert asked == 1
    released.set()
    while door.admission._counting:
        await asyncio.sleep(0)
    assert door.admission._counts[ACME.uid].sessions == 1


# ── the store's memory ──────────────────────────────────────────────────────────────


class Crowd:
    """A store with memory that is told, and what two tenants have in it."""

    def __init__(self) -> None:
        self.clock, self.store, self.told = Clock(), MemorySessionStore(), list[int]()
        self.used, self.bound = 0, 1_000 * MB
        self.pressure = Pressure(world(ACME, EVIL), self.store, self.memory, self.clock, self.told.append)

    async def memory(self) -> tuple[int, int]:
        return self.used, self.bound

    async def has(self, tenant_uid: str, sessions: int, log_bytes: int) -> None:
        for number in range(sessions):
            whose = Whose(tenant_uid, "cat", f"u{number}")
            await self.store.enlist(whose, "s", 1)
            key = whose.key("s")
            self.store.shelf.heads[key] = Head("l", 1, 1, 1, 1, "", log_bytes=log_bytes)

    async def at(self, used: int) -> set[str]:
        self.used = used
        await self.pressure.look()
        return set(self.pressure.over)


@pytest.mark.parametrize(("sessions", "log_bytes"), [(100, 1_000), (10, 100_000)])
async def test_many_sessions_and_large_ones_count_alike(sessions: int, log_bytes: int) -> None:
    crowd = Crowd()
    await crowd.has(ACME.uid, sessions, log_bytes)
    await crowd.has(EVIL.uid, 10, 1_000)
    found = [await crowd.at(used * MB) for used in (0, 800, 801, 999)]
    assert found == [set(), set(), {ACME.uid}, {ACME.uid}]
    assert await crowd.at(700 * MB) == set()
    assert crowd.told == [0, 0, 1, 1, 0]
    crowd.bound = 0
    assert await crowd.at(10**9) == set(), "without a bound there is no rule"


async def test_tenants_are_looked_at_only_in_need_and_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd()
    await crowd.has(ACME.uid, 3 * SAMPLE, 10)
    asked: list[str] = []
    real = crowd.store.log_bytes

    async def counted(key: str) -> int:
        asked.append(key)
        return await real(key)

    monkeypatch.setattr(crowd.store, "log_bytes", counted)
    await crowd.at(800 * MB)
    assert asked == []
    for _ in range(3):
        assert await crowd.at(900 * MB) == {ACME.uid}
    assert len(asked) == SAMPLE
    crowd.clock.now_ms += MEASURED_MS
    await crowd.at(900 * MB)
    assert len(asked) == 2 * SAMPLE
