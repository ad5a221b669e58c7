"""timers.TimerStore: one suite for Redis and for its fake; and what a turn without a message does to how long things last."""

from collections.abc import AsyncIterator

import pytest

from rolehost_api.errors import Overloaded
from rolehost_api.link.messages import PatchOp
from rolehost_runtime.core.occasions import Occasion
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.broker.state import keys
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore, Shelf
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.kept import Row, Whose
from rolehost_runtime.gateway.ports import SessionStore
from rolehost_runtime.gateway.timers import Due

NIGHT = Occasion("every:night", 5)


@pytest.fixture(params=["server", "sentinels", "cluster", "memory"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[SessionStore]:
    if request.param == "memory":
        yield MemorySessionStore(Shelf())
        return
    url: str = request.getfixturevalue(request.param).url
    redis = RedisSessionStore.connect(url if request.param == "server" else f"{url}?replicas=1")
    yield redis
    await redis.close()


@pytest.fixture
def anne(request: pytest.FixtureRequest) -> Whose:
    """Somebody with a Role of each test's own: the servers are shared."""
    return Whose("uid-acme", request.node.name[:60].replace("[", "-").rstrip("]"), "anne")


async def due(store: SessionStore, whose: Whose, now_ms: int, count: int = 10) -> list[tuple[str, int]]:
    return [
        (one.row.session_id, one.at_ms) for one in await store.due_timers(whose.tenant_uid, whose.role, now_ms, count)
    ]


async def test_what_is_due_comes_first_that_waited_longest(store: SessionStore, anne: Whose) -> None:
    for sid, at_ms in (("late", 30), ("early", 10), ("not yet", 99)):
        assert await store.set_timers(anne, sid, b"", b"body", at_ms)
    assert await due(store, anne, 30) == [("early", 10), ("late", 30)]
    assert await due(store, anne, 30, 1) == [("early", 10)]
    assert await store.timers(anne, "late") == b"body"
    assert await store.timers(anne, "nobody") == b""


async def test_a_schedule_takes_the_place_of_the_one_that_is_expected(store: SessionStore, anne: Whose) -> None:
    assert await store.set_timers(anne, "abc", b"", b"one", 10)
    assert not await store.set_timers(anne, "abc", b"", b"two", 20)
    assert await store.set_timers(anne, "abc", b"one", b"two", 20)
    assert await store.set_timers(anne, "abc", b"one", b"two", 25), "said again"
    assert await due(store, anne, 99) == [("abc", 25)]
    assert not await store.set_timers(anne, "abc", b"one", b"", None)
    assert await store.set_timers(anne, "abc", b"two", b"", None)
    assert (await due(store, anne, 99), await store.timers(anne, "abc")) == ([], b"")


async def test_one_claims_it(store: SessionStore, anne: Whose) -> None:
    await store.set_timers(anne, "abc", b"", b"body", 10)
    found = Due(Row(anne.user, "abc", 0), 10)
    assert await store.claim_timers(anne, found, 70)
    assert not await store.claim_timers(anne, found, 70)
    assert (await due(store, anne, 69), await due(store, anne, 70)) == ([], [("abc", 70)])
    assert not await store.claim_timers(anne, Due(Row(anne.user, "gone", 0), 10), 70)


async def test_there_is_room_for_so_many(store: SessionStore, anne: Whose) -> None:
    await store.set_timers(anne, "one", b"", b"body", 10, 1)
    with pytest.raises(Overloaded) as full:
        await store.set_timers(anne, "two", b"", b"body", 10, 1)
    assert full.value.code == "too_many_timers"
    assert await store.set_timers(anne, "one", b"body", b"other", 20, 1), "it is there already"


async def test_what_leaves_the_register_has_none(store: SessionStore, anne: Whose) -> None:
    for sid in ("abc", "xyz"):
        await store.enlist(anne, sid, 1)
        await store.set_timers(anne, sid, b"", b"body", 10)
    await store.delist(anne, "abc")
    assert await due(store, anne, 99) == [("xyz", 10)]
    assert await store.timers(anne, "abc") == b""
    assert (await store.drop_timers(anne, "xyz"), await store.drop_timers(anne, "xyz")) == (True, False)


async def test_roles_with_timers_are_known(store: SessionStore, anne: Whose) -> None:
    await store.note_timed(anne.tenant_uid, anne.role, 7)
    await store.note_timed(anne.tenant_uid, anne.role, 9)
    assert (await store.timed_roles())[anne.tenant_uid, anne.role] == 9


async def spoken(store: SessionStore, key: str, occasion: Occasion | None, at_ms: int, keep_seconds: int) -> None:
    head, _ = await store.open(key)
    record = TurnRecord(
        log_id=head.log_id, epoch=head.epoch, turn=head.turn + 1, seq_first=head.seq + 1, seq_count=2,
        version=head.version + 1, now_ms=at_ms, at_ms=at_ms, revision="cat-1", response_id=f"r{head.turn}", input="",
        reply="Good night.", patch=(PatchOp("incr", "/nights", 1),), occasion=occasion,
    )  # fmt: skip
    await store.commit(key, record, keep_seconds)


async def test_a_turn_without_a_message_says_nothing_of_when_somebody_spoke(store: SessionStore, anne: Whose) -> None:
    key = anne.key("abc")
    await spoken(store, key, None, 1_000, 3_600)
    await spoken(store, key, NIGHT, 2_000, 3_600)
    head = await store.head(key)
    assert head is not None
    assert (head.turn, head.seq, head.version, head.last_at_ms) == (2, 4, 2, 1_000)
    (_, second) = await store.read(key)
    assert isinstance(second, TurnRecord)
    assert second.occasion == NIGHT


async def test_and_keeps_nothing_longer(request: pytest.FixtureRequest, anne: Whose) -> None:
    store = RedisSessionStore.connect(request.getfixturevalue("server").url)
    try:
        key = anne.key("abc")
        await spoken(store, key, None, 1_000, 100)
        await spoken(store, key, NIGHT, 2_000, 90_000)
        lefts = [await store._redis.run("TTL", name(key), key=name(key).encode()) for name in (keys.head, keys.wal)]
        assert all(0 < left <= 160 for left in lefts), lefts
    finally:
        await store.close()
