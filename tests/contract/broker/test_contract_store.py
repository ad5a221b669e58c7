"""ports.SessionStore: one suite for Redis and for its fake."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
from msgspec.structs import replace
from tests.support.merging import CASES, MAX_BYTES, Case

from rolehost_api.errors import Conflict
from rolehost_api.link.messages import Degraded, PatchOp
from rolehost_api.wire import HeardPart
from rolehost_runtime.core.merge import version_of, view_of
from rolehost_runtime.core.patch import InvalidPatch
from rolehost_runtime.core.record import Amend, CorruptRecord, JournalEntry, Record, TurnRecord, encode, event_count
from rolehost_runtime.core.rewind import Fence
from rolehost_runtime.core.session import OpenTurn
from rolehost_runtime.core.snapshot import Snapshot
from rolehost_runtime.core.snapshot import decode as decode_snapshot
from rolehost_runtime.core.snapshot import encode as encode_snapshot
from rolehost_runtime.gateway.broker.state import keys
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore, Shelf
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.broker.state.snapshots import MAX_COPIES, MAX_COPY_BYTES
from rolehost_runtime.gateway.ports import NEWEST_BYTES, RAISE_MS, Head, HeldElsewhere, Kept, SessionStore, Shared


class Stores(Protocol):
    """Makes gateways' stores over one and the same Redis, or shelf."""

    def __call__(self, owner: str = "") -> SessionStore: ...


