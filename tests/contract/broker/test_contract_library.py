"""kept.Library: one suite for Redis and for its fake: the register, copied logs, forgetting."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
from msgspec.structs import replace

from rolehost_api.errors import Conflict, Overloaded
from rolehost_api.link.messages import PatchOp
from rolehost_api.wire import ForkedFrom, HeardPart
from rolehost_runtime.core.lapse import Active
from rolehost_runtime.core.record import Amend, Record, TurnRecord, last_seq
from rolehost_runtime.core.session import OpenTurn
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore, Shelf
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.kept import Beginning, Row, Whose
from rolehost_runtime.gateway.ports import Head, SessionStore

ANNE, BO, TENANT = Whose("uid-acme", "cat", "anne"), Whose("uid-acme", "cat", "bo"), Whose("uid-acme", "cat")


class Stores(Protocol):
    """Makes gateways' stores over one and the same Redis, or shelf."""

    def __call__(self, owner: str = "") -> SessionStore: ...


@pytest.fixture(params=["server", "sentinels", "cluster", "memory"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    if request.param == "memory":
        shelf = Shelf()
        yield lambda owner="": MemorySessionStore(shelf, owner)
        return
    url: str = request.getfixturevalue(request.param).url
    made: list[RedisSessionStore] = []

    def make(owner: str = "") -> SessionStore:
        made.append(RedisSessionStore.connect(url if request.param == "server" else f"{url}?replicas=1", owner=owner))
        return made[-1]

    yield make
    await made[0]._redis.everywhere("FLUSHALL")
    for store in made:
        await store.close()


def turn(head: Head, number: int, seq: int) -> TurnRecord:
    return TurnRecord(
        log_id=head.log_id, epoch=head.epoch, turn=number, seq_first=seq, seq_count=2, version=number,
        now_ms=number, at_ms=number, revision="cat-1", response_id=f"r{number}", input="你好", reply="Miau.",
        patch=(PatchOp("incr", "/turns", 1),),
    )  # fmt: skip


async def talk(store: SessionStore, key: str = "k", turns: int = 3) -> tuple[Head, list[Record]]:
    """A session of so many turns; the second is amended."""
    head, _ = await store.open(key)
    records: list[Record] = []
    for number in range(1, turns + 1):
        records.append(turn(head, number, last_seq(records[-1]) + 1 if records else 1))
        if number == 2:
            records.append(
                Amend(
                    log_id=head.log_id, epoch=head.epoch, turn=2, number=1, seq_first=5, at_ms=2,
                    response_id="r2", reply="M", heard=HeardPart(chars=1),
                )
            )  # fmt: skip
    for record in records:
        await store.commit(key, record)
    return head, records


# ── the register ────────────────────────────────────────────────────────────────────


async def test_rows_come_newest_first_of_one_user_of_the_tenant_or_of_all(stores: Stores) -> None:
    store = stores()
    for at, (whose, sid) in enumerate([(ANNE, "a1"), (TENANT, "t1"), (BO, "b1"), (ANNE, "a2")], 1):
        await store.enlist(whose, sid, at)
    assert await store.rows("uid-acme", "cat", "anne", None, 9) == [Row("anne", "a2", 4), Row("anne", "a1", 1)]
    assert await store.rows("uid-acme", "cat", "", None, 9) == [Row("", "t1", 2)]
    everybody = await store.rows("uid-acme", "cat", None, None, 9)
    assert [row.session_id for row in everybody] == ["a2", "b1", "t1", "a1"]
    for other in (("uid-evil", "cat"), ("uid-acme", "dog")):
        assert await store.rows(*other, None, None, 9) == []


async def test_pages_neither_skip_nor_repeat_also_where_all_began_at_once(stores: Stores) -> None:
    store = stores()
    names = [f"s{number:02}" for number in range(25)]
    await asyncio.gather(*(store.enlist(ANNE, name, 7) for name in names))
    await store.enlist(ANNE, "newest", 9)
    found: list[str] = []
    after: Row | None = None
    while page := await store.rows("uid-acme", "cat", "anne", after, 4):
        found += [row.session_id for row in page]
        after = page[-1]
    assert found == ["newest", *reversed(names)]


async def test_a_row_is_made_once_and_keeps_its_place(stores: Stores) -> None:
    store = stores()
    await store.enlist(ANNE, "a", 1)
    await store.enlist(ANNE, "b", 2)
    await store.enlist(ANNE, "a", 3)
    rows = [Row("anne", "b", 2), Row("anne", "a", 1)]
    assert (
        await store.rows("uid-acme", "cat", "anne", None, 9)
        == rows
        == await store.rows("uid-acme", "cat", None, None, 9)
    )
    await store.delist(ANNE, "a")
    await store.delist(ANNE, "a")
    assert await store.rows("uid-acme", "cat", None, None, 9) == [Row("anne", "b", 2)]


async def test_the_register_knows_who_was_active_when(stores: Stores) -> None:
    store = stores()
    place, rows = ("uid-acme", "cat"), [Row("anne", "a", 1), Row("bo", "b", 2), Row("", "t", 3)]
    assert (await store.activity(*place, []), await store.activity(*place, rows)) == ([], [None] * 3)
    await store.enlist(ANNE, "a", 1, Active(5, 3_600))
    await store.enlist(BO, "b", 2)
    assert await store.activity(*place, rows) == [Active(5, 3_600), None, None]
    await store.enlist(BO, "b", 2, Active(7, 60))
    await store.enlist(ANNE, "a", 9)
    assert await store.activity(*place, rows[::-1]) == [None, Active(7, 60), Active(5, 3_600)]
    await store.enlist(ANNE, "a", 1, Active(6, 60))
    await store.enlist(ANNE, "a", 1, Active(5, 9_999))
    assert await store.activity(*place, rows[:1]) == [Active(6, 60)], "of what was said the latest counts"
    await store.enlist(ANNE, "a", 1, Active(8, 9_999), promised=False)
    await store.enlist(TENANT, "t", 3, Active(3, 600), promised=False)
    assert await store.activity(*place, rows) == [Active(8, 60), Active(7, 60), Active(3, 600)]
    await store.delist(ANNE, "a")
    assert await store.activity(*place, rows) == [None, Active(7, 60), Active(3, 600)]


async def test_a_sample_is_of_the_rows_that_there_are(stores: Stores) -> None:
    store, place = stores(), ("uid-acme", "cat")
    assert await store.sample(*place, 9) == (0, ())
    for number in range(20):
        await store.enlist((ANNE, BO, TENANT)[number % 3], f"s{number}", number)
    assert (await store.sample(*place, 0)) == (20, ())
    names = {(row.user, row.session_id) for row in await store.rows(*place, None, None, 99)}
    found: set[tuple[str, str]] = set()
    for _ in range(200):
        many, rows = await store.sample(*place, 5)
        picked = {(row.user, row.session_id) for row in rows}
        assert (many, len(rows), len(picked)) == (20, 5, 5)
        found |= picked
        if found == names:
            break
    assert found == names, "anybody may be among them"
    many, rows = await store.sample(*place, 99)
    assert (many, len(rows)) == (20, 20)


async def test_a_full_list_refuses_and_lets_go_of_nobody(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("redis_library", "memory_library"):
        monkeypatch.setattr(f"rolehost_runtime.gateway.broker.state.{module}.MAX_OF_USER", 2)
    store = stores()
    store.most_kept = 4  # type: ignore[attr-defined]
    await store.enlist(ANNE, "a1", 1)
    await store.enlist(ANNE, "a2", 2)
    with pytest.raises(Overloaded) as raised:
        await store.enlist(ANNE, "a3", 3)
    assert (raised.value.code, raised.value.retryable) == ("too_many_kept", False)
    await store.enlist(ANNE, "a2", 3)
    for number in range(2):
        await store.enlist(TENANT, f"t{number}", 10 + number)
    for whose in (TENANT, BO):
        with pytest.raises(Overloaded) as raised:
            await store.enlist(whose, "one-more", 20, Active(20, 60))
        assert (raised.value.code, raised.value.retryable) == ("tenant_sessions_full", False)
    await store.enlist(TENANT, "t0", 30, Active(30, 60))
    await store.enlist(Whose("uid-acme", "dog"), "another-role", 1)
    everybody = await store.rows("uid-acme", "cat", None, None, 9)
    assert [row.session_id for row in everybody] == ["t1", "t0", "a2", "a1"]
    await store.delist(ANNE, "a1")
    await store.enlist(TENANT, "one-more", 20)


# ── copied logs ─────────────────────────────────────────────────────────────────────


def beginning(head: Head, records: list[Record]) -> Beginning:
    return Beginning("fresh-log", head.epoch, 3, 7, 3, "cat-1", 3, 1, ForkedFrom("old", last_seq(records[-1])), 77)


async def test_a_copied_log_is_seen_whole_or_not_at_all(stores: Stores) -> None:
    store = stores()
    head, records = await talk(store)
    await store.draft("new", records[:2])
    await store.draft("new", records[:2])
    await store.draft("new", records[2:])
    assert await store.head("new") is None
    await store.found("new", beginning(head, records))
    await store.found("new", beginning(head, records))
    found = await store.head("new")
    assert found is not None
    assert (found.log_id, found.turn, found.seq, found.amends, found.origin) == (
        "fresh-log",
        3,
        7,
        1,
        ForkedFrom("old", 7),
    )
    taken, read = await store.open("new")
    assert (found.log_bytes, taken.log_bytes) == (77, 77)
    assert (read, taken.epoch, taken.origin) == (records, head.epoch + 1, ForkedFrom("old", 7))
    await store.commit("new", turn(taken, 4, 8))
    assert await store.read("k") == records
    assert await store.fence("new") is not None


async def test_a_session_that_is_there_takes_no_copy(stores: Stores) -> None:
    store = stores()
    head, records = await talk(store)
    with pytest.raises(Conflict):
        await store.draft("k", records)
    with pytest.raises(Conflict):
        await store.found("k", beginning(head, records))
    with pytest.raises(Conflict):
        await store.found("nothing-drafted", beginning(head, records))
    assert await store.read("k") == records


# ── forgetting ──────────────────────────────────────────────────────────────────────


async def test_what_is_forgotten_is_gone_and_its_id_begins_anew_in_a_higher_epoch(stores: Stores) -> None:
    store = stores()
    head, records = await talk(store)
    await store.note("k", head.log_id, head.epoch, 4, OpenTurn(4, "r4", "a secret", None, None, 1, 1, "cat-1"))
    gone = await store.forget("k", "receipt-1")
    assert gone is not None
    assert (gone.receipt, gone.counts) == ("receipt-1", {"records": len(records)})
    assert any(name.startswith(("rh:{k}", "k:")) for name in gone.names)
    assert await store.read("k") == []
    left = await store.head("k")
    assert left is not None
    assert (left.void, left.turn, left.seq, left.open) == (True, 0, 0, None)
    fresh, nothing = await store.open("k")
    assert (nothing, fresh.turn, fresh.epoch > head.epoch, fresh.log_id != head.log_id) == ([], 0, True, True)
    assert (fresh.void, fresh.forgotten > head.epoch) == (False, True)
    await store.commit("k", turn(fresh, 1, 1))
    assert len(await store.read("k")) == 1


async def test_a_late_owner_brings_nothing_back(stores: Stores) -> None:
    owner, other = stores("a/1"), stores("b/1")
    head, _ = await talk(owner)
    await other.forget("k", "receipt-1")
    for late in (turn(head, 4, 8), turn(head, 1, 1)):
        with pytest.raises(Conflict):
            await owner.commit("k", late)
    with pytest.raises(Conflict):
        await owner.rename("k", head)
    await owner.note("k", head.log_id, head.epoch, 4, OpenTurn(4, "r4", "a secret", None, None, 1, 1, "cat-1"))
    left = await owner.head("k")
    assert left is not None
    assert (left.open, await owner.read("k")) == (None, [])
    fence = await owner.fence("k")
    assert fence is not None
    assert (fence.ours, fence.epoch > head.epoch) == (False, True)


async def test_forgotten_again_it_is_the_same_receipt_until_something_new_was_said(stores: Stores) -> None:
    store = stores()
    assert await store.forget("k", "nothing") is None
    await talk(store)
    first = await store.forget("k", "receipt-1")
    assert await store.forget("k", "receipt-2") == first
    await store.open("k")
    assert await store.forget("k", "receipt-3") == first
    fresh, _ = await store.open("k")
    await store.commit("k", turn(fresh, 1, 1))
    again = await store.forget("k", "receipt-4")
    assert again is not None
    assert (again.receipt, again.counts) == ("receipt-4", {"records": 1})


async def test_a_copied_log_is_forgotten_with_its_origin(stores: Stores) -> None:
    store = stores()
    head, records = await talk(store)
    await store.draft("new", records)
    await store.found("new", beginning(head, records))
    await store.forget("new", "r")
    left = await store.head("new")
    assert left is not None
    assert left.origin is None


async def test_a_receipt_is_read_again(stores: Stores) -> None:
    store = stores()
    assert await store.receipt("r-1") is None
    await store.keep_receipt("r-1", b"what was deleted")
    assert await store.receipt("r-1") == b"what was deleted"


@pytest.mark.parametrize("stores", ["server", "cluster"], indirect=True)  # the fake has no clock
async def test_nothing_of_a_forgotten_session_stays_for_ever(stores: Stores) -> None:
    store = stores()
    assert isinstance(store, RedisSessionStore)
    _, records = await talk(store)
    await store.forget("k", "receipt-1")
    await store.keep_receipt("receipt-1", b"x")
    await store.draft("unfinished", records)
    names: list[bytes] = [name for names in await store._redis.everywhere("KEYS", "*") for name in names]
    lives = [await store._redis.run("TTL", name, key=name) for name in names]
    assert len(names) == 3
    assert all(0 < life <= 90 * 86_400 for life in lives), lives


async def test_what_a_persons_sessions_share_is_forgotten_with_what_was_overridden(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("u:s")
    for number in (1, 2):
        patch = (PatchOp("replace", "/n", number),)
        await store.commit("u:s", replace(turn(head, number, 2 * number - 1), version=0, patch=(), user_patch=patch))
    assert len(await store.compensations("u", 9)) == 1
    assert await store.forget_user("v") == 0
    assert await store.forget_user("u") == 2
    assert (await store.user("u", {}), await store.compensations("u", 9)) == ({}, [])
    assert await store.forget_user("u") == 0


async def test_one_is_the_first_to_name_a_unit_whichever_gateway_it_is(stores: Stores) -> None:
    one, other, unit = stores("a"), stores("b"), f"{'a' * 32}/1"
    assert await one.claim_unit(unit, 60)
    assert not await other.claim_unit(unit, 60)
    assert not await one.claim_unit(unit, 60)
    assert await other.claim_unit(f"{'a' * 32}/2", 60)
