"""The last good tables: what is kept, what is served from them, and what is refused."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.crd.revision import RevisionSpec
from rolehost_api.crd.role import Persona, RoleSpec, RoleTemplate
from rolehost_api.crd.rollout import Arm, SessionPolicy, Share
from rolehost_runtime.core.assignment import Traffic
from rolehost_runtime.core.departing import Departing
from rolehost_runtime.core.warming import Warming
from rolehost_runtime.gateway.broker.state.memory_tables import MemoryLastGood
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.ports import OUTLIVED_MS, Place
from rolehost_runtime.gateway.tables import (
    KINDS,
    GatewayEntry,
    KeyEntry,
    PodEntry,
    RevisionEntry,
    RoleEntry,
    Scope,
    Tables,
    Tenant,
)
from rolehost_runtime.gateway.watch import rows
from rolehost_runtime.gateway.watch.lastgood import CONFIRM_MS, LastGood, worth

NOW = 1_730_000_000_000
ACME = Tenant("acme", "uid-1")
PLATFORM = Ed25519PrivateKey.generate()
TEMPLATE = RoleTemplate(persona=Persona(system="You are a cat. " * 2_000))
HASH = "a" * 64


def filled() -> Tables:
    tables = Tables()
    spec = RevisionSpec(role_name="cat", sequence=1, hash_version=1, hash=HASH, template=TEMPLATE)
    tables.tenants.replace_all({("acme",): ACME})
    tables.images.replace_all({("registry/sandbox:1",): "registry/sandbox:1"})
    tables.roles.replace_all(
        {
            ("acme", "cat"): RoleEntry(
                ACME,
                "cat",
                RoleSpec(template=TEMPLATE),
                "cat-1",
                follow=True,
                warming=Warming("cat-7", ("cat-2",)),
                traffic=Traffic("cat-7", 3, (Share(revision="cat-2", percent=5, tag="canary", arm=Arm.CANDIDATE),)),
                leaving=(Departing("cat-0", SessionPolicy.DRAIN, "promotion", NOW + 60_000),),
                quarantined=("cat-bad",),
            )
        }
    )
    tables.revisions.replace_all({("acme", "cat-1"): RevisionEntry(ACME, "cat-1", spec)})
    tables.pods.replace_all(
        {(f"p{n}",): PodEntry(ACME, f"p{n}", f"cat-{n}", "cat", "cat-1", f"10.0.0.{n}:7420") for n in range(300)}
    )
    tables.backends.replace_all({("default",): msgspec.convert({"type": "Scripted"}, BackendSpec)})
    tables.gateways.replace_all({("g-1",): GatewayEntry("g-1", "10.0.1.1:8083")})
    tables.keys.replace_all({(HASH,): KeyEntry("k1", HASH, ACME, frozenset({Scope.CHAT, Scope.PUSH}))})
    return tables


class Clock:
    def __init__(self) -> None:
        self.ms = NOW

    def __call__(self) -> int:
        return self.ms


class House:
    """One gateway's tables over a store that others share."""

    def __init__(self, tables: Tables, kept: dict[str, tuple[Place, bytes]], key: Ed25519PrivateKey = PLATFORM) -> None:
        self.tables, self.clock, self.metrics = tables, Clock(), Metrics()
        self.store = MemoryLastGood(kept)
        self.number = 5
        self.last_good = LastGood(
            tables, self.store, self.places, key, key.public_key(), self.metrics, self.clock, pause=self.pause
        )
        self.pauses: list[float] = []
        self.then: list[Any] = []

    def places(self, now_ms: int) -> Mapping[str, Place]:
        return {kind: Place(self.number, 5, now_ms) for kind in KINDS}

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if not self.then:
            raise asyncio.CancelledError
        self.then.pop(0)()

    async def run(self, *then: Any) -> None:
        """Until the pauses, and what happens in each, are used up."""
        self.then = list(then)
        with pytest.raises(asyncio.CancelledError):
            await self.last_good.run()

    def counted(self, outcome: str) -> float:
        return float(self.metrics.tables_kept.labels(outcome)._value.get())


def nothing() -> None:
    """Time passes."""


def everything(tables: Tables) -> dict[str, tuple[Any, ...]]:
    return {kind: table.items() for kind, table in tables.named().items()}