@pytest.fixture(params=["server", "sentinels", "cluster", "memory"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    if request.param == "memory":
        shelf = Shelf(raise_ms=RAISE_MS)
        yield lambda owner="": MemorySessionStore(shelf, owner)
        return
    url: str = request.getfixturevalue(request.param).url
    if request.param != "server":
        url += "?replicas=1"
    made: list[RedisSessionStore] = []

    def make(owner: str = "") -> SessionStore:
        made.append(RedisSessionStore.connect(url, owner=owner))
        return made[-1]

    yield make
    await made[0]._redis.everywhere("FLUSHALL")
    for store in made:
        await store.close()


def after(head: Head, turn: int = 1, **changes: object) -> TurnRecord:
    """A record that fits right after `head`, with every field filled."""
    patch = (PatchOp("incr", "/dragons", 1), PatchOp("add", "/names", ["Smaug", {"a": None, "b": 1.5}]))
    record = TurnRecord(
        log_id=head.log_id,
        epoch=head.epoch,
        turn=turn,
        seq_first=head.seq + 1,
        seq_count=event_count(patch),
        version=head.version + 1,
        now_ms=1_730_000_000_000 + turn,
        at_ms=1_730_000_000_000 + turn,
        revision="cat-1",
        response_id=f"r{turn}",
        input="讲一个关于龙的短故事\x00",
        reply="从前，有一条龙……",
        client_msg_id=f"c{turn}",
        user="u-17",
        patch=patch,
        degraded=(Degraded("answer", "hook_deadline", "story.py:3"),),
        journal=(JournalEntry(index=0, kind="call_model", outcome="x"),),
        rng_seed=7,
    )
    return replace(record, **changes)


async def test_a_session_that_never_was_is_empty(stores: Stores) -> None:
    store = stores()
    assert await store.read("k") == []
    head, records = await store.open("k")
    assert (head.epoch, head.turn, head.seq, head.version, head.revision, records) == (1, 0, 0, 0, "", [])
    assert head.log_id


async def test_what_was_committed_is_read_back_whole(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("k")
    record = after(head)
    await store.commit("k", record)
    assert await store.read("k") == [record]
    again, records = await store.open("k")
    assert records == [record]
    assert (again.log_id, again.epoch, again.turn, again.seq) == (head.log_id, 2, 1, 2)
    assert (again.version, again.revision, again.last_at_ms) == (1, "cat-1", record.at_ms)


async def test_many_turns_keep_their_order(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("k")
    for turn in range(1, 601):
        await store.commit("k", after(head, turn, seq_first=2 * turn - 1))
    assert [record.turn for record in await store.read("k")] == list(range(1, 601))


async def test_a_log_is_read_by_the_page_from_any_turn_on(stores: Stores) -> None:
    store = stores()
    assert (await store.page("k", (1, 0), 3), await store.head("k")) == ([], None)
    head, _ = await store.open("k")
    assert await store.head("k") == head
    records = [after(head, turn, seq_first=2 * turn - 1) for turn in range(1, 6)]
    for record in records:
        await store.commit("k", record)
    assert await store.page("k", (1, 0), 3) == records[:3]
    assert await store.page("k", (4, 0), 3) == records[3:]
    assert await store.page("k", (5, 1), 3) == await store.page("k", (6, 0), 3) == []
    found = await store.head("k")
    assert found is not None
    assert (found.log_id, found.epoch, found.turn, found.seq, found.version) == (head.log_id, head.epoch, 5, 10, 1)


async def test_the_same_record_again_is_accepted(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("k")
    await store.commit("k", after(head))
    await store.commit("k", after(head))
    assert len(await store.read("k")) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"reply": "something else"}, id="another-record-in-its-place"),
        pytest.param({"turn": 3}, id="a-turn-was-left-out"),
        pytest.param({"turn": 2, "log_id": "another"}, id="of-another-log"),
        pytest.param({"turn": 2, "epoch": 0}, id="of-an-earlier-epoch"),
        pytest.param({"turn": 2, "epoch": 2}, id="of-an-epoch-to-come"),
        pytest.param({"turn": 2, "seq_first": 2}, id="an-event-has-a-number-that-was-given"),
        pytest.param({"turn": 2, "seq_first": 4}, id="a-number-was-left-out"),
    ],
)
async def test_what_does_not_fit_is_refused_and_changes_nothing(stores: Stores, wrong: dict[str, object]) -> None:
    store = stores()
    head, _ = await store.open("k")
    await store.commit("k", after(head))
    with pytest.raises(Conflict) as raised:
        await store.commit("k", after(head, **wrong))  # type: ignore[arg-type]
    assert (raised.value.code, raised.value.retryable) == ("superseded", True)
    assert await store.read("k") == [after(head)]


async def test_who_opens_fences_who_held_it(stores: Stores) -> None:
    old, new = stores(), stores()
    before, _ = await old.open("k")
    now, _ = await new.open("k")
    with pytest.raises(Conflict):
        await old.commit("k", after(before))
    with pytest.raises(Conflict):  # the right epoch, but somebody else's
        await old.commit("k", after(now))
    await new.commit("k", after(now))
    assert len(await old.read("k")) == 1


async def test_who_yields_to_the_owner_changes_nothing(stores: Stores) -> None:
    a, b = stores("a/1"), stores("b/1")
    head, _ = await a.open("k", ("b/1", "c/1"))
    with pytest.raises(HeldElsewhere) as raised:
        await b.open("k", ("c/1", "a/1"))
    assert (raised.value.owner, raised.value.epoch) == ("a/1", 1)
    await a.commit("k", after(head))
    taken, records = await b.open("k", ("c/1",))
    assert (taken.epoch, taken.turn, len(records)) == (2, 1, 1)
    with pytest.raises(HeldElsewhere):
        await a.open("k", ("b/1",))
    again, _ = await b.open("k", ("a/1",))
    assert again.epoch == 3


async def test_it_is_said_how_a_session_came_to_its_owner(stores: Stores) -> None:
    a, b, c = stores("a/1"), stores("b/1"), stores("c/1")
    came = [
        (await a.open("k"))[0],
        (await a.open("k", ("b/1", "c/1")))[0],
        (await b.open("k", ("a/1", "c/1"), {"a/1": 2}))[0],
    ]
    came.append((await c.open("k", ("a/1",), {"a/1": 3}))[0])
    assert [(head.how, head.epoch) for head in came] == [("new", 1), ("own", 2), ("handover", 3), ("takeover", 4)]
    looked_at = await a.head("k")
    assert looked_at is not None
    assert looked_at.epoch == 4


async def test_who_gave_a_session_away_and_took_it_up_again_did_not_give_that(stores: Stores) -> None:
    a, b = stores("a/1"), stores("b/1")
    await a.open("k")
    again, _ = await a.open("k", ("b/1",))  # somebody came to `a` after it had told `b` that it may have it
    with pytest.raises(HeldElsewhere) as raised:
        await b.open("k", ("a/1",), {"a/1": 1})
    assert (raised.value.owner, raised.value.epoch) == ("a/1", 2)
    await a.commit("k", after(again))
    assert (await b.open("k", ("a/1",), {"a/1": 2}))[0].how == "handover"


async def raised_ms(store: SessionStore) -> int:
    """When the session was last taken over, by the store's own clock."""
    if isinstance(store, MemorySessionStore):
        return store.shelf.raised_ms["k"]
    assert isinstance(store, RedisSessionStore)
    head = keys.head("k")
    return int(await store._redis.run("HGET", head, "raised_ms", key=head.encode()))


async def test_a_session_is_taken_over_once_a_second_and_given_away_as_often_as_one_likes(stores: Stores) -> None:
    a, b, c = stores("a/1"), stores("b/1"), stores("c/1")
    await a.open("k")
    await b.open("k")
    first = await raised_ms(a)
    await a.open("k", given={"b/1": 2})
    await b.open("k", given={"a/1": 3})
    assert await raised_ms(a) == first
    await c.open("k")
    assert await raised_ms(a) - first >= RAISE_MS
    again = await raised_ms(a)
    with pytest.raises(HeldElsewhere):  # who waits yields to whoever was first after all
        await asyncio.gather(a.open("k", ("b/1",)), b.open("k", ("a/1",)))
    assert await raised_ms(a) - again >= RAISE_MS


async def test_a_session_that_nobody_opened_takes_no_turn(stores: Stores) -> None:
    with pytest.raises(Conflict):
        await stores().commit("k", after(Head("log", 1, 0, 0, 0, "")))


async def test_sessions_do_not_touch_each_other(stores: Stores) -> None:
    store = stores()
    one, _ = await store.open("k1")
    two, _ = await store.open("k2")
    await asyncio.gather(store.commit("k1", after(one)), store.commit("k2", after(two, reply="other")))
    assert [record.reply for record in await store.read("k2")] == ["other"]
    assert one.log_id != two.log_id


async def test_of_two_gateways_that_commit_at_once_one_wins(stores: Stores) -> None:
    gateways = [stores() for _ in range(4)]
    heads = [(await gateway.open("k"))[0] for gateway in gateways]
    outcomes = await asyncio.gather(
        *(gateway.commit("k", after(head)) for gateway, head in zip(gateways, heads, strict=True)),
        return_exceptions=True,
    )
    assert [outcome is None for outcome in outcomes] == [False, False, False, True]
    assert len(await gateways[0].read("k")) == 1


async def test_who_may_write_is_read_without_a_change(stores: Stores) -> None:
    one, other = stores("a/1"), stores("b/1")
    assert await one.fence("k") is None
    head, _ = await one.open("k")
    await one.commit("k", after(head))
    assert await one.fence("k") == Fence(head.log_id, 1, True, 2)
    assert await other.fence("k") == Fence(head.log_id, 1, False, 2)


async def test_a_log_gets_another_name_from_its_owner_only(stores: Stores) -> None:
    one, other = stores("a/1"), stores("b/1")
    with pytest.raises(Conflict):
        await one.rename("k", Head("log", 1, 0, 0, 0, ""))
    before, _ = await one.open("k")
    await one.commit("k", after(before))
    with pytest.raises(Conflict):
        await other.rename("k", before)
    named = await one.rename("k", before)
    assert (named.log_id != before.log_id, named.epoch) == (True, before.epoch)
    with pytest.raises(Conflict):
        await one.commit("k", after(before, 2, seq_first=3))
    await one.commit("k", after(named, 2, seq_first=3))
    assert [record.log_id for record in await one.read("k")] == [before.log_id, named.log_id]
    await other.open("k")
    with pytest.raises(Conflict):
        await one.rename("k", named)


def amend(head: Head, turn: int = 1, number: int = 1, seq: int = 3, **changes: object) -> Amend:
    """An amend that fits right after `after(head, turn)`, where it is the log's first record."""
    record = Amend(
        log_id=head.log_id,
        epoch=head.epoch,
        turn=turn,
        number=number,
        seq_first=seq,
        at_ms=1_730_000_000_900 + number,
        response_id=f"r{turn}",
        reply="从前",
        heard=HeardPart(chars=2, audio_ms=640),
    )
    return replace(record, **changes)


async def test_amends_follow_their_turn_and_are_numbered_over_the_whole_log(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("k")
    records: list[Record] = [
        after(head),
        amend(head),
        amend(head, number=2, seq=4),
        after(head, 2, seq_first=5),
        amend(head, 2, 3, 7),
        after(head, 3, seq_first=8),
    ]
    for record in records:
        await store.commit("k", record)
    assert await store.read("k") == records
    assert [await store.page("k", record.position, 2) for record in records] == [
        records[place : place + 2] for place in range(len(records))
    ]
    assert await store.page("k", (1, 3), 9) == records[3:]
    found = await store.head("k")
    assert found is not None
    assert (found.turn, found.seq, found.amends, found.revision) == (3, 9, 3, "cat-1")
    again, read = await store.open("k")
    assert (again.turn, again.seq, again.amends, again.revision, read) == (3, 9, 3, "cat-1", records)


async def test_the_same_amend_again_is_accepted_and_another_one_in_its_place_is_not(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("k")
    await store.commit("k", after(head))
    await store.commit("k", amend(head))
    await store.commit("k", amend(head))
    await store.commit("k", after(head))  # a turn whose answer was lost, sent once more after its amend
    with pytest.raises(Conflict):
        await store.commit("k", amend(head, reply="从"))
    assert await store.read("k") == [after(head), amend(head)]
    assert (await store.open("k"))[0].version == 1


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"turn": 2}, id="of-a-turn-to-come"),
        pytest.param({"number": 2}, id="one-was-left-out"),
        pytest.param({"seq_first": 2}, id="its-number-was-given"),
        pytest.param({"seq_first": 4}, id="a-number-was-left-out"),
        pytest.param({"epoch": 0}, id="of-an-earlier-epoch"),
        pytest.param({"log_id": "another"}, id="of-another-log"),
    ],
)
async def test_an_amend_that_does_not_fit_is_refused_and_changes_nothing(
    stores: Stores, wrong: dict[str, object]
) -> None:
    store = stores()
    head, _ = await store.open("k")
    await store.commit("k", after(head))
    with pytest.raises(Conflict) as raised:
        await store.commit("k", amend(head, **wrong))  # type: ignore[arg-type]
    assert raised.value.code == "superseded"
    assert await store.read("k") == [after(head)]
    found = await store.head("k")
    assert found is not None
    assert (found.seq, found.amends) == (2, 0)


