"""Retention with a real Redis, real files as archive, and sessions that last for seconds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.support.conversing import Conversing
from tests.support.redis import running
from tests.support.rooms import ACME, world

from rolehost_runtime.core.lapse import MARGIN_MS, Active
from rolehost_runtime.core.record import Record
from rolehost_runtime.core.segment import folder
from rolehost_runtime.gateway.broker.archive.objects import ObjectSegments
from rolehost_runtime.gateway.broker.state import keys
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.ports import Shared
from rolehost_runtime.gateway.sessions.archive import Archive, Old
from rolehost_runtime.gateway.sessions.history import Past
from rolehost_runtime.gateway.sessions.metrics import PrometheusRetentionSink
from rolehost_runtime.gateway.sessions.retention import Sweep, Sweeper
from rolehost_runtime.gateway.tables import RoleEntry, Tables

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


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def begun(store: RedisSessionStore, archive: Archive, keeps: dict[str, int]) -> None:
    """Sessions of so many seconds, three of six records of each in the archive."""
    for sid, keep in keeps.items():
        key = ANNE.key(sid)
        one = Conversing(store, key, snapshots=False)
        fold = await one.open()
        await one.talk(6)
        await store.enlist(ANNE, sid, now_ms(), Active(now_ms(), keep))
        assert await archive.move(Old(ACME.uid, key, fold.log_id, fold.epoch, (4, 0))) == 3


def segments(place: Path, sid: str) -> int:
    return len(list((place / folder(ACME.uid, ANNE.key(sid))).rglob("*-*")))


def role_kept_for(tables: Tables, seconds: int) -> RoleEntry:
    role = tables.roles.get(ACME.name, "cat")
    assert role is not None
    spec = replace(role.spec, sessions=replace(role.spec.sessions, retention_seconds=seconds))
    made = RoleEntry(ACME, "cat", spec, role.stable)
    tables.roles.put((ACME.name, "cat"), made)
    return made


async def test_a_session_of_seconds_leaves_nothing_and_its_neighbour_everything(tmp_path: Path) -> None:
    with running() as redis:
        store = Brief.connect(redis.url)
        archive = Archive(Past(store.shortened, ObjectSegments.connect(f"file://{tmp_path}")))
        await begun(store, archive, {"brief": KEEP, "long": 600})
        tables = world(ACME)
        role_kept_for(tables, KEEP)
        sweeper = Sweeper(tables, store, archive, now_ms, chance=lambda: 0.0)

        async def swept() -> bool:
            await sweeper.tick(now_ms() + MARGIN_MS)
            return not segments(tmp_path, "brief")

        async def gone() -> bool:
            return await store.head(ANNE.key("brief")) is None

        await until(gone)
        await sweeper.page(Sweep(role_kept_for(tables, KEEP)), now_ms())
        assert segments(tmp_path, "brief") == 1, "what is left waits for its margin"
        await until(swept)
        assert [row.session_id for row in await store.rows(ACME.uid, "cat", None, None, 9)] == ["long"]
        assert await store.head(ANNE.key("long")) is not None
        assert segments(tmp_path, "long") == 1
        fresh, records = await store.open(ANNE.key("brief"))
        assert (fresh.turn, fresh.epoch, records) == (0, 1, [])
        names: list[bytes] = [name for names in await store._redis.everywhere("KEYS", "*") for name in names]
        assert all([await store._redis.run("TTL", name, key=name) > 0 for name in names])
        await store.close()


async def test_a_redis_that_lost_its_sessions_and_not_its_list_costs_no_segment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running() as redis:
        store = RedisSessionStore.connect(redis.url)
        archive = Archive(Past(store.shortened, ObjectSegments.connect(f"file://{tmp_path}")))
        lost = [f"lost-{number}" for number in range(5)]
        await begun(store, archive, dict.fromkeys([*lost, "lives"], 600_000))
        for sid in lost:
            assert await store._redis.run("UNLINK", keys.head(ANNE.key(sid)), key=keys.head(ANNE.key(sid)).encode())
        registry, tables = CollectorRegistry(), world(ACME)
        role_kept_for(tables, 3_600)  # shortened since: what was promised counts
        sweeper = Sweeper(tables, store, archive, now_ms, PrometheusRetentionSink(registry), chance=lambda: 0.0)
        caplog.clear()
        for hours in (0, 2, 72):
            await sweeper.page(Sweep(role_kept_for(tables, 3_600)), now_ms() + 3_600_000 * hours)
        assert [segments(tmp_path, sid) for sid in [*lost, "lives"]] == [1] * 6
        assert len(await store.rows(ACME.uid, "cat", None, None, 9)) == 6
        assert registry.get_sample_value("rolehost_retention_missing_sessions_total") == 15
        assert registry.get_sample_value("rolehost_retention_sessions_total") == 0
        said = [record.message for record in caplog.records if record.levelname == "ERROR"]
        assert [message.split(",")[0] for message in said] == [
            f"5 sessions of Role {ACME.name}/cat are on its list and not in Redis"
        ] * 3
        assert "lost-" not in caplog.text
        await sweeper.page(Sweep(role_kept_for(tables, 3_600)), now_ms() + 1000 * 600_000 + MARGIN_MS)
        assert [segments(tmp_path, sid) for sid in [*lost, "lives"]] == [0] * 5 + [1], "their time is over, too"
        await store.close()