async def test_a_gateway_that_starts_blind_serves_what_another_kept() -> None:
    seeing = House(filled(), {})
    await seeing.run(nothing, nothing)
    blind = House(Tables(), seeing.store.kept)
    await blind.run(nothing, nothing)
    assert everything(blind.tables) == everything(seeing.tables)
    assert (blind.tables.filled, blind.tables.stale) == (True, True)
    assert blind.metrics.registry.get_sample_value("rolehost_tables_stale") == 1.0
    assert seeing.metrics.registry.get_sample_value("rolehost_tables_stale") == 0.0


async def test_a_listing_replaces_all_that_was_assumed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    seeing = House(filled(), {})
    await seeing.run(nothing, nothing)
    blind, told = House(Tables(), seeing.store.kept), list[tuple[str, ...]]()

    def listed() -> None:
        blind.tables.keys.listen(told.append)
        for table in blind.tables.named().values():
            table.replace_all({})

    await blind.run(nothing, nothing, listed, nothing)
    assert told == [(HASH,)]  # whoever held it open is told: a revoked key ends its sockets
    assert not blind.tables.stale
    assert [*blind.tables.pods.values(), *blind.tables.keys.values()] == []
    assert "serving from the last good tables, 0 s old" in caplog.text
    assert "the tables are true again" in caplog.text


async def test_a_gateway_that_sees_assumes_nothing() -> None:
    kept: dict[str, tuple[Place, bytes]] = {}
    await House(filled(), kept).run(nothing, nothing)
    mine = Tables()
    for table in mine.named().values():
        table.replace_all({})
    await House(mine, kept).run(nothing, nothing)
    assert (list(mine.pods.values()), mine.stale) == ([], False)


async def test_what_was_listed_stays_and_only_the_rest_is_assumed() -> None:
    seeing = House(filled(), {})
    await seeing.run(nothing, nothing)
    half = Tables()
    half.keys.replace_all({})
    blind = House(half, seeing.store.kept)
    await blind.last_good.assume()
    assert (list(half.keys.values()), half.keys.stale) == ([], False)
    assert half.roles.get("acme", "cat") is not None


async def test_a_blind_gateway_keeps_nothing() -> None:
    seeing = House(filled(), {})
    await seeing.run(nothing, nothing)
    before = dict(seeing.store.kept)
    blind = House(Tables(), seeing.store.kept)
    await blind.last_good.assume()
    blind.number = 99
    blind.tables.pods.drop(("p1",))
    await blind.last_good.keep()
    assert seeing.store.kept == before


async def test_only_what_changed_is_kept_again() -> None:
    house = House(filled(), {})
    await house.last_good.keep()
    assert house.counted("kept") == len(KINDS)
    house.number = 6
    await house.last_good.keep()
    assert house.counted("kept") == len(KINDS)
    house.tables.pods.drop(("p1",))
    await house.last_good.keep()
    assert house.counted("kept") == len(KINDS) + 1
    assert house.store.kept["pods"][0].own == 6
    house.clock.ms += CONFIRM_MS
    await house.last_good.keep()
    assert house.counted("kept") == 2 * len(KINDS) + 1


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        pytest.param(lambda kept: kept.pop("keys"), "nothing was kept of keys", id="half-a-picture"),
        pytest.param(lambda kept: _bytes(kept, b"x" * 200), "not signed", id="bytes-of-somebody"),
        pytest.param(lambda kept: _bytes(kept, b""), "not signed", id="no-bytes"),
        pytest.param(lambda kept: kept.update(roles=kept["pods"]), "not signed", id="one-kind-in-anothers-place"),
        pytest.param(lambda kept: _place(kept, own=99), "not signed", id="a-number-raised"),
        pytest.param(lambda kept: _place(kept, as_of_ms=NOW + 1), "not signed", id="a-date-put-forward"),
        pytest.param(lambda kept: _unreadable(kept), "pods cannot be read", id="rows-of-another-shape"),
    ],
)
async def test_what_is_not_whole_and_signed_is_not_used(spoil: Any, why: str, caplog: pytest.LogCaptureFixture) -> None:
    seeing = House(filled(), {})
    await seeing.run(nothing, nothing)
    spoil(seeing.store.kept)
    blind = House(Tables(), seeing.store.kept)
    await blind.run(nothing, nothing, nothing)
    assert not blind.tables.filled
    assert not any(table.items() for table in blind.tables.named().values())
    assert caplog.text.count(why) == 1  # said once, tried again