async def test_only_the_newest_turn_is_amended(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("k")
    await store.commit("k", after(head))
    await store.commit("k", after(head, 2, seq_first=3))
    with pytest.raises(Conflict):
        await store.commit("k", amend(head, seq=5))
    assert len(await store.read("k")) == 2


def opened(turn: int = 1, **changes: object) -> OpenTurn:
    found = {"client_msg_id": "c-7", "user": None, "deadline_at_ms": 1_730_000_001_000} | changes
    return OpenTurn(turn, "r9", "讲一个\x00", now_ms=1, rng_seed=2**63 - 1, revision="cat-1", **found)  # type: ignore[arg-type]


async def test_a_turn_that_was_noted_is_found_by_the_next_owner_and_its_deaths_are_counted(stores: Stores) -> None:
    a, b, c = stores("a/1"), stores("b/1"), stores("c/1")
    head, _ = await a.open("k")
    assert (head.open, head.deaths) == (None, 0)
    await a.note("k", head.log_id, head.epoch, 1, opened())
    own, _ = await a.open("k")
    assert (own.open, own.deaths) == (opened(), 0)
    taken, _ = await b.open("k")
    assert (taken.open, taken.deaths) == (opened(), 1)
    assert (await b.open("k"))[0].deaths == 1
    again, _ = await c.open("k")
    assert (again.open, again.deaths) == (opened(), 2)
    assert await a.head("k") == await b.head("k") == again
    await c.commit("k", after(again))
    done, _ = await a.open("k")
    assert (done.open, done.deaths, done.turn) == (None, 0, 1)


async def test_an_amend_leaves_the_open_turn_noted(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("k")
    await store.commit("k", after(head))
    await store.note("k", head.log_id, head.epoch, 2, opened(2))
    await store.commit("k", amend(head))
    assert (await store.open("k"))[0].open == opened(2)


async def test_a_turn_that_was_given_up_is_not_found(stores: Stores) -> None:
    a, b = stores("a/1"), stores("b/1")
    head, _ = await a.open("k")
    assert await a.note("k", head.log_id, head.epoch, 1, opened())
    assert await a.note("k", head.log_id, head.epoch, 1, None)
    taken, _ = await b.open("k")
    assert (taken.open, taken.deaths) == (None, 0)


async def test_a_note_that_comes_too_late_changes_nothing(stores: Stores) -> None:
    a, b = stores("a/1"), stores("b/1")
    await a.note("k", "log", 1, 1, opened())  # nobody opened it
    head, _ = await a.open("k")
    await a.commit("k", after(head))
    await a.note("k", head.log_id, head.epoch, 1, opened())  # its commit overtook it
    taken, _ = await b.open("k")
    assert taken.open is None
    assert not await a.note("k", taken.log_id, taken.epoch, 2, opened(2))  # another's epoch
    assert not await a.note("k", head.log_id, head.epoch, 2, opened(2))  # fenced
    assert not await b.note("k", taken.log_id, taken.epoch, 3, opened(3))  # not the next turn
    assert (await b.open("k"))[0].open is None


async def test_who_yields_counts_no_death(stores: Stores) -> None:
    a, b = stores("a/1"), stores("b/1")
    head, _ = await a.open("k")
    await a.note("k", head.log_id, head.epoch, 1, opened())
    with pytest.raises(HeldElsewhere):
        await b.open("k", ("a/1",))
    assert (await a.open("k"))[0].deaths == 0


# ── snapshots ───────────────────────────────────────────────────────────────────────


def snap(head: Head, turn: int, **changes: object) -> Snapshot:
    """One that fits after `after(head, turn)` of a log without amends."""
    made = Snapshot(
        log_id=head.log_id, epoch=head.epoch, turn=turn, seq=2 * turn, version=1, at_ms=turn, revision="cat-1",
        state={"dragons": turn}, response_id=f"r{turn}", past_from=turn,
    )  # fmt: skip
    return replace(made, **changes)


async def lived(store: SessionStore, turns: int) -> Head:
    head, _ = await store.open("k")
    for turn in range(1, turns + 1):
        await store.commit("k", after(head, turn, seq_first=2 * turn - 1))
    return head


async def put(store: SessionStore, seq: int, data: bytes) -> None:
    """A snapshot as no store would write it."""
    if isinstance(store, MemorySessionStore):
        store.shelf.snaps.setdefault("k", {})[seq] = data
    else:
        assert isinstance(store, RedisSessionStore)
        await store._redis.run("HSET", "rh:{k}:k:snap", seq, data, key=b"rh:{k}:k:snap")


async def copies(store: SessionStore) -> dict[str, bytes]:
    if isinstance(store, MemorySessionStore):
        return store.shelf.aside.get("k", {})
    assert isinstance(store, RedisSessionStore)
    flat = await store._redis.run("HGETALL", "rh:{k}:k:quarantine", key=b"rh:{k}:k:quarantine")
    return {name.decode(): data for name, data in zip(flat[::2], flat[1::2], strict=True)}


def listening(store: SessionStore) -> list[str]:
    """Why things are set aside from now on."""
    said: list[str] = []
    assert isinstance(store, RedisSessionStore | MemorySessionStore)
    store.doubted = said.append
    return said


async def test_who_opens_gets_the_newest_snapshot_and_the_log_from_where_it_is_needed(stores: Stores) -> None:
    store = stores()
    head = await lived(store, 9)
    assert (await store.kept("k"), head.kept) == (None, None)
    size = await store.keep("k", snap(head, 6, past_from=4))
    assert size == len(encode_snapshot(snap(head, 6, past_from=4)))
    again, records = await store.open("k")
    assert again.kept == await store.kept("k") == Kept(snap(head, 6, past_from=4), size)
    assert [record.turn for record in records] == [4, 5, 6, 7, 8, 9]
    assert [record.turn for record in await store.read("k", (8, 0))] == [8, 9]
    assert len(await store.read("k")) == 9


async def test_who_is_content_with_the_newest_records_gets_them_alone(stores: Stores) -> None:
    store = stores()
    head = await lived(store, 9)
    await store.keep("k", snap(head, 6, past_from=4))
    taken, records = await store.open("k", (), {}, 4)
    assert (taken.unread, taken.kept, taken.how, taken.epoch) == (True, None, "own", 2)
    assert (taken.turn, taken.seq, [record.turn for record in records]) == (9, 18, [6, 7, 8, 9])
    assert records == await store.read("k", (6, 0))
    again, records = await store.open("k", (), {}, 0, taken.epoch)
    assert (again.unread, again.how, again.epoch) == (False, "", 2), "it is only read now"
    assert (again.kept is not None, [record.turn for record in records]) == (True, [4, 5, 6, 7, 8, 9])
    await store.commit("k", after(again, 10))
    other, _ = await stores().open("k", (), {}, 4)
    assert (other.how, other.epoch) == ("takeover", 3)
    back, _ = await store.open("k", (), {}, 0, taken.epoch)
    assert (back.how, back.epoch) == ("takeover", 4), "meanwhile it was another's"


async def test_newest_records_do_not_come_alone_where_that_would_not_do(stores: Stores) -> None:
    store = stores()
    fresh, records = await store.open("k", (), {}, 4)
    assert (fresh.unread, records) == (False, [])
    await store.commit("k", after(fresh))
    await store.commit("k", after(fresh, 2, seq_first=3, reply="x" * NEWEST_BYTES))
    large, records = await store.open("k", (), {}, 4)
    assert (large.unread, [record.turn for record in records]) == (False, [1, 2]), "the newest one alone is too much"
    await store.commit("k", replace(after(large, 3), epoch=large.epoch, seq_first=5))
    some, records = await store.open("k", (), {}, 4)
    assert (some.unread, [record.turn for record in records]) == (True, [3])
    await store.note("k", some.log_id, some.epoch, 4, opened(4))
    left, records = await store.open("k", (), {}, 4)
    assert (left.unread, left.open, len(records)) == (False, opened(4), 3)


async def test_two_snapshots_are_kept_and_the_older_says_what_of_the_log_nobody_needs(stores: Stores) -> None:
    store = stores()
    head = await lived(store, 8)
    for turn in (2, 4):
        assert await store.covered("k") is None
        await store.keep("k", snap(head, turn))
    assert await store.covered("k") == snap(head, 2)
    await store.keep("k", snap(head, 8))
    await store.keep("k", snap(head, 6))  # it comes late, and is newer than one
    assert await store.covered("k") == snap(head, 6)
    await store.keep("k", snap(head, 5))  # and this one than none
    await store.keep("k", snap(head, 8))  # the same again
    assert await store.covered("k") == snap(head, 6)
    assert (await store.open("k"))[0].kept == Kept(snap(head, 8), len(encode_snapshot(snap(head, 8))))


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"log_id": "another"}, id="of-another-log"),
        pytest.param({"epoch": 0}, id="of-an-earlier-epoch"),
        pytest.param({"epoch": 2}, id="of-an-epoch-to-come"),
        pytest.param({"seq": 5}, id="of-a-turn-that-the-log-does-not-have"),
    ],
)
async def test_a_snapshot_that_does_not_fit_is_refused(stores: Stores, wrong: dict[str, object]) -> None:
    store, other = stores("a/1"), stores("b/1")
    head = await lived(store, 2)
    for who, snapshot in ((store, snap(head, 2, **wrong)), (other, snap(head, 2))):
        with pytest.raises(Conflict) as raised:
            await who.keep("k", snapshot)
        assert raised.value.code == "superseded"
    assert await store.kept("k") is None


