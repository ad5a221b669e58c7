"""Retention with a real Redis, real files as archive, and sessions that last for seconds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec.structs import replace
from tests.support.conversing import Conversing
from tests.support.redis import running
from tests.support.rooms import ACME, world

from rolehost_runtime.core.record import Record
from rolehost_runtime.core.segment import folder
from rolehost_runtime.gateway.broker.archive.objects import ObjectSegments
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.ports import Shared
from rolehost_runtime.gateway.sessions.archive import Archive, Old
from rolehost_runtime.gateway.sessions.history import Past
from rolehost_runtime.gateway.sessions.retention import Sweeper
from rolehost_runtime.gateway.tables import RoleEntry

ANNE, KEEP, WAIT_SECONDS = Whose(ACME.uid, "cat", "anne"), 2, 30.0


class Brief(RedisSessionStore):
    """What is said lasts for seconds."""

    async def commit(self, key: str, record: Record, keep_seconds: int = KEEP) -> Shared | None:
        return await super().commit(key, record, KEEP if key == ANNE.key("brief") else 600)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not await true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_session_of_seconds_leaves_nothing_and_its_neighbour_everything(tmp_path: Path) -> None:
    with running() as redis:
        store = Brief.connect(redis.url)
        archive = Archive(Past(store.shortened, ObjectSegments.connect(f"file://{tmp_path}")))
        for sid in ("brief", "long"):
            key = ANNE.key(sid)
            one = Conversing(store, key, snapshots=False)
            fold = await one.open()
            await store.enlist(ANNE, sid, time.time_ns() // 1_000_000)
            await one.talk(6)
            assert await archive.move(Old(ACME.uid, key, fold.log_id, fold.epoch, (4, 0))) == 3
        tables = world(ACME)
        role = tables.roles.get(ACME.name, "cat")
        assert role is not None
        spec = replace(role.spec, sessions=replace(role.spec.sessions, retention_seconds=KEEP))
        tables.roles.put((ACME.name, "cat"), RoleEntry(ACME, "cat", spec, role.stable))
        sweeper = Sweeper(tables, store, archive, lambda: time.time_ns() // 1_000_000, chance=lambda: 0.0)

        async def swept() -> bool:
            await sweeper.tick(time.time_ns() // 1_000_000)
            return not list((tmp_path / folder(ACME.uid, ANNE.key("brief"))).rglob("*-*"))

        async def gone() -> bool:
            return await store.head(ANNE.key("brief")) is None

        await until(gone)
        await until(swept)
        assert [row.session_id for row in await store.rows(ACME.uid, "cat", None, None, 9)] == ["long"]
        assert await store.head(ANNE.key("long")) is not None
        assert len(list((tmp_path / folder(ACME.uid, ANNE.key("long"))).rglob("*-*"))) == 1
        fresh, records = await store.open(ANNE.key("brief"))
        assert (fresh.turn, fresh.epoch, records) == (0, 1, [])
        names: list[bytes] = [name for names in await store._redis.everywhere("KEYS", "*") for name in names]
        assert all([await store._redis.run("TTL", name, key=name) > 0 for name in names])
        await store.close()