def _bytes(kept: dict[str, tuple[Place, bytes]], body: bytes) -> None:
    kept["pods"] = (kept["pods"][0], body)


def _place(kept: dict[str, tuple[Place, bytes]], **changes: int) -> None:
    place, body = kept["pods"]
    values = {"own": place.own, "tenants": place.tenants, "as_of_ms": place.as_of_ms} | changes
    kept["pods"] = (Place(**values), body)


def _unreadable(kept: dict[str, tuple[Place, bytes]]) -> None:
    place = kept["pods"][0]
    kept["pods"] = (place, rows.sealed("pods", place, [msgspec.msgpack.encode([[["p"], {"odd": 1}]])], PLATFORM))


async def test_another_platforms_rows_are_not_used() -> None:
    seeing = House(filled(), {}, Ed25519PrivateKey.generate())
    await seeing.run(nothing, nothing)
    blind = House(Tables(), seeing.store.kept)
    await blind.run(nothing, nothing)
    assert not blind.tables.filled


async def test_past_a_day_it_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    seeing = House(filled(), {})
    await seeing.run(nothing, nothing)
    blind = House(Tables(), seeing.store.kept)
    blind.clock.ms += 86_400_001
    await blind.run(nothing, nothing)
    assert not blind.tables.filled
    assert "older than a day" in caplog.text


async def test_rows_past_the_bound_are_not_kept_and_hold_up_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_PLAIN_BYTES", 20_000)
    house = House(filled(), {})
    await house.last_good.keep()
    assert (house.counted("too_large"), sorted(house.store.kept)) == (
        3,
        ["backends", "gateways", "images", "keys", "tenants"],
    )
    await house.last_good.keep()
    assert house.counted("too_large") == 3  # not tried again before they change
    house.tables.pods.drop(("p1",))
    await house.last_good.keep()
    assert house.counted("too_large") == 4


async def test_a_store_that_is_away_loses_no_change() -> None:
    house = House(filled(), {})
    await house.last_good.keep()
    house.number = 6
    house.tables.pods.drop(("p1",))
    keep = house.store.keep

    async def away(kind: str, place: Place, body: bytes) -> bool:
        raise rows.Unreadable("away")

    house.store.keep = away  # type: ignore[method-assign]
    await house.last_good.keep()
    assert house.counted("failed") == 1
    house.store.keep = keep  # type: ignore[method-assign]
    await house.last_good.keep()
    assert house.store.kept["pods"][0].own == 6


def test_a_bomb_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(1, 1, NOW)
    body = rows.sealed("pods", place, [b"\0" * 1_000_000], PLATFORM)
    monkeypatch.setattr(rows, "MOST_PLAIN_BYTES", 100_000)
    with pytest.raises(rows.Unreadable):
        rows.opened("pods", place, body, PLATFORM.public_key())


def test_a_signature_covers_every_byte() -> None:
    place = Place(1, 1, NOW)
    body = rows.sealed("pods", place, [b"abc"], PLATFORM)
    for index in range(len(body)):
        changed = body[:index] + bytes([body[index] ^ 1]) + body[index + 1 :]
        with pytest.raises(InvalidSignature):
            rows.opened("pods", place, changed, PLATFORM.public_key())


NUMBER = st.integers(0, 3)
PLACE = st.builds(Place, NUMBER, NUMBER, st.integers(0, 3).map(lambda step: step * OUTLIVED_MS // 3))


@given(st.lists(PLACE, max_size=12))
async def test_whatever_gateways_keep_in_whatever_order_numbers_go_back_only_after_a_long_time(
    places: list[Place],
) -> None:
    store = MemoryLastGood()
    before: Place | None = None
    for place in places:
        await store.keep("pods", place, b"")
        now = (await store.places())["pods"]
        if before is not None and now.older_than(before):
            assert now.as_of_ms - before.as_of_ms >= OUTLIVED_MS
        before = now


@given(PLACE, PLACE, st.booleans())
async def test_nobody_works_for_what_would_be_refused(mine: Place, there: Place, changed: bool) -> None:
    store = MemoryLastGood({"pods": (there, b"")})
    if worth(mine, there, changed=changed):
        assert await store.keep("pods", mine, b"")