BROKEN = {
    "cut": (lambda good: good[:-1], "corrupt_snapshot"),
    "a-bit-flipped": (lambda good: good[:-1] + bytes([good[-1] ^ 4]), "corrupt_snapshot"),
    "nothing": (lambda _: b"", "corrupt_snapshot"),
    "of-a-version-to-come": (lambda good: b"7" + good[1:], "unknown_snapshot_version"),
    "of-turns-that-are-not-there": (lambda good: encode_snapshot(replace(decode_snapshot(good), response_id="x4")),
                                    "stray_snapshot"),
}  # fmt: skip


@pytest.mark.parametrize("harm", BROKEN)
async def test_a_broken_snapshot_is_set_aside_and_the_one_before_it_is_taken(stores: Stores, harm: str) -> None:
    store = stores()
    said, head = listening(store), await lived(store, 5)
    await store.keep("k", snap(head, 2))
    broken, why = BROKEN[harm]
    data = broken(encode_snapshot(snap(head, 4)))  # type: ignore[no-untyped-call]
    if why == "corrupt_snapshot" and not data:
        why = "unknown_snapshot_version"  # nothing names no version
    await put(store, 8, data)
    assert await store.covered("k") is None
    await put(store, 8, data)
    again, records = await store.open("k")
    assert again.kept is not None
    assert (again.kept.snapshot, [record.turn for record in records]) == (snap(head, 2), [2, 3, 4, 5])
    assert await store.kept("k") == again.kept
    assert await copies(store) == {"snap:8": data}
    assert set(said) == {why}


