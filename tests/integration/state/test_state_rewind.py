"""A failover to a replica that lagged, where none was waited for: live sessions write again what it lacks, or say so."""

import asyncio
from collections.abc import AsyncIterator
from signal import SIGCONT
from typing import Any

import pytest
from tests.integration.state.helpers import persistently
from tests.support.redis_fleet import Fleet
from tests.support.rooms import ACME, Clock, Ear, PodDialer, Shelves, pod_entry, principal, put, world

from rolehost_api.crd.modelbackend import BackendType
from rolehost_api.errors import Conflict
from rolehost_api.identity import session_key
from rolehost_api.wire import Resumed, Said, SessionCreated
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.core.rewind import MAX_RECORDS
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.sessions.service import SessionService

pytestmark = pytest.mark.timeout(120)


class House:
    """A gateway's rooms over a Redis, with a pod of our own."""

    def __init__(self, url: str) -> None:
        self.tables, clock, dialer = world(ACME), Clock(), PodDialer()
        self.store = RedisSessionStore.connect(url)
        self.pool = LinkPool(self.tables, dialer, Shelves(), dialer.key, clock, "gw")
        models = Models({BackendType.SCRIPTED: ScriptedProvider()})
        self.service = SessionService(
            self.tables, self.pool, self.store, models, clock, durability=self.store.durability
        )
        dialer.add("p1")
        put(self.tables, pod_entry("p1"))

    async def attach(self) -> tuple[Any, Ear]:
        role = self.tables.roles.get("acme", "cat")
        assert role is not None
        return await self.service.attach(principal(ACME), role, "abc", ear := Ear()), ear

    @property
    def key(self) -> str:
        return session_key(ACME.uid, "cat", principal(ACME).id, "abc")

    async def texts(self) -> list[str]:
        records = await persistently(lambda: self.store.read(self.key))
        return [record.input for record in records if isinstance(record, TurnRecord)]


@pytest.fixture
async def house(fleet: Fleet) -> AsyncIterator[House]:
    built = House(fleet.url)
    await built.pool.start()
    yield built
    await built.service.stop(0)
    await built.pool.stop()
    await built.store.close()


async def say(handle: Any, *words: str) -> None:
    """Each until it is answered, as a client does."""
    for word in words:
        while True:
            try:
                await persistently(lambda word=word: handle.say(Said(message=word, client_msg_id=word)))  # type: ignore[misc]
                break
            except Conflict:  # superseded: by ourselves, in another time
                continue


@pytest.mark.parametrize("forgotten", [2, MAX_RECORDS + 2])
async def test_a_replica_that_lagged_becomes_the_primary(fleet: Fleet, house: House, forgotten: int) -> None:
    handle, ear = await house.attach()
    (greeted,) = ear.of(SessionCreated)
    assert greeted.durability == "local-fsync"
    kept = ["one", "two", "three"]
    await say(handle, *kept)
    primary = await asyncio.to_thread(fleet.primary_of, house.key)
    replicas = await asyncio.to_thread(fleet.cut_off, primary)
    lacking = [f"lacking{number}" for number in range(forgotten)]
    await say(handle, *lacking)
    before = await house.store.fence(house.key)
    assert before is not None
    primary.kill()
    for server in replicas:
        server.send(SIGCONT)
    await asyncio.to_thread(fleet.took_over, house.key, primary)
    await say(handle, "after", "more")
    lost = ear.of(Resumed)
    after = await house.store.fence(house.key)
    assert after is not None
    if forgotten <= MAX_RECORDS:
        assert await house.texts() == [*kept, *lacking, "after", "more"]
        assert not lost
    else:
        assert await house.texts() == [*kept, "after", "more"]
        assert [(each.code, each.gap, each.to_seq) for each in lost] == [("resume_lost", True, 6)]
        assert after.log_id != before.log_id


async def test_what_was_acknowledged_by_a_replica_needs_no_mending(fleet: Fleet) -> None:
    house = House(f"{fleet.url}?replicas=1")
    await house.pool.start()
    handle, ear = await house.attach()
    (greeted,) = ear.of(SessionCreated)
    assert greeted.durability == "replicated-1"
    await say(handle, "one", "two")
    primary = await asyncio.to_thread(fleet.primary_of, house.key)
    before = await house.store.fence(house.key)
    await asyncio.to_thread(primary.kill)
    await asyncio.to_thread(fleet.took_over, house.key, primary)
    assert await house.texts() == ["one", "two"]
    assert await persistently(lambda: house.store.fence(house.key)) == before
    await asyncio.to_thread(fleet.rejoin, primary)
    await say(handle, "three")
    assert await house.texts() == ["one", "two", "three"]
    assert not ear.of(Resumed)
    await house.service.stop(0)
    await house.pool.stop()
    await house.store.close()
