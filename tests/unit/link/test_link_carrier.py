"""Bundles are fetched once for all that wait for them, and let go when the last one has it."""

import asyncio
import gc

import pytest
from tests.support.rooms import ACME, EVIL

from rolehost_api.errors import NotFound, Unavailable
from rolehost_runtime.gateway.link.budget import Budget
from rolehost_runtime.gateway.link.carrier import Carrier
from rolehost_runtime.gateway.tables import Tenant


class Archive(bytes):
    """Bytes that say when they are let go of."""

    gone: list[bytes]

    def __del__(self) -> None:
        self.gone.append(bytes(self))


class Shop:
    """Implements ports.Bundles: hands out when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.open = asyncio.Event()
        self.gone: list[bytes] = []
        self.cancelled = 0

    async def fetch(self, tenant: Tenant, digest: str) -> bytes:
        self.asked.append((tenant.uid, digest))
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if digest == "none":
            raise NotFound("nobody pushed it", code="bundle_not_found")
        archive = Archive(f"{tenant.uid}/{digest}".encode())
        archive.gone = self.gone
        return archive


class Stand:
    def __init__(self, budget: Budget | None = None) -> None:
        self.shop = Shop()
        self.carrier = Carrier(self.shop, budget)
        self.go = asyncio.Event()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent: list[bytes] = []

    def send(self, tenant: Tenant, digest: str) -> "asyncio.Task[None]":
        async def transfer() -> None:
            async with self.carrier.bundle(tenant, digest, self.lost) as archive:
                self.sent.append(bytes(archive))
                await self.go.wait()

        return asyncio.create_task(transfer())


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_one_fetch_serves_all_pods_of_a_bundle_and_its_bytes_go_with_the_last() -> None:
    stand = Stand()
    tasks = [stand.send(ACME, "1") for _ in range(5)]
    await settled()
    stand.shop.open.set()
    await settled()
    assert (stand.shop.asked, stand.sent) == ([("uid-acme", "1")], [b"uid-acme/1"] * 5)
    stand.go.set()
    assert stand.shop.gone == []
    await asyncio.gather(*tasks)
    gc.collect()
    assert stand.shop.gone == [b"uid-acme/1"]


async def test_what_one_tenant_pushed_is_fetched_for_nobody_else() -> None:
    stand = Stand()
    tasks = [stand.send(tenant, "1") for tenant in (ACME, EVIL)]
    stand.shop.open.set()
    stand.go.set()
    await asyncio.gather(*tasks)
    assert sorted(stand.sent) == [b"uid-acme/1", b"uid-evil/1"]


async def test_a_bundle_that_is_not_there_fails_all_that_wait_for_it_and_nobody_else() -> None:
    stand = Stand()
    missing, there = [stand.send(ACME, "none") for _ in range(3)], stand.send(ACME, "1")
    stand.shop.open.set()
    stand.go.set()
    outcomes = await asyncio.gather(*missing, there, return_exceptions=True)
    assert [getattr(outcome, "code", None) for outcome in outcomes] == ["bundle_not_found"] * 3 + [None]


async def test_who_waits_in_line_for_a_pod_that_is_gone_leaves_the_line() -> None:
    stand = Stand(Budget(transfers=1))
    stand.shop.open.set()
    first, second = stand.send(ACME, "1"), stand.send(ACME, "2")
    await settled()
    assert stand.carrier.congested
    stand.lost.set_result(None)
    with pytest.raises(Unavailable) as raised:
        await second
    assert raised.value.code == "pod_lost"
    assert not stand.carrier.congested
    stand.go.set()
    await first


async def test_a_fetch_that_nobody_waits_for_any_more_is_given_up() -> None:
    stand = Stand(Budget(transfers=1))
    first, second = stand.send(ACME, "1"), stand.send(EVIL, "2")
    await settled()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await settled()
    assert (stand.shop.cancelled, stand.shop.asked) == (1, [("uid-acme", "1"), ("uid-evil", "2")])
    stand.shop.open.set()
    stand.go.set()
    await second


async def test_a_fetch_that_takes_too_long_is_no_fault_of_the_logic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolehost_runtime.gateway.link.carrier.FETCH_SECONDS", 0)
    with pytest.raises(Unavailable) as raised:
        await Stand().send(ACME, "1")
    assert raised.value.code == "upload_unavailable"