async def test_where_no_snapshot_is_good_the_whole_log_is_read(stores: Stores) -> None:
    store = stores()
    said, head = listening(store), await lived(store, 5)
    for turn in (2, 4):
        await put(store, 2 * turn, encode_snapshot(snap(head, turn)) + b"x")
    again, records = await store.open("k")
    assert (again.kept, len(records), said) == (None, 5, ["corrupt_snapshot"] * 2)
    assert (await store.open("k"))[0].kept is None
    assert len(said) == 2, "it is set aside once"
    await store.keep("k", snap(replace_epoch(again, 3), 4))
    assert await store.kept("k") is not None


def replace_epoch(head: Head, epoch: int) -> Head:
    return Head(head.log_id, epoch, head.turn, head.seq, head.version, head.revision)


async def test_what_a_newer_release_wrote_is_left_to_it(stores: Stores) -> None:
    store = stores()
    head = await lived(store, 4)
    newer = b"7" + encode_snapshot(snap(head, 4))[1:]
    await put(store, 8, newer)
    await store.open("k")
    await put(store, 8, encode_snapshot(snap(head, 4)))
    assert (await store.open("k"))[0].kept is not None


async def test_a_snapshot_of_what_the_store_forgot_is_not_taken_and_goes(stores: Stores) -> None:
    store = stores()
    head = await lived(store, 4)
    await put(store, 18, encode_snapshot(snap(head, 9)))
    again, records = await store.open("k")
    assert (again.kept, len(records)) == (None, 4)
    head = replace_epoch(head, 2)
    for turn in (2, 3):
        await store.keep("k", snap(head, turn))
    assert await store.covered("k") == snap(head, 2)
    assert await copies(store) == {}


