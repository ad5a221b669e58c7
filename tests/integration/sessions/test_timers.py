"""Timers over a real Redis: who dies where, and what the log says then."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from tests.support.redis import RedisServer, running
from tests.support.timed import CAT, DAY, HOUR, MINUTE, NUDGE, SLACK, TICK, Timed, begun

from rolehost_api.errors import Unavailable
from rolehost_api.link.messages import TimerSpec
from rolehost_api.wire import Usage
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.core.timers import decode
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.gateway.sessions.timekeeping import CLAIM_MS

Make = Callable[..., Timed]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running() as redis:
        yield redis


class OverRedis(Timed):
    async def turns(self) -> list[TurnRecord]:
        return [one for one in await self.store.read(CAT.key("abc")) if isinstance(one, TurnRecord)]


@pytest.fixture
async def gateway(server: RedisServer) -> AsyncIterator[Make]:
    stores: list[RedisSessionStore] = []

    def make(*timers: TimerSpec, **more: Any) -> Timed:
        stores.append(RedisSessionStore.connect(server.url, owner=f"gw-{len(stores)}"))
        return OverRedis(*timers, store=stores[-1], **more)

    yield make
    if stores:
        await stores[0]._redis.everywhere("FLUSHALL")
    for store in stores:
        await store.close()


async def away(*_: Any, **__: Any) -> Any:
    raise Unavailable("this gateway is dead", code="state_unavailable")


async def test_killed_between_claim_and_commit_it_goes_off_again_and_is_once_in_the_log(
    gateway: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(NUDGE) as first:
        await begun(first)
        first.clock.now_ms += 10 * MINUTE + SLACK
        with monkeypatch.context() as patch:
            patch.setattr(first.store, "commit", away)
            patch.setattr(first.store, "set_timers", away)
            await first.look()
        assert await first.occasions() == []
    async with gateway(NUDGE) as second:
        second.clock.now_ms = first.clock.now_ms
        await second.look()
        assert second.outcomes == [], "it is claimed"
        await second.later(CLAIM_MS)
        assert await second.occasions() == ["on_idle:nudge"]
        await second.later(DAY)
        assert await second.occasions() == ["on_idle:nudge"]


async def test_killed_between_commit_and_the_next_schedule_it_is_once_in_the_log(
    gateway: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(TICK) as first:
        slow = first.slow_model()
        await begun(first)
        first.clock.now_ms += HOUR + SLACK
        with monkeypatch.context() as patch:
            patch.setattr(first.store, "set_timers", away)
            slow.pieces.put_nowait("Tick.")
            slow.pieces.put_nowait(ModelEnd("stop", Usage()))
            await first.look()
        assert await first.occasions() == ["every:tick"]
    async with gateway(TICK) as second:
        second.clock.now_ms = first.clock.now_ms + CLAIM_MS
        await second.look()
        assert second.outcomes == ["fired"]
        assert await second.occasions() == ["every:tick"]


async def test_two_gateways_that_believe_each_other_dead_commit_it_once(gateway: Make) -> None:
    async with gateway(NUDGE) as one, gateway(NUDGE) as two:
        await begun(one)
        for round_ in range(5):
            one.clock.now_ms = two.clock.now_ms = one.clock.now_ms + 10 * MINUTE + SLACK
            await asyncio.gather(*(house.keeper.tick() for house in (one, two, two, one)))
            await asyncio.gather(one.keeper.idle(), two.keeper.idle())
            for house in (one, two):
                await house.later(2 * CLAIM_MS)
            assert await one.occasions() == ["on_idle:nudge"], round_


async def test_after_days_without_a_gateway_it_is_made_up_for_once(gateway: Make) -> None:
    async with gateway(TICK) as first:
        await begun(first)
    async with gateway(TICK) as second:
        second.clock.now_ms = first.clock.now_ms + 3 * DAY
        for _ in range(4):
            await second.later(1_000)
        assert await second.occasions() == ["every:tick"]
        schedule = decode(await second.store.timers(CAT, "abc"))
        assert schedule is not None
        assert schedule.next_ms is not None
        assert 0 < schedule.next_ms - second.clock.now_ms <= HOUR


async def test_a_role_has_so_many_sessions_with_timers(gateway: Make) -> None:
    async with gateway(NUDGE, most_timed=1) as house:
        await begun(house, "one")
        await begun(house, "abc")
        (record,) = await house.turns()
        assert [(one.hook, one.code) for one in record.degraded] == [("timers", "too_many_timers")]
        assert await house.store.timers(CAT, "abc") == b""


async def test_what_is_forgotten_leaves_nothing(gateway: Make, server: RedisServer) -> None:
    async with gateway(NUDGE, TICK) as house:
        await begun(house)
        assert (await house.service.kept.forget(CAT, "abc")).deleted["timers"] == 1
        (names,) = await house.store._redis.everywhere("KEYS", "*")  # type: ignore[attr-defined]
        left = [name for name in names if name.endswith((b":due", b":timers"))]
        assert left == []
        await house.later(DAY)
        assert house.outcomes == []