async def test_a_log_with_another_name_keeps_what_was_taken_under_the_earlier_one(stores: Stores) -> None:
    store = stores()
    before = await lived(store, 4)
    await store.keep("k", snap(before, 3))
    taken, _ = await store.open("k")
    named = await store.rename("k", taken)
    await store.commit("k", after(named, 5, seq_first=9))
    again, records = await store.open("k")
    assert again.kept is not None
    assert (again.kept.snapshot.log_id, [record.turn for record in records]) == (before.log_id, [3, 4, 5])
    with pytest.raises(Conflict):
        await store.keep("k", snap(before, 4))


async def test_what_is_set_aside_is_bounded_in_number_and_size(stores: Stores) -> None:
    store = stores()
    said, _ = listening(store), await lived(store, 9)
    for seq in range(1, 7):
        await put(store, seq, b"1 " + b"x" * MAX_COPY_BYTES)
        await store.open("k")
    assert [len(copy) for copy in (await copies(store)).values()] == [MAX_COPY_BYTES] * MAX_COPIES
    assert len(said) == 7, "each is said, and again while it stands there because no copy is kept"


@pytest.mark.parametrize(("harm", "why"), [("body", "corrupt_record"), ("v", "unknown_record_version")])
async def test_a_corrupt_record_is_set_aside_and_said(stores: Stores, harm: str, why: str) -> None:
    store = stores()
    said, head = listening(store), await lived(store, 2)
    fields = {name.encode(): data for name, data in encode(after(head, 3, seq_first=5)).items()} | {harm.encode(): b"9"}
    await append(store, 3, fields)
    with pytest.raises(CorruptRecord):
        await store.read("k")
    with pytest.raises(CorruptRecord) as raised:
        await store.page("k", (3, 0), 1)
    assert (raised.value.code, set(said)) == ("corrupt_record", {why})
    assert list((await copies(store)).values()) == [b" ".join(fields.values())]
    assert len(await store.page("k", (1, 0), 2)) == 2


async def append(store: SessionStore, turn: int, fields: dict[bytes, bytes]) -> None:
    """A record as no store would write it."""
    if isinstance(store, MemorySessionStore):
        store.shelf.logs["k"].append(fields)
    else:
        assert isinstance(store, RedisSessionStore)
        flat = [word for pair in fields.items() for word in pair]
        await store._redis.run("XADD", "rh:{k}:k:wal", f"{turn}-0", *flat, key=b"rh:{k}:k:wal")


# ── user-scope state ────────────────────────────────────────────────────────────────


def shared(
    head: Head, patch: tuple[PatchOp, ...], base: int = 0, turn: int = 1, seq: int = 1, **changes: object
) -> TurnRecord:
    """A turn that changes nothing but user-scope state."""
    return after(
        head, turn, seq_first=seq, seq_count=2, version=0, patch=(), user_patch=patch, user_base=base, **changes
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_user_scope_state_merges_by_the_law(stores: Stores, case: Case) -> None:
    store = stores()
    store.user_bytes = MAX_BYTES  # type: ignore[attr-defined]
    for number, (base, patch) in enumerate(case.turns, 1):  # every turn is of another session of theirs
        key = f"u:s{number}"
        head, _ = await store.open(key)
        record = shared(head, patch, base)
        if case.refused and number == len(case.turns):
            with pytest.raises(InvalidPatch) as raised:
                await store.commit(key, record)
            assert raised.value.code == case.refused
            assert await store.read(key) == []
            assert (await store.open(key))[0].turn == 0
            break
        told = await store.commit(key, record)
        assert told is not None
        assert await store.commit(key, record) == Shared(told.version), "a doubled commit"
        assert await store.read(key) == [replace(record, user_version=told.version)]
    stored = await store.user("u", {})
    assert (view_of(stored), version_of(stored)) == (case.view, case.version)
    sizes = [len(name) + len(value) for name, value in stored.items() if name[:1] in (b".", b"+")]
    assert int(stored.get(b"#", b"0")) == sum(sizes)
    kept = await store.compensations("u", 100)
    found = [(one.version, one.field, one.written, one.value) for one in reversed(kept)]
    assert (tuple(found), [type(one[3]) for one in found]) == (case.kept, [type(one[3]) for one in case.kept])
    assert all((one.turn, one.session[0]) == (1, "s") for one in kept)


async def test_a_copy_is_known_by_its_version_and_by_what_made_it(stores: Stores) -> None:
    store = stores()
    assert await store.user("u", {}) == {}
    head, _ = await store.open("u:s")
    await store.commit("u:s", shared(head, (PatchOp("incr", "/n", 1),)))
    first = await store.user("u", {})
    assert await store.user("u", first) is first
    await store.commit("u:s", shared(head, (PatchOp("incr", "/n", 1),), 1, 2, 3))
    second = await store.user("u", first)
    assert view_of(second) == {"n": 2}
    assert await store.user("u", {**second, b"!": b"another"}) == second
    assert await store.user("v", {}) == {}


async def test_who_is_fenced_changes_nothing_of_the_users(stores: Stores) -> None:
    old, new = stores("a/1"), stores("b/1")
    head, _ = await old.open("u:s")
    await new.open("u:s")
    with pytest.raises(Conflict):
        await old.commit("u:s", shared(head, (PatchOp("incr", "/n", 1),)))
    assert await new.user("u", {}) == {}


async def test_only_so_many_compensations_are_kept(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("u:s")
    for turn in range(1, 1031):
        await store.commit("u:s", shared(head, (PatchOp("replace", "/n", turn),), 0, turn, 2 * turn - 1))
    kept = await store.compensations("u", 2000)
    assert (len(kept), kept[0].value, kept[0].version) == (1024, 1029, 1030)
    assert [one.value for one in await store.compensations("u", 2)] == [1029, 1028]
